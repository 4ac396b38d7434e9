"""Recurrence over padded sequences: padding is no part of a sequence, and any cell will do."""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fdl import nn, ops
from fdl.core import FdlError

KEY = jax.random.key(0)
LENGTHS = (1, 5, 3)
CELLS = [nn.RNN(4), nn.LSTM(4, peephole=True, layer_norm=True), nn.GRU(4), nn.GRU(4, reset="before"), nn.LRU(4)]
each_cell = pytest.mark.parametrize("cell", CELLS, ids=lambda cell: type(cell).__name__)
two_cells = pytest.mark.parametrize("cell", [nn.LSTM(4), nn.LRU(4)], ids=lambda cell: type(cell).__name__)


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


@two_cells
def test_the_last_output_is_the_one_at_each_length(cell):
    x = sequences()
    params = fitted(nn.Recurrent(cell), x)
    run = jax.jit(lambda x, n: [nn.Recurrent(cell, outputs).apply(params, {}, x, n)[0] for outputs in ("last", "all")])
    last, whole = (np.asarray(y) for y in run(x, np.array(LENGTHS)))
    assert np.array_equal(last, whole[np.arange(3), np.array(LENGTHS) - 1])


@two_cells
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


def valid_steps():
    """Gaps, and a start and an end that do not count."""
    return np.array([[1, 0, 1, 1, 0], [0, 1, 1, 0, 1], [0, 0, 0, 1, 0]], bool)


@each_cell
@pytest.mark.parametrize("reverse", [False, True])
def test_steps_that_a_mask_leaves_out_might_as_well_not_be_there(float64, error, cell, reverse):
    x, valid, layer = sequences(np.float64), valid_steps(), nn.Recurrent(cell, "last", reverse=reverse)
    params = fitted(layer, x)
    run = jax.jit(lambda *x: layer.apply(params, {}, *x, return_carry=True)[0])
    masked = jax.tree.map(np.asarray, run(np.where(valid[..., None], x, np.nan), valid))
    for b in range(3):
        cut = run(x[b : b + 1, valid[b]])
        assert error(jax.tree.map(lambda a, b=b: a[b : b + 1], masked), cut) < 5e-15  # measured up to 5e-16


@two_cells
def test_backwards_it_reads_the_flipped_sequence(float64, error, cell):
    x, valid = sequences(np.float64), valid_steps()
    forward, backward = nn.Recurrent(cell, "all"), nn.Recurrent(cell, "all", reverse=True)
    params = fitted(forward, x)
    run = jax.jit(
        lambda x, valid: (backward.apply(params, {}, x, valid)[0], forward.apply(params, {}, x[:, ::-1], valid[:, ::-1])[0][:, ::-1])
    )
    assert error(*run(x, valid)) < 5e-15  # measured up to 5e-16


@pytest.mark.parametrize(
    ("options", "reverse"), [({"unroll": 2}, False), ({"remat": 2}, True), ({"remat": 5}, False), ({"remat": 9}, True)], ids=str
)
def test_unrolled_or_computed_again_it_is_the_same(float64, error, options, reverse):
    x, valid = sequences(np.float64), valid_steps()
    params = fitted(nn.Recurrent(nn.GRU(4)), x)

    def results(layer):
        def loss(params, x):
            y, end = layer.apply(params, {}, x, valid, return_carry=True)[0]
            return jnp.sum(jnp.sin(y)) + jnp.sum(end**2), y

        return jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))(params, x)

    plain = nn.Recurrent(nn.GRU(4), "all", reverse=reverse)
    assert error(results(replace(plain, **options)), results(plain)) < 5e-15  # measured up to 5e-16


@pytest.mark.parametrize("cell", [nn.LSTM(4), nn.GRU(4, reset="before")], ids=["LSTM", "GRU"])
def test_a_sequence_taken_in_pieces_of_the_cache_is_the_same(float64, error, monkeypatch, cell):
    x = sequences(np.float64, time=6)
    layer = nn.Recurrent(cell, "all", reverse=True)
    params = fitted(layer, x)
    loss = lambda params, x: jnp.sum(jnp.sin(layer.apply(params, {}, x, np.array([6, 2, 5]))[0]))
    whole = jax.jit(jax.value_and_grad(loss, (0, 1)))(params, x)
    steps = []
    monkeypatch.setattr(ops._recurrence, "_piece", lambda time, size: steps.append((time, size)) or 2)
    assert error(jax.jit(jax.value_and_grad(lambda p, x: loss(p, x), (0, 1)))(params, x), whole) < 5e-15  # measured up to 5e-16
    assert steps == [(6, 3 * 8 * cell.gates * 4)]


def test_pieces_divide_the_time_and_fit_the_cache():
    assert ops._recurrence._piece(50, 50 * 512 * 4) == 5
    assert ops._recurrence._piece(29, 30 * 256 * 4) == 29  # a prime: as a whole
    assert ops._recurrence._piece(8, 1) == 8
    assert ops._recurrence._piece(8, 2**30) == 1


@two_cells
@pytest.mark.parametrize("split", [1, 3])
def test_the_carry_out_of_one_half_leads_into_the_other(float64, error, cell, split):
    x, layer = sequences(np.float64), nn.Recurrent(cell, "all")
    params = fitted(layer, x)
    run = jax.jit(lambda x, carry=None: layer.apply(params, {}, x, None, carry, return_carry=True)[0])
    y, end = run(x)
    first, middle = run(x[:, :split])
    second, last = run(x[:, split:], middle)
    assert error((np.concatenate([first, second], 1), last), (y, end)) < 5e-15  # measured up to 5e-16


@two_cells
def test_a_carried_layer_goes_on_where_the_batch_before_ended_but_for_rows_that_start(error, cell):
    x = sequences(time=6)
    model = nn.Carried(nn.Recurrent(cell, "all"))
    params, initial = model.init(KEY, x[:, :3])
    run = jax.jit(lambda x, state, starts=None: model.apply(params, state, x, starts))
    first, middle = run(x[:, :3], initial)
    second, _ = run(x[:, 3:], middle)
    whole, _ = run(x, initial)
    assert error(np.concatenate([first, second], 1), whole) < 1e-5  # measured up to 9e-8
    mixed, _ = run(x[:, 3:], middle, np.array([True, False, True]))
    anew, _ = run(x[:, 3:], initial)
    assert error(mixed, np.where(np.array([True, False, True])[:, None, None], anew, second)) < 1e-5  # measured 0


def test_no_gradient_leaves_a_batch_through_the_kept_carry():
    x, layer = sequences(), nn.Carried(nn.Recurrent(nn.GRU(4)))
    params, state = layer.init(KEY, x)
    kept = lambda params: sum(jnp.sum(a) for a in jax.tree.leaves(layer.apply(params, state, x, train=True)[1]))
    assert kept(params) != 0
    assert not any(g.any() for g in jax.tree.leaves(jax.grad(kept)(params)))


def test_two_directions_have_the_code_of_the_cut_sequence_and_merge_as_told(float64, error):
    x = sequences(np.float64)
    layer = nn.Bidirectional(nn.Recurrent(nn.LSTM(4)), merge=jnp.add)
    params = fitted(layer, x)
    run = jax.jit(lambda *x: layer.apply(params, {}, *x)[0])
    padded = np.asarray(run(x, np.array(LENGTHS)))
    for b, n in enumerate(LENGTHS):
        assert error(padded[b : b + 1], run(x[b : b + 1, :n])) < 5e-15  # measured up to 5e-16
    parts = [nn.Recurrent(nn.LSTM(4), reverse=r).apply(params[n], {}, x)[0] for n, r in (("forward", False), ("backward", True))]
    assert error(run(x), parts[0] + parts[1]) < 5e-15  # measured up to 5e-16


def test_a_stack_drops_between_its_layers_only(float64):
    x = sequences(np.float64)
    cell = lambda n: nn.Recurrent(nn.RNN(n), "all")
    stack = nn.Stacked(cell(50), cell(3), dropout=0.5)
    params = fitted(stack, x)
    run = lambda train: stack.apply(params, {}, x, np.array(LENGTHS), key=KEY, train=train)[0]
    assert not np.array_equal(run(True), run(False))
    alone = nn.Stacked(cell(4), dropout=0.5)
    params = fitted(alone, x)
    assert np.array_equal(*(alone.apply(params, {}, x, key=KEY, train=train)[0] for train in (True, False)))


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
    for option in ("unroll", "remat"):
        with pytest.raises(FdlError) as caught:
            nn.Recurrent(nn.RNN(4), **{option: 0})
        assert str(caught.value) == f"Recurrent({option}): found 0; expected a number of steps, at least 1."
    with pytest.raises(FdlError) as caught:
        nn.Stacked(nn.Recurrent(nn.RNN(4)), nn.Recurrent(nn.RNN(4)))
    assert str(caught.value).startswith("Stacked: found a layer that gives its last output to the next; expected outputs='all'")
    with pytest.raises(FdlError) as caught:
        nn.Stacked()
    assert str(caught.value) == "Stacked: found no layers; expected at least one recurrent layer."
    for valid in (np.ones((3, 4), bool), np.ones((3, 5)), np.ones(2, np.int32)):
        with pytest.raises(FdlError) as caught:
            nn.Recurrent(nn.RNN(4)).init(KEY, sequences(), valid)
        assert "is neither lengths, integers [batch], nor a mask, booleans [batch, time]" in str(caught.value)
    layer = nn.Recurrent(nn.RNN(4))
    params, _ = layer.init(KEY, sequences())
    with pytest.raises(FdlError) as caught:
        layer.apply(params, {}, jnp.ones((3, 5, 6)))
    assert str(caught.value).startswith("params /cell/kernel: found shape (2, 4); expected shape (6, 4) for this input.")
