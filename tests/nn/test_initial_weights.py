"""Initial weights: mean, variance and bounds, with a false alarm once in a million keys."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from fdl import nn

KEY = jax.random.key(0)
BOUND = scipy.stats.norm.isf(1e-6 / 2)  # 4.9 standard errors


def init(layer, *shape):
    return layer.init(KEY, jax.ShapeDtypeStruct(shape, jnp.float32))[0]


def assert_moments(weights, variance):
    """Mean 0 and this variance; a normal's standard error of the variance exceeds a truncated normal's and a uniform's."""
    w = np.asarray(weights, np.float64).ravel()
    assert abs(w.mean()) < BOUND * np.sqrt(variance / w.size)
    assert abs(w.var() / variance - 1) < BOUND * np.sqrt(2 / w.size)


def test_dense_is_lecun_normal_with_a_bias_of_zero():
    params = init(nn.Dense(500), 1, 200)
    assert_moments(params["kernel"], 1 / 200)
    assert not params["bias"].any()


def test_conv_counts_every_input_of_its_window():
    params = init(nn.Conv(256, (3, 5)), 1, 4, 4, 16)
    assert_moments(params["kernel"], 1 / (3 * 5 * 16))
    assert not params["bias"].any()


def test_an_initializer_of_one_s_own_is_taken():
    ones, normal = nn.initializers.ones, nn.initializers.normal(0.3)
    params = init(nn.Dense(500, kernel_init=normal, bias_init=ones), 1, 200)
    assert_moments(params["kernel"], 0.09)
    assert (params["bias"] == 1).all()
    cell = init(nn.Recurrent(nn.GRU(4, ones, normal)), 1, 2, 3)["cell"]
    assert (cell["kernel"] == 1).all()
    assert 0.1 < cell["recurrent"].std() < 0.5


@pytest.mark.parametrize(("kind", "gates"), [(nn.RNN, 1), (nn.LSTM, 4), (nn.GRU, 3)])
def test_every_gate_is_glorot_uniform_and_orthogonal_by_itself(kind, gates):
    inputs, features = 200, 64
    params = init(nn.Recurrent(kind(features)), 1, 2, inputs)["cell"]
    kernels, recurrents = (jnp.split(params[name], gates, -1) for name in ("kernel", "recurrent"))
    limit = np.sqrt(6 / (inputs + features))
    for kernel, recurrent in zip(kernels, recurrents, strict=True):
        assert_moments(kernel, limit**2 / 3)
        assert 0.99 * limit < abs(kernel).max() <= limit
        assert abs(recurrent.T @ recurrent - jnp.eye(features)).max() < 7e-6  # measured 7e-7
    assert len({k.tobytes() for k in (*kernels, *recurrents)}) == 2 * gates


def test_the_forget_gate_alone_starts_with_a_bias_of_one():
    bias = init(nn.Recurrent(nn.LSTM(3)), 1, 2, 2)["cell"]["bias"]
    assert bias.tolist() == [0, 0, 0, 1, 1, 1, 0, 0, 0, 0, 0, 0]
    gru = init(nn.Recurrent(nn.GRU(3)), 1, 2, 2)["cell"]
    assert not gru["bias"].any()
    assert not gru["recurrent_bias"].any()
    assert gru["recurrent_bias"].shape == (3,)
    assert not init(nn.Recurrent(nn.RNN(3)), 1, 2, 2)["cell"]["bias"].any()


def test_batch_norm_starts_as_the_identity_of_a_standard_input():
    params, state = nn.BatchNorm(eps=0.0).init(KEY, jnp.ones((2, 3)))
    assert jax.tree.map(lambda a: a.tolist(), (params, state)) == ({"scale": [1] * 3, "bias": [0] * 3}, {"mean": [0] * 3, "var": [1] * 3})
    x = jnp.asarray(np.random.default_rng(0).normal(size=(4, 3)), jnp.float32)
    assert abs(nn.BatchNorm(eps=0.0).apply(params, state, x)[0] - x).max() < 1e-6  # measured 0


def test_another_key_gives_other_weights():
    x = jnp.ones((1, 3))
    assert not (nn.Dense(4).init(KEY, x)[0]["kernel"] == nn.Dense(4).init(jax.random.key(1), x)[0]["kernel"]).any()
