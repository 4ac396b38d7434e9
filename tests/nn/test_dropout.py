"""Dropout's law: what is dropped, how often, and that its expectation is the input."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from fdl import nn
from fdl.core import FdlError

KEY = jax.random.key(0)


def drop(x, rate, key=KEY, train=True, each="element"):
    return nn.Dropout(rate, each).apply({}, {}, x, key=key, train=train)[0]


@pytest.mark.parametrize("rate", [0.01, 0.3, 0.5, 0.9])
def test_the_share_of_dropped_elements_is_the_rate(rate):
    size = 100_000
    dropped = int((drop(jnp.ones(size), rate) == 0).sum())
    low, high = scipy.stats.binom.interval(1 - 1e-6, size, rate)  # a false alarm once in a million keys
    assert low <= dropped <= high


@pytest.mark.parametrize("rate", [0.3, 0.5])
def test_what_is_kept_is_divided_by_the_rate_of_keeping(rate):
    x = jnp.linspace(1, 2, 1000)
    y = drop(x, rate)
    kept = y != 0
    assert (jnp.where(kept, x / (1 - rate), 0) == y).all()
    assert 0 < kept.sum() < 1000


def test_the_expectation_is_the_input():
    x, rate, draws = jnp.array([1.0, -2.0, 0.5, 3.0]), 0.4, 20_000
    mean = jax.vmap(partial(drop, x, rate))(jax.random.split(KEY, draws)).mean(0)
    deviation = abs(x) * np.sqrt(rate / (1 - rate) / draws)
    bound = scipy.stats.norm.isf(1e-6 / 2 / x.size)  # a false alarm once in a million keys
    assert (abs(mean - x) < bound * deviation).all()


def test_neighbours_are_dropped_independently():
    zero = np.asarray(drop(jnp.ones((2, 200, 250)), 0.5)) == 0
    low, high = scipy.stats.binom.interval(1 - 1e-6, 50_000, 0.25)
    for pairs in (zero[0] & zero[1], zero[:, ::2] & zero[:, 1::2], zero[..., ::2] & zero[..., 1::2]):
        assert pairs.size == 50_000
        assert low <= pairs.sum() <= high


def test_the_same_key_gives_the_same_mask_and_another_key_another():
    x = jnp.ones(1000)
    assert (drop(x, 0.5) == drop(2 * x, 0.5) / 2).all()
    assert not (drop(x, 0.5) == drop(x, 0.5, jax.random.key(1))).all()


def test_evaluation_and_rate_zero_are_the_identity_without_a_key():
    x = jnp.array([1.0, -0.0, jnp.inf, jnp.nan])
    for y in (drop(x, 0.5, None, False), drop(x, 0.5, KEY, False), drop(x, 0, None, True), drop(x, 0.0, KEY, True)):
        assert np.asarray(y).tobytes() == np.asarray(x).tobytes()


def test_the_gradient_flows_through_what_is_kept_alone():
    x = jnp.linspace(1, 2, 100)
    dx = jax.grad(lambda x: drop(x, 0.5).sum())(x)
    assert (dx == jnp.where(drop(x, 0.5) != 0, 2.0, 0.0)).all()


def test_nan_is_dropped_too_and_leaves_no_trace():
    x = jnp.full(100, jnp.nan)
    y = drop(x, 0.5)
    assert 0 < (y == 0).sum() < 100
    assert ((y == 0) | jnp.isnan(y)).all()


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float32])
def test_the_dtype_is_kept(dtype):
    assert drop(jnp.ones(10, dtype), 0.3).dtype == dtype


@pytest.mark.parametrize(("each", "axes"), [("channel", (1, 2)), ("example", (1, 2, 3))])
def test_a_channel_or_an_example_is_dropped_as_a_whole(each, axes):
    x = jnp.asarray(np.random.default_rng(0).uniform(1, 2, (200, 3, 4, 50)), jnp.float32)
    y = drop(x, 0.3, each=each)
    kept = y != 0
    assert (kept.all(axes) == kept.any(axes)).all()
    assert (jnp.where(kept, x / (1 - 0.3), 0) == y).all()
    whole = kept.any(axes)
    low, high = scipy.stats.binom.interval(1 - 1e-6, whole.size, 0.7)
    assert low <= int(whole.sum()) <= high
    assert len({mask.tobytes() for mask in np.asarray(whole)}) == (200 if each == "channel" else 2)


def test_one_mask_serves_all_time_steps():
    y = drop(jnp.ones((4, 7, 30)), 0.5, each="channel")
    assert (y == y[:, :1]).all()
    assert not (y[0] == y[1]).all()


def test_stochastic_depth_leaves_the_shortcut():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(100, 3)), jnp.float32)
    block = nn.Residual(nn.Sequential(jnp.sin, nn.Dropout(0.4, each="example")))
    y, _ = block.apply({}, {}, x, key=KEY, train=True)
    rest = abs(y - x).max(1)
    assert 0 < (rest == 0).sum() < 100
    assert jnp.where(rest[:, None] == 0, 0, abs(y - x - jnp.sin(x) / 0.6)).max() < 1e-6
    assert (block.apply({}, {}, x)[0] == x + jnp.sin(x)).all()


def test_another_kind_and_too_few_axes_are_refused():
    with pytest.raises(FdlError, match=r"Dropout\(each\): found 'row'; expected 'element', 'channel' or 'example'"):
        nn.Dropout(0.5, "row")
    with pytest.raises(FdlError, match=r"no channel in 1 axes: expected \[batch, ..., channels\]"):
        drop(jnp.ones(3), 0.5, each="channel")


@pytest.mark.parametrize("rate", [-0.1, 1, 1.5, float("nan")])
def test_a_rate_out_of_range_is_refused(rate):
    with pytest.raises(FdlError) as caught:
        nn.Dropout(rate)
    assert str(caught.value) == f"Dropout(rate): found {rate!r}; expected a probability of dropping in [0, 1)."
