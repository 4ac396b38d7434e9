"""Sequential, Residual, Flatten, Conv and the pools: compositions of what `ops` computes."""

from dataclasses import FrozenInstanceError

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fdl import nn, ops

KEY = jax.random.key(0)


def draw(*shape):
    return jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)


def test_sequential_applies_one_after_another():
    model, x = nn.Sequential(nn.Dense(4), jnp.tanh, nn.Dense(2)), draw(3, 5)
    params, state = model.init(KEY, x)
    hidden = jnp.tanh(nn.Dense(4).apply(params["dense_0"], {}, x)[0])
    assert (model.apply(params, state, x)[0] == nn.Dense(2).apply(params["dense_1"], {}, hidden)[0]).all()


def test_sequential_hands_every_input_to_its_first_layer_alone():
    model = nn.Sequential(jnp.add, jnp.negative)
    assert model.apply({}, {}, jnp.float32(2), jnp.float32(3))[0] == -5
    assert nn.Sequential().apply({}, {}, 1)[0] == 1
    assert nn.Sequential().apply({}, {}, 1, 2)[0] == (1, 2)


def test_layers_compare_hash_and_print_by_their_configuration():
    make = lambda n: nn.Sequential(nn.Dense(n), nn.relu, nn.Residual(nn.Conv(3)), nn.Recurrent(nn.GRU(2)))
    assert make(4) == make(4)
    assert hash(make(4)) == hash(make(4))
    assert make(4) != make(5)
    assert nn.Dense(3) != nn.Dense(3, bias=False)
    assert nn.RNN(3) != nn.GRU(3)
    assert len({make(4), make(4), make(5)}) == 2
    assert repr(nn.Sequential(nn.Flatten(), nn.MaxPool(2), nn.Dropout(0.1))) == (
        "Sequential(layers=(Flatten(), MaxPool(window=2, strides=None, padding='VALID'), Dropout(rate=0.1)))"
    )


def test_layers_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        nn.Dense(3).features = 4
    with pytest.raises(FrozenInstanceError):
        nn.Sequential().layers = ()


def test_a_model_is_a_static_argument():
    run = jax.jit(lambda model, x: model.apply({}, {}, x)[0], static_argnums=0)
    assert (run(nn.Sequential(jnp.negative), draw(2)) == -draw(2)).all()


def test_residual_adds_the_input():
    model, x = nn.Residual(nn.Dense(3)), draw(2, 3)
    params, _ = model.init(KEY, x)
    assert list(params) == ["body"]
    assert (model.apply(params, {}, x)[0] == nn.Dense(3).apply(params["body"], {}, x)[0] + x).all()
    assert (nn.Residual(jnp.negative).apply({}, {}, x)[0] == 0).all()


def test_a_shortcut_takes_the_input_where_the_body_changes_its_shape():
    model, x = nn.Residual(nn.Conv(4, 3, 2), nn.Conv(4, 1, 2, bias=False)), draw(1, 6, 6, 3)
    params, _ = model.init(KEY, x)
    assert jax.tree.map(jnp.shape, params) == {"body": {"kernel": (3, 3, 3, 4), "bias": (4,)}, "shortcut": {"kernel": (1, 1, 3, 4)}}
    want = model.body.apply(params["body"], {}, x)[0] + model.shortcut.apply(params["shortcut"], {}, x)[0]
    assert (model.apply(params, {}, x)[0] == want).all()


def test_flatten_keeps_the_batch_and_the_order():
    x = draw(2, 3, 4, 5)
    assert (nn.Flatten().apply({}, {}, x)[0] == np.asarray(x).reshape(2, 60)).all()
    assert nn.Flatten().apply({}, {}, draw(3))[0].shape == (3, 1)


@pytest.mark.parametrize("bias", [True, False])
def test_conv_is_the_operation_plus_its_bias(bias):
    layer, x = nn.Conv(4, (2, 3), (2, 1), ((1, 0), (0, 2)), (1, 2), bias=bias, bias_init=nn.initializers.normal()), draw(2, 6, 7, 3)
    params, _ = layer.init(KEY, x)
    assert jax.tree.map(jnp.shape, params) == {"kernel": (2, 3, 3, 4)} | ({"bias": (4,)} if bias else {})
    want = ops.conv(x, params["kernel"], (2, 1), ((1, 0), (0, 2)), (1, 2), form="lax") + (params["bias"].reshape(1, 1, 1, 4) if bias else 0)
    assert abs(layer.apply(params, {}, x)[0] - want).max() < 3e-6  # measured 2e-7


def test_the_pools_are_the_operations():
    x = draw(1, 7, 6, 2)
    for layer, pool in ((nn.MaxPool, ops.max_pool), (nn.AvgPool, ops.avg_pool)):
        both = jax.jit(lambda x: (layer(3, (2, 1), "SAME").apply({}, {}, x)[0], pool(x, 3, (2, 1), "SAME")))  # noqa: B023
        assert np.array_equal(*both(x))
        assert jax.eval_shape(layer().apply, {}, {}, x)[0].shape == (1, 3, 3, 2)
