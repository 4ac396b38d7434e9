"""Pooling against PyTorch and against lax.reduce_window, its padding, its ties and its errors."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fdl import ops


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)  # normal draws: no ties


def values_and_gradients(*pools):
    """One program that gives each pool's output and its gradient for the cotangent cos(0, 1, 2, ...)."""

    def both(pool, x):
        y, pull = jax.vjp(pool, x)
        return y, pull(jnp.cos(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape))[0]

    return jax.jit(lambda x: [both(pool, x) for pool in pools])


WINDOWS = [
    (2, None, (0, 0), (7, 8)),
    (3, 2, (0, 0), (7, 8)),
    (3, 2, (1, 1), (6, 5)),
    ((2, 3), (1, 2), (1, 0), (6, 5)),
    (5, 1, (2, 2), (7, 8)),
]


@pytest.mark.parametrize(("window", "strides", "padding", "size"), WINDOWS)
def test_pytorch_agrees_forward_and_backward(float64, torch, error, window, strides, padding, size):
    x = draw(2, *size, 3)
    pads = [(p, p) for p in padding]
    results = values_and_gradients(lambda x: ops.max_pool(x, window, strides, pads), lambda x: ops.avg_pool(x, window, strides, pads))(x)

    average = partial(torch.nn.functional.avg_pool2d, count_include_pad=False)
    for got, reference in zip(results, (torch.nn.functional.max_pool2d, average)):
        t = torch.tensor(x, requires_grad=True)
        out = reference(t.permute(0, 3, 1, 2), window, strides, padding).permute(0, 2, 3, 1)
        out.backward(torch.cos(torch.arange(out.numel(), dtype=torch.float64)).reshape(out.shape))
        assert error(got, [out.detach().numpy(), t.grad.numpy()]) < 5e-15  # measured 5e-16


@pytest.mark.parametrize(
    ("window", "strides", "padding"),
    [(2, 1, "SAME"), (2, 2, "SAME"), ((3, 4), (2, 3), "SAME"), (2, 2, ((0, 1), (1, 0))), (4, 3, ((0, 1), (2, 0)))],
)
def test_same_and_uneven_padding_are_those_of_reduce_window(float64, error, window, strides, padding):
    dims, steps = ((1, *np.broadcast_to(a, 2).tolist(), 1) for a in (window, strides))
    pads = padding if padding == "SAME" else ((0, 0), *padding, (0, 0))
    reduce = lambda x, start, combine: jax.lax.reduce_window(x, start, combine, dims, steps, pads)
    largest, max_got, mean, avg_got = values_and_gradients(
        lambda x: reduce(x, -jnp.inf, jax.lax.max),
        lambda x: ops.max_pool(x, window, strides, padding),
        lambda x: reduce(x, 0.0, jax.lax.add) / reduce(jnp.ones_like(x), 0.0, jax.lax.add),
        lambda x: ops.avg_pool(x, window, strides, padding),
    )(draw(2, 7, 6, 2))
    assert error(max_got, largest) < 5e-15  # measured 4e-16
    assert error(avg_got, mean) < 5e-15  # measured 4e-16


def test_same_gives_size_over_stride_rounded_up():
    for size, stride in [(7, 2), (8, 3), (5, 1), (4, 5)]:
        y = jax.eval_shape(lambda x: ops.max_pool(x, 3, stride, "SAME"), jnp.zeros((1, size, size, 1)))  # noqa: B023
        assert y.shape[1] == -(-size // stride)


@pytest.mark.parametrize(("window", "strides", "padding", "size"), WINDOWS)
def test_of_equal_values_the_first_gets_the_gradient_as_in_pytorch(float64, torch, window, strides, padding, size):
    x = np.random.default_rng(0).integers(0, 3, (4, *size, 3)).astype("d")
    pool = lambda x: ops.max_pool(x, window, strides, [(p, p) for p in padding])
    ((y, dx),) = values_and_gradients(pool)(x)
    t = torch.tensor(x, requires_grad=True)
    out = torch.nn.functional.max_pool2d(t.permute(0, 3, 1, 2), window, strides, padding).permute(0, 2, 3, 1)
    out.backward(torch.cos(torch.arange(out.numel(), dtype=torch.float64)).reshape(out.shape))
    np.testing.assert_array_equal(y, out.detach().numpy())
    np.testing.assert_allclose(dx, t.grad.numpy(), rtol=0, atol=1e-14)  # sums in another order


def test_forward_mode_makes_the_same_choice(float64, error):
    x, v = np.random.default_rng(0).integers(0, 2, (2, 5, 5, 3)).astype("d"), draw(2, 5, 5, 3)
    pool = lambda x: ops.max_pool(x, 3, 2, "SAME")
    (y, dy), (z, pull) = jax.jvp(pool, (x,), (v,)), jax.vjp(pool, x)
    u = jnp.cos(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape)
    assert error([y, jnp.vdot(u, dy)], [z, jnp.vdot(pull(u)[0], v)]) < 1e-14


def test_padding_never_wins_whatever_the_dtype():
    for dtype in (jnp.int32, jnp.int8, jnp.float16, jnp.bfloat16, jnp.float32):
        y = jax.jit(lambda x: ops.max_pool(x, 3, 1, ((1, 1), (1, 1))))(jnp.full((1, 2, 2, 1), -5, dtype))
        assert y.dtype == dtype
        assert (y == jnp.array(-5, dtype)).all()


def test_the_mean_counts_no_padding():
    assert (ops.avg_pool(jnp.full((2, 5, 4, 1), 3.0), 3, 2, "SAME") == 3.0).all()


def test_nan_is_never_hidden():
    x = jnp.zeros((1, 4, 4, 1)).at[0, 1, 2, 0].set(jnp.nan)
    for pool in (ops.max_pool, ops.avg_pool):
        assert jnp.isnan(pool(x, 2))[0, :, :, 0].tolist() == [[False, True], [False, False]]


def test_second_derivatives_of_the_mean_vanish_and_of_the_largest_square_do_not(float64, error):
    x, v = draw(1, 4, 4, 2), draw(1, 4, 4, 2, seed=1)
    product = lambda loss: jax.jit(lambda x, v: jax.jvp(jax.grad(loss), (x,), (v,))[1])(x, v)
    assert not product(lambda x: jnp.sum(ops.avg_pool(x, 2))).any()
    largest = x == np.repeat(np.repeat(jax.jit(lambda x: ops.max_pool(x, 2))(x), 2, 1), 2, 2)
    assert error(product(lambda x: jnp.sum(ops.max_pool(x, 2) ** 2)), np.where(largest, 2 * v, 0)) == 0


def test_windows_and_arrays_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"a window reaching over 5 does not fit into axis 1, of padded size 4"):
        ops.max_pool(jnp.zeros((1, 4, 6, 2)), 5)
    with pytest.raises(ValueError, match=r"a window reaching over 7 does not fit into axis 2, of padded size 6"):
        ops.avg_pool(jnp.zeros((1, 4, 6, 2)), (2, 7))
    with pytest.raises(ValueError, match=r"\[batch, depth, height, width, channels\], not 2 of them"):
        ops.max_pool(jnp.zeros((4, 6)), 2)
    with pytest.raises(ValueError, match="padding 'FULL' is none of"):
        ops.max_pool(jnp.zeros((1, 4, 6, 2)), 2, padding="FULL")
