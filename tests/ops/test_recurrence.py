"""`ops.recur` is a Python loop, cut at each sequence's length."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from fdl import ops

LENGTHS = (1, 4, 7, 5)


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def step_with(w):
    """A carry that is a tree, with leaves of other ranks than the input; outputs of rank 3."""

    def step(carry, x):
        h = jnp.tanh(x @ w["in"] + carry["h"] @ w["back"])
        return {"h": h, "steps": carry["steps"] + 1}, h[:, :, None] * x[:, None, :]

    return step


def setting(batch=4, time=7, inputs=3, features=2):
    w = {"in": draw(inputs, features, seed=1), "back": draw(features, features, seed=2)}
    return w, {"h": draw(batch, features, seed=3), "steps": np.zeros(batch, np.int32)}, draw(batch, time, inputs)


def setting32():
    return jax.tree.map(lambda a: a if a.dtype == np.int32 else a.astype(np.float32), setting())


def test_without_lengths_it_is_a_python_loop(float64, error):
    w, carry, x = setting()
    got = ops.recur(step_with(w), carry, x)
    outputs = []
    for t in range(x.shape[1]):
        carry, y = step_with(w)(carry, x[:, t])
        outputs.append(y)
    assert error(got, (carry, jnp.stack(outputs, 1))) < 5e-15  # measured 0


def test_with_lengths_each_sequence_is_the_cut_one_and_outputs_zero_after_its_end(float64, error):
    w, start, x = setting()
    run = jax.jit(lambda start, x, n=None: ops.recur(step_with(w), start, x, n))
    carry, y = jax.tree.map(np.asarray, run(start, x, np.array(LENGTHS)))
    assert carry["steps"].tolist() == list(LENGTHS)
    for b, n in enumerate(LENGTHS):
        one = jax.tree.map(lambda a, b=b: a[b : b + 1], start)
        last, outputs = run(one, x[b : b + 1, :n])
        assert error((carry["h"][b : b + 1], y[b : b + 1, :n]), (last["h"], outputs)) < 5e-15  # measured 1e-16
        assert not y[b, n:].any()


def test_full_lengths_are_no_lengths_to_the_bit():
    w, carry, x = setting32()
    with_, without = (ops.recur(step_with(w), carry, x, n) for n in (np.full(4, 7), None))
    assert jax.tree.all(jax.tree.map(np.array_equal, with_, without))


@pytest.mark.parametrize("split", [1, 3, 6])
def test_split_anywhere_it_gives_the_whole_to_the_bit(split):
    w, carry, x = setting32()
    lengths = np.array(LENGTHS)
    run = jax.jit(lambda carry, x, n: ops.recur(step_with(w), carry, x, n))
    whole = run(carry, x, lengths)
    middle, first = run(carry, x[:, :split], lengths)
    last, second = run(middle, x[:, split:], lengths - split)  # 0 or fewer steps left: nothing
    assert jax.tree.all(jax.tree.map(np.array_equal, whole, (last, np.concatenate([first, second], 1))))


@pytest.mark.parametrize("rubbish", [0.0, 1e30, np.inf, np.nan])
def test_what_stands_in_padded_places_changes_nothing_and_its_gradient_is_exactly_zero(rubbish):
    w, carry, x = setting32()
    padded = (np.arange(7)[None] >= np.array(LENGTHS)[:, None])[..., None]

    @jax.jit
    def results(x):
        def loss(w, x):
            last, y = ops.recur(step_with(w), carry, x, jnp.array(LENGTHS))
            return jnp.sum(last["h"] ** 2) + jnp.sum(jnp.sin(y))

        return jax.value_and_grad(loss, (0, 1))(w, x)

    value, (dw, dx) = results(np.where(padded, np.float32(rubbish), x))
    clean = results(np.where(padded, np.float32(0.5), x))
    assert jax.tree.all(jax.tree.map(np.array_equal, (value, (dw, dx)), clean))
    assert not np.where(padded, dx, 0).any()
    assert all(g.any() for g in dw.values())


def test_a_step_without_a_gradient_at_zero_keeps_finite_gradients_over_padding():
    def loss(w, x):
        def step(h, x):
            h = jnp.tanh(h + (x / jnp.linalg.norm(x, axis=-1, keepdims=True)) @ w)  # 0 / 0 for an input of zeros
            return h, h

        return jnp.sum(ops.recur(step, jnp.zeros((4, 2)), x, jnp.array(LENGTHS))[1])

    dw, dx = jax.jit(jax.grad(loss, (0, 1)))(np.ones((3, 2), np.float32), draw(4, 7, 3).astype(np.float32))
    assert np.isfinite(dw).all()
    assert np.isfinite(dx).all()
    assert not dx[0, 1:].any()


def test_a_sequence_of_no_steps_keeps_its_carry_even_over_nan():
    w, carry, x = setting32()
    x[0] = np.nan

    def loss(w, x):
        last, y = ops.recur(step_with(w), carry, x, jnp.array([0, 7, 7, 7]))
        return jnp.sum(last["h"] ** 2), (last["h"], y)

    gradients, (h, y) = jax.jit(jax.grad(loss, (0, 1), has_aux=True))(w, x)
    assert np.array_equal(h[0], carry["h"][0])
    assert not np.asarray(y)[0].any()
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(gradients))


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64])
def test_lengths_may_be_any_integers(dtype):
    x = draw(4, 300, 3)
    count = lambda n, x: (n + 1, x)
    carry, _ = ops.recur(count, jnp.zeros(4, jnp.int32), x.astype(np.float32), np.array([1, 200, 255, 7], dtype))
    assert carry.tolist() == [1, 200, 255, 7]


def test_gradients_of_gradients_exist_and_agree_with_finite_differences(float64):
    w, carry, x = setting(batch=2, time=3)
    run = lambda w, h, x: ops.recur(step_with(w), {**carry, "h": h}, x, jnp.array([1, 3]))[1]
    check_grads(jax.jit(run), (w, carry["h"], x), order=2, modes=["rev"], atol=1e-6, rtol=1e-6)  # measured between 3e-8 and 1e-7


def test_a_mask_leaves_out_any_steps_and_reverse_runs_from_the_end(float64, error):
    w, start, x = setting()
    keep = np.random.default_rng(4).random((4, 7)) < 0.6
    run = jax.jit(lambda start, x, keep=None: ops.recur(step_with(w), start, x, keep, reverse=True, unroll=3))
    carry, y = jax.tree.map(np.asarray, run(start, np.where(keep[..., None], x, np.nan), keep))
    for b in range(4):
        last, outputs = run(jax.tree.map(lambda a, b=b: a[b : b + 1], start), x[b : b + 1, keep[b]])
        assert error((carry["h"][b : b + 1], y[b : b + 1, keep[b]]), (last["h"], outputs)) < 5e-15  # measured 2e-16
        assert not y[b, ~keep[b]].any()


@pytest.mark.parametrize("mask", [None, np.array([[0.5], [2.0]])], ids=["no mask", "mask"])
def test_products_with_weights_are_those_of_the_plain_loop_with_every_derivative(float64, error, mask):
    """Two products a step, one after the other, and a parameter beside them."""
    weights, params = {"one": draw(3, 4, seed=1), "two": draw(4, 3, seed=2)}, draw(3, seed=3)
    x, h, valid = draw(2, 5, 3), draw(2, 3, seed=5), np.array([5, 3])

    def step(params, product, h, z):
        h = ops._recurrence.tanh(product("two", jnp.sin(product("one", h))) * params[None] + z)
        return h, h**2

    def loss(form, weights, params, h, x):
        plain = lambda h, x: step(params, lambda name, v: (v if mask is None else v * mask) @ weights[name], h, 2 * x)
        weighted = ops.WeightedStep(step, lambda x: 2 * x, weights, params, mask)
        carry, y = ops.recur(plain if form == "plain" else weighted, h, x, valid)
        return jnp.sum(jnp.sin(carry)) + jnp.sum(y * jnp.cos(y))

    @partial(jax.jit, static_argnums=0)
    def derivatives(form, *at):
        gradient = jax.grad(partial(loss, form), (0, 1, 2, 3))
        return jax.jvp(partial(loss, form), at, at), gradient(*at), jax.jvp(gradient, at, at)[1]

    at = weights, params, h, x
    assert error(derivatives("with weights", *at), derivatives("plain", *at)) < 1e-14  # measured 1e-15


def test_the_gradient_of_a_weight_is_no_carry_of_the_loop():
    weights = {"u": jnp.ones((3, 3))}
    step = lambda params, product, h, z: 2 * (jnp.tanh(product("u", h) + z),)
    run = lambda weights, h, x: ops.recur(ops.WeightedStep(step, lambda x: x, weights), h, x)
    jaxpr = jax.make_jaxpr(jax.grad(lambda *a: run(*a)[1].sum()))(weights, jnp.ones((2, 3)), jnp.ones((2, 5, 3)))
    carries = [e.params["jaxpr"].in_avals[e.params["num_consts"] :][: e.params["num_carry"]] for e in scans(jaxpr.jaxpr)]
    assert len(carries) == 2
    assert {a.shape for c in carries for a in c} == {(2, 3)}


def scans(jaxpr):
    for eqn in jaxpr.eqns:
        if eqn.primitive.name == "scan":
            yield eqn
        for param in eqn.params.values():
            if hasattr(param, "jaxpr") and eqn.primitive.name != "scan":
                yield from scans(param.jaxpr)
