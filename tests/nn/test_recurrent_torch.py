"""RNN, LSTM and GRU against PyTorch: outputs and every gradient, over sequences of unequal lengths, stacked and in both directions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fdl import nn

BATCH, INPUTS, FEATURES = 4, 3, 5
CELLS = {"RNN": nn.RNN, "LSTM": nn.LSTM, "GRU": nn.GRU}


def to_fdl(kind, weights):
    """PyTorch's four arrays as fdl's: transposed, and the two biases as one wherever they are added."""
    w_in, w_back, b_in, b_back = weights
    params = {"kernel": w_in.T, "recurrent": w_back.T, "bias": b_in + b_back}
    if kind == "GRU":  # the reset gate stands between the two biases of n
        params["bias"] = np.concatenate([params["bias"][: 2 * FEATURES], b_in[2 * FEATURES :]])
        params["recurrent_bias"] = b_back[2 * FEATURES :]
    return params


def gradients_to_fdl(kind, gradients):
    """A sum of two biases has the gradient of either."""
    g_in, g_back, g_b_in, g_b_back = gradients
    out = {"kernel": g_in.T, "recurrent": g_back.T, "bias": g_b_in}
    return out | ({"recurrent_bias": g_b_back[2 * FEATURES :]} if kind == "GRU" else {})


def reference(torch, kind, x, weights, lengths, outputs):
    """Outputs, gradients of the weights and of x, with the cotangent cos(0, 1, 2, ...)."""
    module = getattr(torch.nn, kind)(INPUTS, FEATURES, batch_first=True, dtype=torch.float64)
    with torch.no_grad():
        for leaf, value in zip(module.parameters(), weights, strict=True):
            leaf.copy_(torch.tensor(value))
    x = torch.tensor(x, requires_grad=True)
    packed = torch.nn.utils.rnn.pack_padded_sequence(x, torch.tensor(lengths), batch_first=True, enforce_sorted=False)
    y, last = module(packed)
    if outputs == "all":
        y, _ = torch.nn.utils.rnn.pad_packed_sequence(y, batch_first=True, total_length=x.shape[1])
    else:
        y = (last[0] if kind == "LSTM" else last)[0]
    y.backward(torch.cos(torch.arange(y.numel(), dtype=torch.float64)).reshape(y.shape))
    return y.detach().numpy(), gradients_to_fdl(kind, [p.grad.numpy() for p in module.parameters()]), x.grad.numpy()


@pytest.mark.parametrize("kind", CELLS)
@pytest.mark.parametrize(("outputs", "time"), [("all", 1), ("all", 2), ("all", 17), ("last", 17)])
def test_pytorch_agrees_on_outputs_and_every_gradient(float64, torch, error, kind, outputs, time):
    rng = np.random.default_rng(time)
    gates = {"RNN": 1, "LSTM": 4, "GRU": 3}[kind] * FEATURES
    weights = [rng.normal(size=shape) * 0.7 for shape in [(gates, INPUTS), (gates, FEATURES), (gates,), (gates,)]]
    x = rng.normal(size=(BATCH, time, INPUTS))
    lengths = np.array([max(1, time // 3), time, 1, max(1, time - 1)], np.int32)
    layer = nn.Recurrent(CELLS[kind](FEATURES), outputs)

    @jax.jit
    def results(params, x):
        y, pull = jax.vjp(lambda p, x: layer.apply({"cell": p}, {}, x, jnp.asarray(lengths))[0], params, x)
        return y, *pull(jnp.cos(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape))

    got = results(to_fdl(kind, weights), x)
    assert error(got, reference(torch, kind, x, weights, lengths, outputs)) < 2e-14  # measured 2e-15


@pytest.mark.parametrize("kind", CELLS)
def test_pytorch_agrees_without_lengths(float64, torch, error, kind):
    rng = np.random.default_rng(0)
    gates = {"RNN": 1, "LSTM": 4, "GRU": 3}[kind] * FEATURES
    weights = [rng.normal(size=shape) for shape in [(gates, INPUTS), (gates, FEATURES), (gates,), (gates,)]]
    x = rng.normal(size=(BATCH, 6, INPUTS))
    for outputs in ("all", "last"):
        layer = nn.Recurrent(CELLS[kind](FEATURES), outputs)
        y, _ = jax.jit(layer.apply)({"cell": to_fdl(kind, weights)}, {}, x)
        assert error(y, reference(torch, kind, x, weights, np.full(BATCH, 6), outputs)[0]) < 1e-14  # measured 7e-16


@pytest.mark.parametrize("kind", CELLS)
def test_pytorch_agrees_on_two_layers_of_two_directions_with_carries_in_and_out(float64, torch, error, kind):
    rng = np.random.default_rng(3)
    time, lengths = 4, np.array([2, 4, 1, 3])
    layer = nn.Bidirectional(nn.Recurrent(CELLS[kind](FEATURES), "all"))
    model, places = nn.Stacked(layer, layer), [(f"bidirectional_{i}", way) for i in (0, 1) for way in ("forward", "backward")]
    module = getattr(torch.nn, kind)(INPUTS, FEATURES, 2, bidirectional=True, batch_first=True, dtype=torch.float64)
    with torch.no_grad():
        for leaf in module.parameters():
            leaf.copy_(torch.tensor(rng.normal(size=leaf.shape) * 0.7))
    starts = [rng.normal(size=(4, BATCH, FEATURES)) for _ in range(2 if kind == "LSTM" else 1)]
    x = rng.normal(size=(BATCH, time, INPUTS))

    leaves = [torch.tensor(a, requires_grad=True) for a in (x, *starts)]
    packed = torch.nn.utils.rnn.pack_padded_sequence(leaves[0], torch.tensor(lengths), batch_first=True, enforce_sorted=False)
    y, ends = module(packed, tuple(leaves[1:]) if kind == "LSTM" else leaves[1])
    y, ends = torch.nn.utils.rnn.pad_packed_sequence(y, batch_first=True)[0], ends if kind == "LSTM" else (ends,)
    sum(torch.sin(a).sum() for a in (y, *ends)).backward()
    by_place = lambda arrays: [[a.detach().numpy() for a in arrays[4 * i : 4 * i + 4]] for i in range(4)]

    def tree(cells):
        return {
            name: {way: {"cell": cells[2 * i + j]} for j, way in enumerate(("forward", "backward"))}
            for i, (name, _) in enumerate(places[::2])
        }

    carries = lambda arrays: [
        [tuple(a[2 * i + j] for a in arrays) if kind == "LSTM" else arrays[0][2 * i + j] for j in (0, 1)] for i in (0, 1)
    ]

    @jax.jit
    def results(params, x, *starts):
        def loss(params, x, *starts):
            y, ends = model.apply(params, {}, x, lengths, carries(starts), return_carry=True)[0]
            return sum(jnp.sum(jnp.sin(a)) for a in jax.tree.leaves((y, ends))), (y, ends)

        return jax.grad(loss, tuple(range(2 + len(starts))), has_aux=True)(params, x, *starts)

    params = tree([to_fdl(kind, weights) for weights in by_place([*module.parameters()])])
    gradients, (got, got_ends) = results(params, x, *starts)
    want_ends = tuple(map(tuple, carries([a.detach().numpy() for a in ends])))
    assert error((got, got_ends), (y.detach().numpy(), want_ends)) < 1e-14  # measured 7e-16
    want = tree([gradients_to_fdl(kind, grads) for grads in by_place([p.grad for p in module.parameters()])])
    assert error(gradients, (want, *(leaf.grad.numpy() for leaf in leaves))) < 2e-14  # measured 2e-15
