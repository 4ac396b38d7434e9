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


def masked_cells():
    """Steps as the papers write them, `m` where the recurrent weights see a state."""

    def rnn(p, h, x, m):
        return jnp.tanh(x @ p["kernel"] + (h * m) @ p["recurrent"] + p["bias"][None])

    def lstm(p, carry, x, m):
        h, c = carry
        i, f, g, o = jnp.split(x @ p["kernel"] + (h * m) @ p["recurrent"] + p["bias"][None], 4, -1)
        c = nn.sigmoid(f) * c + nn.sigmoid(i) * jnp.tanh(g)
        return nn.sigmoid(o) * jnp.tanh(c), c

    def gru(p, h, x, m):
        (x_r, x_z, x_n), (u_r, u_z, u_n) = jnp.split(x @ p["kernel"] + p["bias"][None], 3, -1), jnp.split(p["recurrent"], 3, -1)
        r, z = nn.sigmoid(x_r + (h * m) @ u_r), nn.sigmoid(x_z + (h * m) @ u_z)
        back = r * ((h * m) @ u_n + p["recurrent_bias"][None]) if "recurrent_bias" in p else (r * h * m) @ u_n
        return (1 - z) * jnp.tanh(x_n + back) + z * h

    def mgu(p, h, x, m):
        (x_f, x_n), (u_f, u_n) = jnp.split(x @ p["kernel"] + p["bias"][None], 2, -1), jnp.split(p["recurrent"], 2, -1)
        f = nn.sigmoid(x_f + (h * m) @ u_f)
        return (1 - f) * h + f * jnp.tanh(x_n + (f * h * m) @ u_n)

    return {"RNN": (nn.RNN(4), rnn), "LSTM": (nn.LSTM(4), lstm), "GRU": (nn.GRU(4), gru), "MGU": (nn.MGU(4), mgu)} | {
        "GRU with its reset before": (nn.GRU(4, reset="before"), gru)
    }


@pytest.mark.parametrize(("cell", "step"), masked_cells().values(), ids=masked_cells())
@pytest.mark.parametrize("options", [{}, {"reverse": True, "remat": 2}], ids=["", "reverse, remat"])
def test_dropout_of_a_recurrent_state_is_a_plain_loop_with_one_mask_a_sequence(float64, error, cell, step, options):
    rng = np.random.default_rng(0)
    x, valid = rng.normal(size=(3, 5, 2)), np.array([[1, 0, 1, 1, 0], [0, 1, 1, 0, 1], [1, 1, 1, 1, 1]], bool)
    layer = nn.Recurrent(cell, "all", recurrent_dropout=0.4, **options)
    params = jax.tree.map(lambda a: rng.normal(size=a.shape), jax.eval_shape(layer.init, KEY, x)[0]["cell"])
    _, _, taps = jax.jit(lambda p: nn.tap(layer, {"cell": p}, {}, x, valid, key=KEY, train=True))(params)
    mask = taps["/recurrent_dropout"]
    assert set(np.unique(mask)) == {0, 1 / (1 - 0.4)}

    def plain(params, x):
        carry, outputs = cell.start(3, x.dtype), [None] * 5
        for t in range(5)[::-1] if layer.reverse else range(5):
            new, keep = step(params, carry, x[:, t], mask), valid[:, t, None]
            carry = jax.tree.map(lambda n, o, keep=keep: jnp.where(keep, n, o), new, carry)
            outputs[t] = jnp.where(keep, jax.tree.leaves(new)[0], 0)
        return jnp.stack(outputs, 1), carry

    def driven(params, x):
        return layer.apply({"cell": params}, {}, x, valid, key=KEY, train=True, return_carry=True)[0]

    @jax.jit
    def results(params, x):
        found = []
        for run in (driven, plain):
            y, pull = jax.vjp(run, params, x)
            found.append((y, pull(jax.tree.map(lambda a: jnp.cos(jnp.arange(a.size, dtype=a.dtype)).reshape(a.shape), y))))
        return found

    assert error(*results(params, x)) < 2e-14  # measured 3e-15


def test_dropout_of_a_recurrent_state_is_off_in_evaluation_and_differs_between_sequences_directions_and_layers():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(50, 3, 2)), jnp.float32)
    both = nn.Bidirectional(nn.Recurrent(nn.LSTM(30), "all", recurrent_dropout=0.3))
    model, without = (nn.Stacked(layer, layer) for layer in (both, nn.Bidirectional(nn.Recurrent(nn.LSTM(30), "all"))))
    params, _ = model.init(KEY, x)
    assert jax.tree.all(jax.tree.map(lambda a, b: (a == b).all(), params, without.init(KEY, x)[0]))
    run = jax.jit(lambda model, params: model.apply(params, {}, x)[0], static_argnums=0)
    assert np.array_equal(run(model, params), run(without, params))
    _, _, taps = jax.jit(lambda params: nn.tap(model, params, {}, x, key=KEY, train=True, at="*/recurrent_dropout"))(params)
    masks = [row.tobytes() for mask in taps.values() for row in np.asarray(mask)]
    assert len(set(masks)) == len(masks) == 4 * 50
    dropped = sum(int((mask == 0).sum()) for mask in taps.values())
    low, high = scipy.stats.binom.interval(1 - 1e-6, 4 * 50 * 30, 0.3)
    assert low <= dropped <= high


def test_a_state_that_cannot_be_dropped_is_told():
    keyless, x = nn.Recurrent(nn.RNN(3), recurrent_dropout=0.1), jnp.ones((1, 2, 3))
    for make, told in (
        (lambda: nn.Recurrent(nn.LRU(3), recurrent_dropout=0.1), "found a cell LRU; expected RNN, LSTM, GRU or MGU"),
        (lambda: nn.Recurrent(nn.RNN(3), recurrent_dropout=1.0), r"Dropout\(rate\): found 1.0"),
        (lambda: keyless.apply(keyless.init(KEY, x)[0], {}, x, train=True), "layer /recurrent_dropout: found no key"),
    ):
        with pytest.raises(FdlError, match=told):
            make()


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
