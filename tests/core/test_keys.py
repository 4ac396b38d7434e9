"""Keys follow names."""

import zlib

import jax
import jax.numpy as jnp
import pytest

from fdl import nn
from fdl.core import fold

KEY = jax.random.key(7)


def same(a, b):
    return bool((jax.random.key_data(a) == jax.random.key_data(b)).all())


def test_a_path_is_folded_name_by_name():
    assert same(fold(KEY, "dense_0"), jax.random.fold_in(KEY, zlib.crc32(b"dense_0")))
    assert not same(fold(fold(KEY, "ab"), "c"), fold(fold(KEY, "a"), "bc"))
    assert not same(fold(fold(KEY, "a"), "b"), fold(fold(KEY, "b"), "a"))
    assert not same(fold(KEY, ""), KEY)


def test_no_key_stays_no_key():
    assert fold(None, "dense_0") is None


def test_a_name_of_any_alphabet_has_a_key_of_its_own():
    names = ["weiß", "層", "a b", "A", "a", "kernel", "bias"]
    assert len({jax.random.key_data(fold(KEY, name)).tobytes() for name in names}) == len(names)


def test_each_weight_is_its_initializer_at_the_key_of_its_path():
    params, _ = nn.Sequential(nn.Dense(3), nn.Residual(nn.Dense(3))).init(KEY, jnp.ones((1, 2)))
    normal = nn.initializers.lecun_normal()
    assert (params["dense_0"]["kernel"] == normal(fold(fold(KEY, "dense_0"), "kernel"), (2, 3), jnp.float32)).all()
    inner = fold(fold(fold(KEY, "residual_0"), "body"), "kernel")
    assert (params["residual_0"]["body"]["kernel"] == normal(inner, (3, 3), jnp.float32)).all()


@pytest.mark.parametrize("make", [jax.random.key, jax.random.PRNGKey])
def test_new_and_old_style_keys_give_the_same_weights(make):
    model, x = nn.Dense(4), jnp.ones((1, 3))
    assert (model.init(make(5), x)[0]["kernel"] == model.init(jax.random.key(5), x)[0]["kernel"]).all()


def test_layers_of_one_shape_start_with_different_weights():
    params, _ = nn.Sequential(nn.Dense(3), nn.Dense(3), nn.Dense(3)).init(KEY, jnp.ones((1, 3)))
    kernels = {params[f"dense_{i}"]["kernel"].tobytes() for i in range(3)}
    assert len(kernels) == 3
