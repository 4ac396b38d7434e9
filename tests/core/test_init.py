"""`init`: abstract, by name, and never the forward pass."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fdl import nn

KEY = jax.random.key(0)
IMAGE = jax.ShapeDtypeStruct((2, 8, 6, 3), jnp.float32)


def network():
    block = nn.Residual(nn.Sequential(nn.Conv(4, 3), nn.BatchNorm(), nn.relu))
    return nn.Sequential(nn.Conv(4, 3), block, nn.MaxPool(2), nn.Flatten(), nn.Dropout(0.5), nn.Dense(5))


def test_init_takes_shapes_and_itself_traces_abstractly():
    abstract = jax.eval_shape(network().init, KEY, IMAGE)
    concrete = network().init(KEY, IMAGE)
    assert abstract == jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), concrete)
    assert jax.tree.map(jnp.shape, concrete[0]["residual_0"]) == {
        "body": {"conv_0": {"kernel": (3, 3, 4, 4), "bias": (4,)}, "batch_norm_0": {"scale": (4,), "bias": (4,)}}
    }
    assert jax.tree.map(jnp.shape, concrete[1]) == {"residual_0": {"body": {"batch_norm_0": {"mean": (4,), "var": (4,)}}}}


def test_shapes_and_arrays_give_the_same_weights_and_a_jitted_init_too():
    model = nn.Sequential(nn.Conv(4, 3), nn.Flatten(), nn.Dense(5))
    by_shape, by_array = (model.init(KEY, x)[0] for x in (IMAGE, jnp.ones(IMAGE.shape)))
    jitted = jax.jit(model.init)(KEY, jnp.ones(IMAGE.shape))[0]
    assert jax.tree.all(jax.tree.map(np.array_equal, by_shape, by_array))
    assert jax.tree.all(jax.tree.map(lambda a, b: (abs(a - b) <= 1e-7).all(), by_shape, jitted))  # measured 0


def test_init_computes_nothing_of_the_forward_pass():
    def primitives(jaxpr):
        inner = [
            p.jaxpr if hasattr(p, "jaxpr") else p
            for eqn in jaxpr.eqns
            for p in eqn.params.values()
            if hasattr(p, "eqns") or hasattr(p, "jaxpr")
        ]
        return {eqn.primitive.name for eqn in jaxpr.eqns}.union(*map(primitives, inner))

    products = {"canonical_conv", "conv_general_dilated", "dot_general"}
    asked = primitives(jax.make_jaxpr(network().init)(KEY, IMAGE).jaxpr)
    params, state = network().init(KEY, IMAGE)
    used = primitives(jax.make_jaxpr(lambda *a: network().apply(*a, key=KEY, train=True))(params, state, IMAGE).jaxpr)
    assert "random_bits" in asked
    assert not asked & products
    assert len(used & products) == 2


def test_init_runs_no_callback_of_the_forward_pass():
    ran = []

    @dataclass(frozen=True)
    class Noisy(nn.Layer):
        def forward(self, scope, x):
            jax.debug.callback(lambda: ran.append(1))
            return scope(nn.Dense(2), x)

    params, state = Noisy().init(KEY, jnp.ones((1, 3)))
    jax.effects_barrier()
    assert not ran
    Noisy().apply(params, state, jnp.ones((1, 3)))
    jax.effects_barrier()
    assert ran == [1]


def test_an_inserted_layer_leaves_the_weights_of_all_others_bit_identical():
    x = jnp.ones((2, 6))
    before, _ = nn.Sequential(nn.Dense(6), nn.relu, nn.Dense(4)).init(KEY, x)
    after, _ = nn.Sequential(nn.Dense(6), nn.BatchNorm(), nn.Residual(nn.Dense(6)), nn.Dropout(0.1), nn.relu, nn.Dense(4)).init(KEY, x)
    assert set(after) == {"dense_0", "dense_1", "batch_norm_0", "residual_0"}
    for name in before:
        assert (before[name]["kernel"] == after[name]["kernel"]).all()


def test_a_changed_input_size_changes_no_later_layer():
    wide, narrow = (nn.Sequential(nn.Dense(6), nn.Dense(4)).init(KEY, jnp.ones((2, n)))[0] for n in (9, 3))
    assert (wide["dense_1"]["kernel"] == narrow["dense_1"]["kernel"]).all()


def test_names_count_per_kind_and_functions_have_none():
    model = nn.Sequential(nn.Dense(3), nn.relu, nn.BatchNorm(), nn.Dense(3), nn.Sequential(nn.Dense(3)), nn.BatchNorm(), nn.Dense(2))
    params, _ = model.init(KEY, jnp.ones((2, 3)))
    assert list(params) == ["dense_0", "batch_norm_0", "dense_1", "sequential_0", "batch_norm_1", "dense_2"]
    assert list(params["sequential_0"]) == ["dense_0"]


@pytest.mark.parametrize(("kind", "name"), [("Dense", "dense_0"), ("LSTM", "lstm_0"), ("MaxPool", "max_pool_0"), ("Conv2D", "conv2_d_0")])
def test_a_kind_is_its_class_in_snake_case(kind, name):
    forward = lambda self, scope, x: scope.param("w", nn.initializers.ones, (1,), x.dtype)
    child = type(kind, (nn.Layer,), {"forward": forward})()
    assert list(nn.Sequential(child).init(KEY, jnp.ones(1))[0]) == [name]


def test_integer_inputs_ask_for_float32_weights():
    @dataclass(frozen=True)
    class Table(nn.Layer):
        def forward(self, scope, tokens):
            return scope.param("table", nn.initializers.normal(), (10, 3), tokens.dtype)[tokens]

    params, state = Table().init(KEY, jnp.array([1, 2]))
    assert params["table"].dtype == jnp.float32
    assert Table().apply(params, state, jnp.array([1, 2]))[0].shape == (2, 3)


def test_a_model_without_weights_has_empty_trees():
    assert nn.Sequential(nn.relu, nn.Flatten()).init(KEY, jnp.ones((2, 3))) == ({}, {})
