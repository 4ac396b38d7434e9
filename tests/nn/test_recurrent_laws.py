"""Recurrence over padded sequences: padding is no part of a sequence, and any cell will do."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fdl import nn
from fdl.core import FdlError

KEY = jax.random.key(0)
LENGTHS = (1, 5, 3)
CELLS = [nn.RNN(4), nn.LSTM(4), nn.GRU(4)]
each_cell = pytest.mark.parametrize("cell", CELLS, ids=lambda cell: type(cell).__name__)


def sequences(dtype=np.float32, time=5):
    return np.random.default_rng(0).normal(size=(3, time, 2)).astype(dtype)


def fitted(layer, x):
    """Params as after some training: no bias is 0."""
    draw = lambda a: np.random.default_rng(a.size).normal(size=a.shape).astype(a.dtype)
    return jax.tree.map(draw, jax.eval_shape(layer.init, KEY, x)[0])


@each_cell
def test_a_padded_sequence_has_the_code_of_the_cut_one(float64, error, cell):
    x = sequences(np.float64)
    last, whole = nn.Recurrent(cell, "last"), nn.Recurrent(cell, "all")
    params = fitted(last, x)
    run = jax.jit(lambda *x: [layer.apply(params, {}, *x)[0] for layer in (last, whole)])
    padded = [np.asarray(y) for y in run(x, np.array(LENGTHS))]
    for b, n in enumerate(LENGTHS):
        cut = run(x[b : b + 1, :n])
        assert error([padded[0][b : b + 1], padded[1][b : b + 1, :n]], cut) < 5e-15  # measured 3e-16
        assert not padded[1][b, n:].any()


@pytest.mark.parametrize(("cell", "outputs"), [(nn.RNN(4), "all"), (nn.LSTM(4), "all"), (nn.GRU(4), "all"), (nn.LSTM(4), "last")])
def test_nan_in_padded_places_changes_nothing_and_gets_a_gradient_of_exactly_zero(cell, outputs):
    x = sequences()
    layer = nn.Recurrent(cell, outputs)
    params = fitted(layer, x)
    padded = (np.arange(5)[None] >= np.array(LENGTHS)[:, None])[..., None]
    loss = lambda params, x: jnp.sum(jnp.sin(layer.apply(params, {}, x, jnp.array(LENGTHS))[0]))
    results = jax.jit(jax.value_and_grad(loss, (0, 1)))
    value, (dparams, dx) = results(params, np.where(padded, np.float32(np.nan), x))
    clean = results(params, x)
    assert jax.tree.all(jax.tree.map(np.array_equal, (value, (dparams, dx)), clean))
    assert not np.where(padded, dx, 0).any()
    assert np.where(padded, 1, dx).all()


@each_cell
def test_the_last_output_is_the_one_at_each_length(cell):
    x = sequences()
    params = fitted(nn.Recurrent(cell), x)
    run = jax.jit(lambda x, n: [nn.Recurrent(cell, outputs).apply(params, {}, x, n)[0] for outputs in ("last", "all")])
    last, whole = (np.asarray(y) for y in run(x, np.array(LENGTHS)))
    assert np.array_equal(last, whole[np.arange(3), np.array(LENGTHS) - 1])


@each_cell
def test_order_matters(cell):
    x = sequences()
    params = fitted(nn.Recurrent(cell), x)
    run = jax.jit(lambda x: nn.Recurrent(cell).apply(params, {}, x)[0])
    assert abs(run(x) - run(x[:, ::-1])).max() > 0.01


def test_the_lstm_starts_from_zeros_and_its_output_is_bounded_by_one():
    h, c = nn.LSTM(3).start(2, jnp.bfloat16)
    assert (h.shape, c.shape, h.dtype, c.dtype) == ((2, 3), (2, 3), jnp.bfloat16, jnp.bfloat16)
    assert not h.any()
    assert not c.any()
    x = 100 * sequences()
    layer = nn.Recurrent(nn.LSTM(3), "all")
    assert abs(layer.apply(layer.init(KEY, x)[0], {}, x)[0]).max() <= 1


@dataclass(frozen=True)
class Average(nn.Cell):
    """A user's cell: a running mean of `Dense` codes, with a carry of its own form and a child layer."""

    def start(self, batch, dtype):
        return {"sum": jnp.zeros((batch, self.features), dtype), "count": jnp.zeros((batch,), jnp.int32)}

    def forward(self, scope, carry, x):
        total, count = carry["sum"] + scope(nn.Dense(self.features), x), carry["count"] + 1
        return {"sum": total, "count": count}, total / count[:, None].astype(x.dtype)


def test_a_user_s_cell_works(float64, error):
    x = sequences(np.float64)
    layer = nn.Recurrent(Average(4))
    params = fitted(layer, x)
    assert jax.tree.map(jnp.shape, params) == {"cell": {"dense_0": {"kernel": (2, 4), "bias": (4,)}}}
    y, _ = jax.jit(layer.apply)(params, {}, x, np.array(LENGTHS))
    codes = x @ params["cell"]["dense_0"]["kernel"] + params["cell"]["dense_0"]["bias"].reshape(1, 1, -1)
    want = np.stack([codes[b, :n].mean(0) for b, n in enumerate(LENGTHS)])
    assert error(y, want) < 5e-15  # measured 1e-16


def test_a_cell_with_state_is_refused():
    @dataclass(frozen=True)
    class Normed(nn.RNN):
        def forward(self, scope, carry, x):
            return super().forward(scope, carry, scope(nn.BatchNorm(), x))

    with pytest.raises(FdlError) as caught:
        nn.Recurrent(Normed(4)).init(KEY, sequences())
    assert str(caught.value) == (
        "layer /cell: found a layer with state inside a loop; expected a layer without state.\n  Use another normalisation there."
    )


def test_stacked_recurrences_read_each_other_s_outputs():
    model = nn.Sequential(nn.Recurrent(nn.GRU(4), "all"), nn.Recurrent(nn.LSTM(3)))
    params, state = model.init(KEY, sequences())
    assert jax.tree.map(jnp.shape, params["recurrent_1"]["cell"]) == {"kernel": (4, 12), "recurrent": (3, 12), "bias": (12,)}
    assert model.apply(params, state, sequences())[0].shape == (3, 3)


def test_wrong_options_and_inputs_are_told():
    with pytest.raises(FdlError) as caught:
        nn.Recurrent(nn.RNN(4), "first")
    assert str(caught.value) == "Recurrent(outputs): found 'first'; expected 'last' or 'all'."
    with pytest.raises(FdlError) as caught:
        nn.Recurrent(nn.RNN(4)).init(KEY, jnp.ones((3, 2)))
    assert (
        str(caught.value)
        == "layer /: found inputs float32[3, 2]; expected inputs that it can take (x has 2 axes, not [batch, time, features])."
    )
    layer = nn.Recurrent(nn.RNN(4))
    params, _ = layer.init(KEY, sequences())
    with pytest.raises(FdlError) as caught:
        layer.apply(params, {}, jnp.ones((3, 5, 6)))
    assert str(caught.value).startswith("params /cell/kernel: found shape (2, 4); expected shape (6, 4) for this input.")
