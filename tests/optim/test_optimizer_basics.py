"""What the optimizers' base does, beside the laws that hold for every rule."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from mutants import mutate

from fdl import optim
from fdl.testing import _problems, optimizers
from fdl.testing.rules import CASES, classics

all_classics = pytest.mark.parametrize("case", classics.CASES, ids=str)


def parameters(*dtypes):
    """A tree with a matrix, a vector and a scalar in each dtype."""
    return {str(d): [jnp.ones((2, 3), d), {"b": jnp.full(3, 2, d), "s": jnp.asarray(0.5, d)}] for d in dtypes}


def test_promotion_is_strict_here():
    """So every test of this folder says that the optimizers mix no dtypes."""
    with pytest.raises(jax.dtypes.TypePromotionError):
        jnp.ones(2, jnp.bfloat16) + jnp.ones(2, jnp.float32)


def test_updates_take_the_dtype_of_the_parameters_not_of_the_gradients():
    params, grads = parameters("bfloat16")["bfloat16"], parameters("float32")["float32"]
    updates, _ = optim.Adam().update(grads, optim.Adam().init(params), params)
    assert {u.dtype for u in jax.tree.leaves(updates)} == {jnp.dtype("bfloat16")}
    updates, _ = optim.Adam().update(grads, optim.Adam().init(params))
    assert {u.dtype for u in jax.tree.leaves(updates)} == {jnp.dtype("float32")}


def test_apply_updates_adds_in_the_dtype_of_each_parameter():
    """Also where updates are wider, as from an optax optimizer with a strong float32 rate."""
    params = {"w": jnp.asarray([1.0, 2.0], jnp.bfloat16), "b": jnp.asarray(3.0)}
    after = optim.apply_updates(params, {"w": jnp.asarray([0.5, 2**-12]), "b": jnp.asarray(0.25)})
    assert after["w"].dtype == jnp.bfloat16
    assert after["w"].tolist() == [1.5, 2.0]  # 2^-12 is lost in 8 bits
    assert after["b"] == 3.25


def test_leaves_do_not_see_each_other():
    """The tree is nothing but its arrays: one leaf alone moves by the same bits."""
    params = parameters("float32", "bfloat16")

    @jax.jit
    def steps(params):
        state = optim.Adam().init(params)
        for _ in range(3):
            params, state = optim.step(optim.Adam(), params, state, params)
        return params

    assert (steps(params)["bfloat16"][1]["b"] == steps(params["bfloat16"][1]["b"])).all()


@all_classics
def test_a_nan_stays_in_the_state_of_its_coordinate(case):
    """As in optax: a run that broke must not go on with a state of no meaning."""
    first, second = jnp.asarray([np.nan, 1.0]), jnp.asarray([1.0, 1.0])
    _, state = case.ours.update(first, case.ours.init(first))
    updates, _ = case.ours.update(second, state)
    assert np.isnan(updates).tolist() == [bool(case.ours.slots), False]


@pytest.mark.parametrize("empty", [{}, (), {"a": [], "b": {}}, {"none": None}], ids=str)
@pytest.mark.parametrize("ours", [case.ours for case in CASES.values() if isinstance(case.ours, optim.Leafwise)], ids=repr)
def test_an_empty_tree_is_no_special_case(ours, empty):
    state = ours.init(empty)
    updates, after = ours.update(empty, state, empty)
    assert updates == empty
    assert after == {"step": 1, **dict.fromkeys(ours.slots, empty)}


@all_classics
def test_bfloat16_is_float32_rounded_once(case):
    """Tighter than the comparison with optax, which rounds after each operation: the same bits as float32's update, rounded."""
    g = jnp.asarray(_problems.gradients("vector")[:3], jnp.bfloat16)

    @jax.jit
    def run(grads):
        step = lambda state, g: case.ours.update(g, state)[::-1]
        return jax.lax.scan(step, case.ours.init(grads[0]), grads)[::-1]

    (narrow, state), (exact, wide_state) = run(g), run(g.astype(jnp.float32))
    assert narrow.dtype == jnp.bfloat16
    assert (np.asarray(narrow) == np.asarray(exact.astype(jnp.bfloat16))).all()
    assert jax.tree.all(jax.tree.map(lambda a, b: a.dtype == b.dtype and (a == b).all(), state, wide_state))


@pytest.mark.parametrize("axis", [AxisType.Auto, AxisType.Explicit], ids=str)
def test_state_and_updates_are_sharded_as_the_parameters(axis):
    mesh = jax.make_mesh((4,), ("x",), axis_types=(axis,))
    sharded, adam = NamedSharding(mesh, PartitionSpec("x")), optim.Adam()
    with jax.set_mesh(mesh):
        params = {"w": jax.device_put(jnp.arange(24.0).reshape(8, 3), sharded)}
        same = lambda tree: all(leaf.sharding.is_equivalent_to(sharded, 2) for leaf in jax.tree.leaves(tree))
        state = adam.init(params)
        assert same([state["m"], state["v"]])
        # Under jit a mesh of Auto axes hides the shards from init, as from optax's; the first update brings them back.
        inside = jax.jit(adam.init)(params)
        assert same([inside["m"], inside["v"]]) == (axis == AxisType.Explicit)
        updates, after = jax.jit(adam.update)(params, inside, params)
        assert same([updates, after["m"], after["v"]])


def test_vmap_axes_are_an_optimizer_too():
    """`in_axes` with the optimizer's structure: the rate is mapped, the rest is not."""
    final = lambda o: optimizers.run(o, optimizers.start(jnp.float32))[0]["live"]["bias"]
    opt = dataclasses.replace(optim.Momentum(), lr=jnp.asarray([0.1, 0.01]))
    axes = jax.tree.unflatten(jax.tree.structure(opt), [0, None])
    swept = jax.vmap(final, in_axes=(axes,))(opt)
    alone = [final(optim.Momentum(lr)) for lr in (0.1, 0.01)]
    np.testing.assert_allclose(swept, alone, rtol=1e-5)  # float32; worst measured 0
    assert (swept[0] != swept[1]).all()


def test_safe_sqrt_is_sqrt_but_for_its_derivative_at_0(float64):
    x = jnp.asarray([1e-300, 1e-20, 1.0, 4.0, 1e300, np.inf, -1.0, np.nan])
    np.testing.assert_array_equal(optim.safe_sqrt(x), jnp.sqrt(x))
    np.testing.assert_array_equal(jax.vmap(jax.grad(optim.safe_sqrt))(x), jax.vmap(jax.grad(jnp.sqrt))(x))
    assert (optim.safe_sqrt(0.0), jax.grad(optim.safe_sqrt)(0.0)) == (0, 0)
    assert jax.grad(jnp.sqrt)(0.0) == np.inf


@pytest.mark.parametrize("name", ["adagrad", "rmsprop", "adam"])
def test_the_plain_root_would_fail_at_the_dead_unit(name, float64):
    """So the law of derivatives can fail: with `jnp.sqrt` in the rule the gradient by the rate is NaN."""
    root = {"adagrad": "safe_sqrt(G) +", "rmsprop": "safe_sqrt(square) +", "adam": "safe_sqrt(v_hat)"}[name]
    plain = mutate(CASES[name].ours, root, root.replace("safe_sqrt", "jnp.sqrt"))
    assert np.isnan(jax.grad(lambda o: optimizers.loss(optimizers.run(o)[0]))(plain).lr)


def test_a_tree_of_gradients_may_be_negative(float64):
    """An optimizer's structure serves for gradients and axes as well, where a rate of 0 or less is no mistake."""
    gradient = jax.tree.map(float, jax.grad(lambda o: optimizers.loss(optimizers.run(o)[0]))(optim.SGD(0.01)))
    assert isinstance(gradient, optim.SGD)
    assert gradient.lr < 0


def test_names_of_leaves_are_the_fields():
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(optim.Momentum())]
    assert paths == [".lr", ".momentum"]
    assert jax.tree.structure(optim.Momentum()) != jax.tree.structure(optim.Momentum(nesterov=True))
