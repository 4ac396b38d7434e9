"""The product along the last axis is `@`, with its gradients, whatever stands before that axis."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fdl import ops

SHAPES = [(3,), (4, 3), (2, 4, 3), (2, 5, 4, 3), (0, 4, 3), (2, 4, 0)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_values_and_gradients_are_those_of_numpy(shape):
    rows = math.prod(shape[:-1])
    draw = np.random.default_rng(0).standard_normal
    x, w, dy = draw(shape), draw((shape[-1], 6)), draw((*shape[:-1], 6))
    with jax.enable_x64():
        y, pull = jax.vjp(ops.matmul, jnp.asarray(x), jnp.asarray(w))
        dx, dw = pull(jnp.asarray(dy))
    np.testing.assert_allclose(y, x @ w, atol=1e-14)
    np.testing.assert_allclose(dx, dy @ w.T, atol=1e-14)
    np.testing.assert_allclose(dw, x.reshape(rows, shape[-1]).T @ dy.reshape(rows, 6), atol=1e-14)


def test_a_gradient_over_several_axes_copies_no_operand_on_cpu():
    """The reason for being of `ops.matmul`: XLA:CPU turns the incoming gradient before it multiplies over two axes."""
    if jax.default_backend() != "cpu":
        pytest.skip("joined on CPU alone")
    gradient = jax.grad(lambda w, x: (ops.matmul(x, w) ** 2).sum())
    assert "f32[256,783]" not in jax.jit(gradient).lower(jnp.ones((64, 256)), jnp.ones((29, 27, 64))).compile().as_text()


def test_mapped_over_both_operands():
    x, w = jnp.ones((3, 2, 4, 5)), jnp.arange(3 * 5 * 6.0).reshape(3, 5, 6)
    np.testing.assert_allclose(jax.vmap(ops.matmul)(x, w), jax.vmap(jnp.matmul)(x, w))
