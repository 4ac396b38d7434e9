"""Each cell against its equations, written once more in NumPy, and its derivatives against differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from fdl import nn, ops
from fdl.core import FdlError

CELLS = {
    "RNN": nn.RNN(4),
    "LSTM": nn.LSTM(4),
    "LSTM with peepholes": nn.LSTM(4, peephole=True),
    "LSTM with layer norm": nn.LSTM(4, layer_norm=True),
    "LSTM with both": nn.LSTM(4, peephole=True, layer_norm=True),
    "GRU": nn.GRU(4),
    "GRU with its reset before": nn.GRU(4, reset="before"),
    "MGU": nn.MGU(4),
    "LRU": nn.LRU(4, states=3),
}
each_cell = pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
MASK = np.array([[1, 0, 1, 1, 0], [0, 1, 1, 0, 1], [1, 1, 1, 1, 1]], bool)


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def fitted(layer, x):
    """No parameter is 0 or 1, and none like another."""
    leaves, form = jax.tree.flatten(jax.eval_shape(layer.init, jax.random.key(0), x)[0])
    return jax.tree.unflatten(form, [0.7 * draw(*leaf.shape, seed=i) for i, leaf in enumerate(leaves)])


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def normed(x, scale):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5) * scale


def rnn(p, h, x):
    h = np.tanh(x @ p["kernel"] + h @ p["recurrent"] + p["bias"])
    return h, h


def lstm(p, carry, x):
    h, c = carry
    a, m = x @ p["kernel"], h @ p["recurrent"]
    if "cell_scale" in p:
        a, m = normed(a, p["kernel_scale"]), normed(m, p["recurrent_scale"])
    i, f, g, o = np.split(a + m + p["bias"], 4, -1)
    p_i, p_f, p_o = p.get("peephole", np.zeros((3, 4)))
    c = sigmoid(f + p_f * c) * c + sigmoid(i + p_i * c) * np.tanh(g)
    h = sigmoid(o + p_o * c) * np.tanh(normed(c, p["cell_scale"]) + p["cell_bias"] if "cell_scale" in p else c)
    return (h, c), h


def gru(p, h, x):
    (w_r, w_z, w_n), (u_r, u_z, u_n), (b_r, b_z, b_n) = (np.split(p[name], 3, -1) for name in ("kernel", "recurrent", "bias"))
    r, z = sigmoid(x @ w_r + h @ u_r + b_r), sigmoid(x @ w_z + h @ u_z + b_z)
    back = r * (h @ u_n + p["recurrent_bias"]) if "recurrent_bias" in p else (r * h) @ u_n
    h = (1 - z) * np.tanh(x @ w_n + b_n + back) + z * h
    return h, h


def mgu(p, h, x):
    (w_f, w_n), (u_f, u_n), (b_f, b_n) = (np.split(p[name], 2, -1) for name in ("kernel", "recurrent", "bias"))
    f = sigmoid(x @ w_f + h @ u_f + b_f)
    h = (1 - f) * h + f * np.tanh(x @ w_n + (f * h) @ u_n + b_n)
    return h, h


def lru(p, carry, x):
    nu, theta, gamma = p["eigenvalues"]
    b, c = (p[name][0] + 1j * p[name][1] for name in ("kernel", "output"))
    h = np.exp(-np.exp(nu) + 1j * np.exp(theta)) * (carry[0] + 1j * carry[1]) + np.exp(gamma) * (x @ b)
    return (h.real, h.imag), (h @ c).real + x @ p["skip"]


EQUATIONS = {nn.RNN: rnn, nn.LSTM: lstm, nn.GRU: gru, nn.MGU: mgu, nn.LRU: lru}


@pytest.mark.parametrize(("cell", "reverse"), [*((cell, False) for cell in CELLS.values()), (nn.RNN(4), True), (nn.LRU(4), True)])
def test_its_equations_in_numpy_give_the_same_outputs_and_carry(float64, error, cell, reverse):
    x, layer = draw(3, 5, 2), nn.Recurrent(cell, "all", reverse=reverse)
    params = fitted(layer, x)
    carry = jax.tree.map(lambda a: draw(*a.shape, seed=9), cell.start(3, x.dtype))
    got = jax.jit(lambda *a: layer.apply(params, {}, *a, return_carry=True)[0])(x, MASK, carry)
    outputs = np.zeros((3, 5, 4))
    for t in range(5)[::-1] if reverse else range(5):
        new, y = EQUATIONS[type(cell)](params["cell"], carry, x[:, t])
        keep = MASK[:, t, None]
        carry, outputs[:, t] = jax.tree.map(lambda n, o, keep=keep: np.where(keep, n, o), new, carry), np.where(keep, y, 0)
    assert error(got, (outputs, carry)) < 5e-15  # measured up to 5e-16


@each_cell
def test_its_gradients_are_those_of_a_plain_loop(float64, error, cell):
    x, layer = draw(3, 5, 2), nn.Recurrent(cell, "all")
    params = fitted(layer, x)["cell"]
    carry = jax.tree.map(lambda a: draw(*a.shape, seed=9), cell.start(3, x.dtype))
    step = lambda params, carry, x: cell.forward(nn.Scope(params, {}), carry, x)

    @jax.jit
    def gradients(*primals):
        plain = lambda p, c, x: ops.recur(lambda c, x: step(p, c, x), c, x, MASK)
        out, pull = jax.vjp(lambda p, c, x: cell.along(p, step, c, x, MASK, False, 1), *primals)
        cotangent = jax.tree.map(lambda a: jnp.cos(jnp.arange(a.size, dtype=a.dtype)).reshape(a.shape), out)
        return pull(cotangent), jax.vjp(plain, *primals)[1](cotangent)

    assert error(*gradients(params, carry, x)) < 1e-14  # measured up to 8e-16


@each_cell
def test_forward_mode_and_second_derivatives_agree_with_differences(float64, error, cell):
    x, layer = draw(2, 3, 2), nn.Recurrent(cell, "all")
    params = fitted(layer, x)
    at, back = ravel_pytree((params, x))
    along = draw(at.size, seed=5)
    loss = lambda at: jnp.sum(jnp.sin(layer.apply(back(at)[0], {}, back(at)[1], MASK[:2, :3])[0]))

    @jax.jit
    def derivatives(at):
        gradient = jax.grad(loss)
        value, slope = jax.jvp(loss, (at,), (along,))
        return value, gradient(at), slope, jax.jvp(gradient, (at,), (along,))[1], jax.grad(lambda at: gradient(at) @ along)(at)

    small = 1e-5
    (ahead, g_ahead, *_), (behind, g_behind, *_) = derivatives(at + small * along), derivatives(at - small * along)
    _, gradient, slope, forward, reverse = derivatives(at)
    assert error((slope, forward), (gradient @ along, reverse)) < 2e-14  # measured up to 2e-15
    assert error((slope, reverse), ((ahead - behind) / (2 * small), (g_ahead - g_behind) / (2 * small))) < 6e-8  # measured up to 6e-9


def test_the_lru_starts_stable_on_its_ring_and_with_states_of_the_size_of_its_inputs():
    cell = nn.LRU(2, states=500, r_min=0.5, r_max=0.9, max_phase=0.3)
    nu, theta, gamma = cell.init(jax.random.key(0), cell.start(1, jnp.float32), jnp.ones((1, 3)))[0]["eigenvalues"]
    size, phase = np.exp(-np.exp(nu)), np.exp(theta)
    assert 0.5 <= size.min() < 0.51
    assert 0.89 < size.max() <= 0.9
    assert abs((size**2).mean() - (0.25 + 0.81) / 2) < 0.02  # uniform on the ring
    assert phase.min() > 0
    assert 0.28 < phase.max() <= 0.3
    assert abs(np.exp(2 * gamma) - (1 - size**2)).max() < 1e-5


def test_wrong_options_are_told():
    with pytest.raises(FdlError) as caught:
        nn.GRU(3, reset="never")
    assert str(caught.value) == "GRU(reset): found 'never'; expected 'after' or 'before'."
    with pytest.raises(FdlError) as caught:
        nn.LRU(3, r_min=0.9, r_max=0.5)
    assert str(caught.value) == "LRU(r_min, r_max): found 0.9, 0.5; expected 0 <= r_min < r_max <= 1, the size of eigenvalues."
