"""What the state is: its structure, dtypes and shards follow the parameters and never change; nothing moves without a gradient."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from optimizers_table import CASES, KINDS
from teacher_forced import precision

from fdl import optim

all_kinds = pytest.mark.parametrize("case", KINDS, ids=str)


def parameters(*dtypes):
    """A tree with a matrix, a vector and a scalar in each dtype."""
    return {str(d): [jnp.ones((2, 3), d), {"b": jnp.full(3, 2, d), "s": jnp.asarray(0.5, d)}] for d in dtypes}


def avals(tree):
    """Structure, and each leaf's shape, dtype and weak type."""
    return jax.tree.map(lambda x: (x.shape, str(x.dtype), x.weak_type), tree)


def steps(opt, params, length=3):
    """Parameters and state after steps whose gradient is the parameters themselves."""

    def step(carry, _):
        params, state = carry
        updates, state = opt.update(params, state, params)
        assert avals(updates) == avals(params)
        return (optim.apply_updates(params, updates), state), None

    return jax.lax.scan(step, (params, opt.init(params)), length=length)[0]


@pytest.mark.parametrize(
    "dtypes", [["float64"], ["float32"], ["bfloat16"], ["float32", "bfloat16"], ["float64", "float32", "bfloat16"]], ids=str
)
@all_kinds
def test_structure_shapes_and_dtypes_are_stable_under_scan(case, dtypes):
    with precision("float64" if "float64" in dtypes else "float32"):
        params = parameters(*dtypes)
        before = case.ours.init(params)
        after, state = jax.jit(steps)(case.ours, params)
        assert avals(after) == avals(params)
        assert avals(state) == avals(before)
        assert state["step"] == 3
        assert jax.tree.all(jax.tree.map(lambda a, b: (a != b).all(), after, params))
        for name in case.ours.slots:
            wide = jax.tree.map(lambda p: (p.shape, "float32" if p.dtype == jnp.bfloat16 else str(p.dtype), False), params)
            assert avals(before[name]) == wide


@all_kinds
def test_a_swept_rate_keeps_the_dtype_of_the_parameters(case, float64):
    """A strong float32 rate, as in a sweep, widens no bfloat16 parameter and narrows no float64 one."""
    rates = jnp.asarray([0.1, 0.01], jnp.float32)
    params = parameters("bfloat16", "float64")
    after, state = jax.vmap(lambda lr: steps(dataclasses.replace(case.ours, lr=lr), params))(rates)
    assert jax.tree.map(lambda x: x.dtype, after) == jax.tree.map(lambda x: x.dtype, params)
    for name in case.ours.slots:
        assert {d: s[0].dtype for d, s in state[name].items()} == {"bfloat16": jnp.float32, "float64": jnp.float64}


@all_kinds
def test_updates_take_the_dtype_of_the_parameters_not_of_the_gradients(case):
    params, grads = parameters("bfloat16")["bfloat16"], parameters("float32")["float32"]
    updates, _ = case.ours.update(grads, case.ours.init(params), params)
    assert {u.dtype for u in jax.tree.leaves(updates)} == {jnp.dtype("bfloat16")}
    updates, _ = case.ours.update(grads, case.ours.init(params))
    assert {u.dtype for u in jax.tree.leaves(updates)} == {jnp.dtype("float32")}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_zero_gradient_moves_nothing(case):
    params = parameters("float32", "bfloat16")
    zeros = jax.tree.map(jnp.zeros_like, params)
    first = state = case.ours.init(params)
    for _ in range(3):
        updates, state = case.ours.update(zeros, state, params)
        assert all((u == 0).all() for u in jax.tree.leaves(updates))
    kept = {name: jax.tree.map(lambda a, b: bool((a == b).all()), state[name], first[name]) for name in case.ours.slots}
    assert jax.tree.all(kept)
    assert state["step"] == 3


@pytest.mark.parametrize("case", [c for c in KINDS if c.slots], ids=str)
def test_a_nan_stays_in_the_state_of_its_coordinate(case):
    """As in optax: a run that broke must not go on with a state of no meaning."""
    first, second = jnp.asarray([np.nan, 1.0]), jnp.asarray([1.0, 1.0])
    _, state = case.ours.update(first, case.ours.init(first))
    updates, _ = case.ours.update(second, state)
    assert np.isnan(updates).tolist() == [True, False]


@all_kinds
def test_leaves_do_not_see_each_other(case):
    """The tree is nothing but its arrays: one leaf alone moves by the same bits."""
    params = parameters("float32", "bfloat16")
    together, _ = jax.jit(steps)(case.ours, params)
    alone, _ = jax.jit(steps)(case.ours, params["bfloat16"][1]["b"])
    assert (together["bfloat16"][1]["b"] == alone).all()


@pytest.mark.parametrize("empty", [{}, (), {"a": [], "b": {}}, {"none": None}], ids=str)
@all_kinds
def test_an_empty_tree_is_no_special_case(case, empty):
    state = case.ours.init(empty)
    updates, after = case.ours.update(empty, state, empty)
    assert updates == empty
    assert after == {"step": 1, **dict.fromkeys(case.ours.slots, empty)}


@all_kinds
def test_init_needs_shapes_only(case):
    params = parameters("float32", "bfloat16")
    shapes = jax.tree.map(lambda p: jax.ShapeDtypeStruct(p.shape, p.dtype), params)
    assert avals(jax.eval_shape(case.ours.init, shapes)) == avals(case.ours.init(params))


@all_kinds
def test_numpy_arrays_will_do(case):
    params = {"w": np.ones((2, 3), np.float32)}
    updates, _ = case.ours.update(params, case.ours.init(params), params)
    expected, _ = case.ours.update(jax.tree.map(jnp.asarray, params), case.ours.init(params), params)
    np.testing.assert_array_equal(updates["w"], expected["w"])
    assert updates["w"].dtype == jnp.float32


def test_apply_updates_adds_in_the_dtype_of_each_parameter():
    """Also where updates are wider, as from an optax optimizer with a strong float32 rate."""
    params = {"w": jnp.asarray([1.0, 2.0], jnp.bfloat16), "b": jnp.asarray(3.0)}
    after = optim.apply_updates(params, {"w": jnp.asarray([0.5, 2**-12]), "b": jnp.asarray(0.25)})
    assert after["w"].dtype == jnp.bfloat16
    assert after["w"].tolist() == [1.5, 2.0]  # 2^-12 is lost in 8 bits
    assert after["b"] == 3.25


def test_promotion_is_strict_here():
    """So every test of this folder says that the optimizers mix no dtypes."""
    with pytest.raises(jax.dtypes.TypePromotionError):
        jnp.ones(2, jnp.bfloat16) + jnp.ones(2, jnp.float32)


@pytest.mark.parametrize("axis", [AxisType.Auto, AxisType.Explicit], ids=str)
@all_kinds
def test_state_and_updates_are_sharded_as_the_parameters(case, axis):
    mesh = jax.make_mesh((4,), ("x",), axis_types=(axis,))
    sharded = NamedSharding(mesh, PartitionSpec("x"))
    with jax.set_mesh(mesh):
        params = {"w": jax.device_put(jnp.arange(24.0).reshape(8, 3), sharded)}
        same = lambda tree: all(leaf.sharding.is_equivalent_to(sharded, 2) for leaf in jax.tree.leaves(tree))
        state = case.ours.init(params)
        assert same([state[name] for name in case.ours.slots])
        updates, after = jax.jit(case.ours.update)(params, state, params)
        assert same([updates, *(after[name] for name in case.ours.slots)])
        # Under jit a mesh of Auto axes hides the shards from init, as from optax's; the first update brings them back.
        inside = jax.jit(case.ours.init)(params)
        assert same([inside[name] for name in case.ours.slots]) == (axis == AxisType.Explicit or not case.ours.slots)
        updates, after = jax.jit(case.ours.update)(params, inside, params)
        assert same([updates, *(after[name] for name in case.ours.slots)])

    alone = {"w": jnp.arange(24.0).reshape(8, 3)}
    expected, _ = jax.jit(case.ours.update)(alone, case.ours.init(alone), alone)
    np.testing.assert_array_equal(updates["w"], expected["w"])
