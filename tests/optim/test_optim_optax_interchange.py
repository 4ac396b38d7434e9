"""fdl's optimizers stand wherever optax takes a transformation, and optax's stand in fdl, as pytrees of their numbers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fdl import optim
from fdl.testing import rules
from fdl.testing.equivalence import relative

STEPS = 5

all_kinds = pytest.mark.parametrize("case", [c for c in rules.classics.CASES if c.optax], ids=str)


@pytest.fixture(autouse=True)
def standard_promotion():
    """optax mixes dtypes, and here it stands around fdl or inside it."""
    with jax.numpy_dtype_promotion("standard"):
        yield


def gradients():
    rng = np.random.default_rng(2)
    return {"a": jnp.asarray(rng.normal(size=(STEPS, 4))), "b": jnp.asarray(rng.normal(size=(STEPS, 2)))}


def run(transform):
    """Updates of some steps: {"a": (steps, 4), "b": (steps, 2)}."""
    grads = gradients()
    params = jax.tree.map(lambda g: g[0], grads)

    def step(state, g):
        updates, state = transform.update(g, state, params)
        return state, updates

    return jax.lax.scan(step, transform.init(params), grads)[1]


def assert_equal(ours, theirs):
    worst = {name: relative(ours[name], theirs[name]) for name in theirs}
    print(worst)
    assert max(worst.values()) <= 1e-14  # float64; worst measured 2.8e-16
    assert set(ours) == set(theirs)


@all_kinds
def test_in_chain(case, float64):
    norms = np.sqrt(sum((np.asarray(g) ** 2).sum(axis=1) for g in gradients().values()))
    assert (norms > 2).any()  # clipping bites, but not always
    assert (norms < 2).any()
    wrap = lambda transform: optax.chain(optax.clip_by_global_norm(2.0), transform, optax.scale(0.5))
    assert_equal(run(wrap(case.ours)), run(wrap(case.optax)))


@all_kinds
def test_in_masked(case, float64):
    wrap = lambda transform: optax.masked(transform, {"a": True, "b": False})
    ours = run(wrap(case.ours))
    assert_equal(ours, run(wrap(case.optax)))
    assert (ours["b"] == gradients()["b"]).all()  # optax passes on what is masked
    assert (ours["a"] == run(case.ours)["a"]).all()


@all_kinds
def test_in_partition(case, float64):
    """Beside an optax optimizer, and beside one of fdl."""
    wrap = lambda transform, other: optax.partition({"x": transform, "y": other}, {"a": "x", "b": "y"})
    for_b = optim.SGD(0.5)
    ours = run(wrap(case.ours, optax.sgd(0.5)))
    assert_equal(ours, run(wrap(case.optax, optax.sgd(0.5))))
    assert_equal(run(wrap(case.ours, for_b)), ours)
    assert (ours["b"] == -0.5 * gradients()["b"]).all()


@all_kinds
def test_it_unpacks_to_init_and_update(case):
    init, update = case.ours
    params = {"w": jnp.ones(3)}
    ours, state = update(params, init(params), params)
    expected, _ = case.ours.update(params, case.ours.init(params), params)
    assert (ours["w"] == expected["w"]).all()
    assert state["step"] == 1
    assert (run(optax.GradientTransformation(init, update))["a"] == run(case.ours)["a"]).all()


THEIRS = {
    # factory, its numbers; options that are no numbers in a partial
    "adam": (optax.adam, {"learning_rate": 0.1, "b1": 0.8, "b2": 0.9, "eps": 1e-3}),
    "lion": (optax.lion, {"learning_rate": 0.1}),
    "nesterov": (functools.partial(optax.sgd, nesterov=True), {"learning_rate": 0.1, "momentum": 0.9}),
    "adamw": (functools.partial(optax.adamw, nesterov=True), {"learning_rate": 0.1, "weight_decay": 0.01}),
}

all_theirs = pytest.mark.parametrize("name", THEIRS)


@all_theirs
def test_from_optax_equals_optax(name, float64):
    factory, numbers = THEIRS[name]
    assert_equal(jax.jit(run)(optim.from_optax(factory, **numbers)), run(factory(**numbers)))


@all_theirs
def test_from_optax_does_not_recompile_for_another_value(name):
    factory, numbers = THEIRS[name]
    traces = []

    @jax.jit
    def last(opt):
        traces.append(opt)
        return run(opt)["a"][-1]

    first = last(optim.from_optax(factory, **numbers))
    for changed in numbers:
        assert (last(optim.from_optax(factory, **{**numbers, changed: numbers[changed] / 2})) != first).any(), changed
    assert len(traces) == 1


@all_theirs
def test_from_optax_maps_over_its_rate(name, float64):
    factory, numbers = THEIRS[name]
    rates = [0.1, 0.02, 0.003]
    swept = jax.vmap(lambda lr: run(optim.from_optax(factory, **{**numbers, "learning_rate": lr})))(jnp.asarray(rates))
    for i, lr in enumerate(rates):
        assert_equal({k: v[i] for k, v in swept.items()}, run(factory(**{**numbers, "learning_rate": lr})))


def test_from_optax_differentiates_by_its_rate(float64):
    total = lambda opt: run(opt)["a"].sum()
    opt = optim.from_optax(optax.sgd, learning_rate=0.1)
    assert isinstance(jax.grad(total)(opt), type(opt))
    np.testing.assert_allclose(jax.grad(total)(opt).hyperparameters["learning_rate"], total(opt) / 0.1, rtol=1e-13)  # linear; measured 0


def test_from_optax_is_a_pytree_of_its_numbers():
    opt = optim.from_optax(optax.adam, learning_rate=0.1, b1=0.9)
    assert jax.tree.leaves(opt) == [0.1, 0.9]
    assert jax.tree.map(lambda x: 2 * x, opt) == optim.from_optax(optax.adam, learning_rate=0.2, b1=1.8)
    assert jax.tree.structure(opt) != jax.tree.structure(optim.from_optax(optax.adam, learning_rate=0.1, b2=0.9))
    init, _ = opt
    assert optax.tree_utils.tree_get(init(jnp.ones(3)), "mu").shape == (3,)


def test_an_optax_optimizer_and_fdls_share_their_interface():
    """What takes `init` and `update` takes both: the same code, the same numbers."""
    ours, theirs = run(optim.Adam(0.1)), run(optax.adam(0.1))
    worst = relative(ours["a"], theirs["a"])
    print(worst)
    assert worst <= 7e-5  # float32; measured 6.8e-6
