"""Hyperparameters are leaves: they do not recompile, they map, they differentiate, and constants are no special case."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from mutants import mutate
from optimizers_table import BY_NAME, KINDS, hyperparameters
from teacher_forced import precision

from fdl import optim


def start():
    """Live weights, and dead ones whose gradient is always 0."""
    return {"live": jnp.asarray([1.0, -2.0, 0.5]), "dead": jnp.asarray([1.0, 1.0])}


def loss(params):
    x = params["live"]
    never_fires = jnp.zeros(2)
    return (x**2).sum() + 0.1 * (x**4).sum() + x.sum() * (never_fires * params["dead"]).sum()


def run(opt, steps=10):
    """Parameters after `steps`, from `start`."""

    def step(carry, _):
        params, state = carry
        updates, state = opt.update(jax.grad(loss)(params), state, params)
        return (optim.apply_updates(params, updates), state), None

    params = start()
    return jax.lax.scan(step, (params, opt.init(params)), length=steps)[0][0]


def smooth(case):
    """The case with an eps and a start large enough for finite differences to see them."""
    seen = {"eps": 1e-2, "initial_accumulator": 0.1}
    return dataclasses.replace(case.ours, **{n: v for n, v in seen.items() if hasattr(case.ours, n)})


@pytest.mark.parametrize("case", KINDS, ids=str)
def test_another_value_of_any_hyperparameter_does_not_recompile(case):
    traces = []

    @jax.jit
    def final(opt):
        traces.append(opt)
        return run(opt)["live"]

    first, values = final(smooth(case)), hyperparameters(smooth(case))
    for name, value in values.items():
        for factor in (0.5, 0.8):
            other = final(dataclasses.replace(smooth(case), **{name: value * factor}))
            assert (other != first).any(), name  # and the value is not baked in
    assert len(traces) == 1


@pytest.mark.parametrize("case", KINDS, ids=str)
def test_the_second_step_does_not_recompile(case):
    traces = []

    @jax.jit
    def step(opt, params, state):
        traces.append(opt)
        updates, state = opt.update(jax.grad(loss)(params), state, params)
        return optim.apply_updates(params, updates), state

    params = start()
    state = case.ours.init(params)
    for _ in range(3):
        params, state = step(case.ours, params, state)
    assert len(traces) == 1
    assert state["step"] == 3


@pytest.mark.parametrize("case", KINDS, ids=str)
def test_vmap_over_optimizers_is_a_loop_over_them(case, float64):
    scaled = lambda s: dataclasses.replace(smooth(case), **{n: v * s for n, v in hyperparameters(smooth(case)).items()})
    each = [scaled(s) for s in (1.0, 0.7, 0.3)]
    stacked = jax.tree.map(lambda *values: jnp.stack([jnp.asarray(v) for v in values]), *each)
    assert isinstance(stacked, type(case.ours))
    swept = jax.jit(jax.vmap(run))(stacked)["live"]
    final = jax.jit(run)
    looped = np.stack([final(opt)["live"] for opt in each])
    assert (looped[0] != looped[1]).all()
    np.testing.assert_allclose(swept, looped, rtol=1e-13, atol=1e-13)  # worst measured 0


def test_vmap_axes_are_an_optimizer_too():
    """`in_axes` with the optimizer's structure: the rate is mapped, the rest is not."""
    opt = dataclasses.replace(optim.Momentum(), lr=jnp.asarray([0.1, 0.01]))
    axes = jax.tree.unflatten(jax.tree.structure(opt), [0, None])
    swept = jax.vmap(lambda o: run(o)["live"], in_axes=(axes,))(opt)
    alone = [run(optim.Momentum(lr))["live"] for lr in (0.1, 0.01)]
    np.testing.assert_allclose(swept, alone, rtol=1e-5)  # float32; worst measured 0
    assert (swept[0] != swept[1]).all()


@pytest.mark.parametrize("case", KINDS, ids=str)
def test_gradients_by_hyperparameters_are_finite_and_equal_finite_differences(case, float64):
    objective = jax.jit(lambda opt: loss(run(opt)))
    gradient = jax.jit(jax.grad(lambda opt: loss(run(opt))))
    # With the case's own values, tiny eps and cold start: finite in spite of the dead unit. Then smooth, to be measured.
    assert all(np.isfinite(g) for g in jax.tree.leaves(gradient(case.ours)))
    opt = smooth(case)
    for name, value in hyperparameters(opt).items():
        h = 1e-5 * value
        low, high = (objective(dataclasses.replace(opt, **{name: value + s * h})) for s in (-1, 1))
        expected = (high - low) / (2 * h)
        assert abs(expected) > 1e-5, name
        np.testing.assert_allclose(getattr(gradient(opt), name), expected, rtol=4e-7, err_msg=name)  # worst measured 4.1e-8


def test_safe_sqrt_is_sqrt_but_for_its_derivative_at_0(float64):
    x = jnp.asarray([1e-300, 1e-20, 1.0, 4.0, 1e300, np.inf, -1.0, np.nan])
    np.testing.assert_array_equal(optim.safe_sqrt(x), jnp.sqrt(x))
    np.testing.assert_array_equal(jax.vmap(jax.grad(optim.safe_sqrt))(x), jax.vmap(jax.grad(jnp.sqrt))(x))
    assert (optim.safe_sqrt(0.0), jax.grad(optim.safe_sqrt)(0.0)) == (0, 0)
    assert jax.grad(jnp.sqrt)(0.0) == np.inf


@pytest.mark.parametrize("name", ["adagrad", "rmsprop", "adam"])
def test_the_plain_root_would_fail_at_the_dead_unit(name, float64):
    """So the law above can fail: with `jnp.sqrt` in the rule the gradient by the rate is NaN."""
    ours = BY_NAME[name].ours
    root = {"adagrad": "safe_sqrt(G) +", "rmsprop": "safe_sqrt(v) +", "adam": "safe_sqrt(v_hat)"}[name]
    plain = mutate(ours, root, root.replace("safe_sqrt", "jnp.sqrt"))
    assert np.isnan(jax.grad(lambda opt: loss(run(opt)))(plain).lr)


def test_a_tree_of_gradients_may_be_negative():
    """An optimizer's structure serves for gradients and axes as well, where a rate of 0 or less is no mistake."""
    gradient = jax.tree.map(float, jax.grad(lambda opt: loss(run(opt)))(optim.SGD(0.01)))
    assert isinstance(gradient, optim.SGD)
    assert gradient.lr < 0


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
@pytest.mark.parametrize("case", KINDS, ids=str)
def test_constants_equal_traced_values_bitwise(case, dtype):
    with precision(dtype):
        grads = jnp.asarray(np.random.default_rng(0).normal(size=(8, 5)), dtype)

        def steps(opt):
            step = lambda state, g: opt.update(g, state)[::-1]
            return jax.lax.scan(step, opt.init(grads[0]), grads)

        constant, traced = jax.jit(lambda: steps(case.ours))(), jax.jit(steps)(case.ours)
        assert jax.tree.all(jax.tree.map(lambda a, b: a.dtype == b.dtype and (a == b).all(), constant, traced))


@pytest.mark.parametrize("nesterov", [False, True])
def test_momentum_0_is_sgd_bitwise(nesterov):
    momentum, sgd = jax.jit(run)(optim.Momentum(0.1, 0.0, nesterov)), jax.jit(run)(optim.SGD(0.1))
    assert (momentum["live"] == sgd["live"]).all()
    assert (run(optim.Momentum(0.1, 0.5, nesterov))["live"] != sgd["live"]).all()


def test_names_of_leaves_are_the_fields():
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(optim.Momentum())]
    assert paths == [".lr", ".momentum"]
    assert jax.tree.structure(optim.Momentum()) != jax.tree.structure(optim.Momentum(nesterov=True))
