"""Whole training steps a second on this machine's CPU: fdl beside PyTorch, Flax, Haiku and Equinox, where installed.

    python experiments/bench_training.py [--seconds 1] [--rounds 5] [--only cnn|rnn|char_lstm|char_gru]

Everyone starts from the same weights, sees the same batches and must find the same losses, or is not timed. The rows are
timed in turn, round after round; printed are the median over the rounds, the range, and the share of the rate at which
this machine multiplies matrices, measured in the same run. Every row may use all cores. Takes six minutes.

Measured on two cores with AVX-512, nothing else running, jax 0.10.2 and PyTorch 2.13: on DeepOBS 2c2d fdl's scan reached 1.00 to
1.02 times the best of PyTorch and 2.4 to 2.5 times the best other JAX library, 0.82 of the rate of matrix products; on the LSTM
of vowels 1.2 times PyTorch with padded sequences, 3.1 times with packed ones, 1.2 times Flax; on the character LSTM 0.64 of
PyTorch and 1.07 times Flax, on the character GRU 1.26 and 1.02 times. Of the character LSTM 4.1 GFLOP a step are 41 ms on one
core, and fdl takes 43 to 48: within a loop XLA runs products of this size on one core, PyTorch on both.
Run it on a quiet machine: other processes slow PyTorch's
threads more than JAX's and flatter fdl. PyTorch is compiled in channels-last layout only: in the other, PyTorch 2.13 on CPU
was found to return zero gradients for both convolutions.
"""

import os
import time
from collections import namedtuple
from functools import partial
from statistics import median
from typing import Literal

import _peers_chars as chars
import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from _peers import channel_first, linen_lstm, torch_lstm

from fdl import core, losses, nn, optim
from fdl.models import deepobs_2c2d

Problem = namedtuple("Problem", "model params optimizer tx batches flops")
"""Everyone's first weights, the optimizer as fdl and optax have it, batches of noise `(*inputs, labels)`, a step's FLOPs."""


def cnn():
    rng, model = np.random.default_rng(0), deepobs_2c2d()
    batches = [(rng.normal(size=(128, 28, 28, 1)).astype("f"), rng.integers(0, 10, 128)) for _ in range(8)]
    params, cost = model.init(jax.random.key(0), batches[0][0])[0], nn.summary(model, batches[0][0])
    flops = 3 * cost.total.flops - cost.rows[0].flops  # each of two gradients costs a forward pass; the image needs none
    return Problem(model, params, optim.Momentum(1e-3), optax.sgd(1e-3, 0.9), batches, flops)


def rnn():
    rng, model = np.random.default_rng(0), nn.Sequential(nn.Recurrent(nn.LSTM(64)), nn.Dense(9))
    batches = [(rng.normal(size=(30, 29, 12)).astype("f"), rng.integers(7, 30, 30), rng.integers(0, 9, 30)) for _ in range(32)]
    params, cost = model.init(jax.random.key(0), *batches[0][:2])[0], nn.summary(model, *batches[0][:2])
    return Problem(model, params, optim.Adam(1e-3), optax.adam(1e-3), batches, 3 * cost.total.flops)  # of all 29 time steps


def char(cell):
    model, batches = chars.model(cell), chars.batches()
    params, cost = model.init(jax.random.key(0), batches[0][0])[0], nn.summary(model, batches[0][0])
    return Problem(model, params, optim.SGD(0.1), optax.sgd(0.1), batches, 3 * cost.total.flops)


def char_lstm():
    return char("LSTM")


def char_gru():
    return char("GRU")


def loop(step, state, batches):
    """A function that trains on every batch and returns the losses."""
    ours = lambda leaf: jnp.array(leaf) if isinstance(leaf, (jax.Array, np.ndarray)) else leaf  # a copy: steps donate their state
    state, batches = jax.tree.map(ours, (state, batches))

    def epoch():
        nonlocal state
        found = []
        for batch in batches:
            state, loss = step(state, batch)
            found.append(loss)
        return np.ravel(jax.device_get(found))

    return epoch


def fdl(p, scan):
    def step(state, batch):
        (params, slots), (*inputs, y) = state, batch
        loss, grads = jax.value_and_grad(lambda params: losses.cross_entropy(p.model.apply(params, {}, *inputs)[0], y))(params)
        updates, slots = p.optimizer.update(grads, slots, params)
        return (optim.apply_updates(params, updates), slots), loss

    train, batches = (partial(jax.lax.scan, step), [tuple(map(np.stack, zip(*p.batches)))]) if scan else (step, p.batches)
    return loop(core.jit(train, donate_argnums=0), (p.params, p.optimizer.init(p.params)), batches)


def optax_loop(p, apply, params):
    """The step of Linen's and Haiku's guides; NNX and Equinox join in their functional form, which has the least overhead."""

    @partial(jax.jit, donate_argnums=0)
    def step(state, batch):
        (params, slots), (*inputs, y) = state, batch
        mean_loss = lambda params: optax.softmax_cross_entropy_with_integer_labels(apply(params, *inputs), y).mean()
        loss, grads = jax.value_and_grad(mean_loss)(params)
        updates, slots = p.tx.update(grads, slots, params)
        return (optax.apply_updates(params, updates), slots), loss

    return loop(step, (params, p.tx.init(params)), p.batches)


def layers(conv, pool, flat, dense, relu):
    """2c2d in a library's own words; PLACES says where fdl's weights go."""
    return [conv(1, 32), relu, pool, conv(32, 64), relu, pool, flat, dense(3136, 1024), relu, dense(1024, 10)]


PLACES = {"conv_0": 0, "conv_1": 3, "dense_0": 7, "dense_1": 9}


def linen_cnn(p):
    from flax import linen as fl

    pool, flat = partial(fl.max_pool, window_shape=(2, 2), strides=(2, 2)), lambda x: x.reshape(len(x), -1)
    net = fl.Sequential(layers(lambda _, n: fl.Conv(n, (5, 5)), pool, flat, lambda _, n: fl.Dense(n), fl.relu))
    return optax_loop(p, net.apply, {"params": {f"layers_{i}": p.params[name] for name, i in PLACES.items()}})


def linen_rnn(p):
    return optax_loop(p, *linen_lstm(p.params))


def haiku_cnn(p):
    import haiku as hk

    parts = lambda: layers(lambda _, n: hk.Conv2D(n, 5), hk.MaxPool(2, 2, "VALID"), hk.Flatten(), lambda _, n: hk.Linear(n), jax.nn.relu)
    names = zip(("conv2_d", "conv2_d_1", "linear", "linear_1"), PLACES)
    params = {theirs: {"w": p.params[ours]["kernel"], "b": p.params[ours]["bias"]} for theirs, ours in names}
    return optax_loop(p, hk.without_apply_rng(hk.transform(lambda x: hk.Sequential(parts())(x))).apply, params)


def nnx_cnn(p):
    from flax import nnx as fx

    pool, flat = partial(fx.max_pool, window_shape=(2, 2), strides=(2, 2)), lambda x: x.reshape(len(x), -1)
    conv, dense = partial(fx.Conv, kernel_size=(5, 5), rngs=fx.Rngs(0)), partial(fx.Linear, rngs=fx.Rngs(0))
    net = fx.Sequential(*layers(conv, pool, flat, dense, fx.relu))
    for name, i in PLACES.items():
        net.layers[i].kernel[...], net.layers[i].bias[...] = p.params[name]["kernel"], p.params[name]["bias"]
    graph, params = fx.split(net)
    return optax_loop(p, lambda params, x: fx.merge(graph, params)(x), params)


def equinox_cnn(p):
    import equinox as eqx
    from equinox import nn as en

    conv, dense = partial(en.Conv2d, kernel_size=5, padding=2, key=jax.random.key(0)), partial(en.Linear, key=jax.random.key(0))
    net = en.Sequential(layers(conv, en.MaxPool2d(2, 2), en.Lambda(jnp.ravel), dense, en.Lambda(jax.nn.relu)))
    for i, w, b in channel_first(p.params, PLACES, (7, 7, 64)):
        net = eqx.tree_at(lambda net, i=i: (net[i].weight, net[i].bias), net, (w, b.reshape(net[i].bias.shape)))
    params, static = eqx.partition(net, eqx.is_array)
    first = p._replace(batches=[(x.transpose(0, 3, 1, 2), y) for x, y in p.batches])
    return optax_loop(first, lambda params, x: jax.vmap(eqx.combine(params, static))(x), params)


def torch_loop(net, optimizer, batches):
    from torch.nn.functional import cross_entropy

    def step(_, batch):
        *inputs, y = batch
        optimizer.zero_grad()
        loss = cross_entropy(net(*inputs), y)
        loss.backward()
        optimizer.step()
        return None, loss.detach()

    return loop(step, None, batches)


def torch_cnn(p, layout, compiled=False):
    import torch
    from torch import nn as tn

    layout = getattr(torch, layout)
    net = tn.Sequential(*layers(partial(tn.Conv2d, kernel_size=5, padding=2), tn.MaxPool2d(2), tn.Flatten(), tn.Linear, tn.ReLU()))
    for i, w, b in channel_first(p.params, PLACES, (7, 7, 64)):
        net[i].weight.data.copy_(torch.tensor(w)), net[i].bias.data.copy_(torch.tensor(b))
    net.to(memory_format=layout)
    batches = [(torch.tensor(x.transpose(0, 3, 1, 2)).to(memory_format=layout), torch.tensor(y)) for x, y in p.batches]
    return torch_loop(torch.compile(net) if compiled else net, torch.optim.SGD(net.parameters(), lr=1e-3, momentum=0.9), batches)


def torch_rnn(p, packed):
    import torch

    net = torch_lstm(p.params, packed)
    return torch_loop(net, torch.optim.Adam(net.parameters(), lr=1e-3), [tuple(map(torch.tensor, batch)) for batch in p.batches])


def torch_char(p, cell):
    import torch

    net = chars.torch(p.params, cell)
    return torch_loop(net, torch.optim.SGD(net.parameters(), lr=0.1), [tuple(map(torch.tensor, batch)) for batch in p.batches])


def gemm(p):
    a, b = jnp.ones((2048, 1024)), jnp.ones((1024, 1024))
    product = core.jit(jnp.matmul)
    return lambda: jax.block_until_ready([product(a, b) for _ in range(8)])


FDL = {"fdl, scan": partial(fdl, scan=True), "fdl, step in a Python loop": partial(fdl, scan=False)}
CNN = {
    "PyTorch eager, contiguous": partial(torch_cnn, layout="contiguous_format"),
    "PyTorch eager, channels-last": partial(torch_cnn, layout="channels_last"),
    "PyTorch compiled, channels-last": partial(torch_cnn, layout="channels_last", compiled=True),
    "JAX: Flax Linen": linen_cnn,
    "JAX: Flax NNX": nnx_cnn,
    "JAX: Haiku": haiku_cnn,
    "JAX: Equinox": equinox_cnn,
}
RNN = {
    "PyTorch, packed": partial(torch_rnn, packed=True),
    "PyTorch, padded": partial(torch_rnn, packed=False),
    "JAX: Flax Linen": linen_rnn,
}


def char_rows(cell):
    peers = {"Flax Linen": chars.linen, "Flax NNX": chars.nnx, "Equinox": chars.equinox} | (
        {"Haiku": chars.haiku} if cell == "LSTM" else {}
    )
    jax_rows = {f"JAX: {name}": lambda p, make=make: optax_loop(p, *make(p.params, cell)) for name, make in peers.items()}
    return FDL | {"PyTorch": partial(torch_char, cell=cell)} | jax_rows  # Haiku's GRU resets before the product


ROWS = {cnn: FDL | CNN, rnn: FDL | RNN, char_lstm: char_rows("LSTM"), char_gru: char_rows("GRU")}


def measure(epoch, seconds):
    """Epochs a second, over as many as fit into `seconds`."""
    time.sleep(0.1)  # lets the threads of the one before fall asleep
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        epoch()
        count += 1
    return count / (time.perf_counter() - start)


def main(seconds: float = 1.0, rounds: int = 5, only: Literal["cnn", "rnn", "char_lstm", "char_gru", "all"] = "all") -> None:
    print(f"{len(os.sched_getaffinity(0))} cores, {jax.devices()[0].device_kind}, jax {jax.__version__}")
    for problem, makers in ROWS.items():
        if only not in (problem.__name__, "all"):
            continue
        p, first = problem(), None
        rows = {"matrix product, JAX": (gemm(p), 8, 2 * 2048 * 1024 * 1024)}
        for name, make in makers.items():
            try:
                epoch = make(p)
                found = epoch()
            except (ImportError, RuntimeError) as error:  # torch.compile needs a C++ compiler
                print(f"{name}: skipped ({str(error).splitlines()[0]})")
                continue
            first = found if first is None else first
            if abs(found[0] - first[0]) > 1e-4 or abs(found - first).max() > 1e-2:
                raise SystemExit(f"{name} trains something else: losses {found}, fdl's are {first}")
            rows[name] = epoch, len(found), p.flops
        rates = {name: [] for name in rows}
        for name, (epoch, steps, _) in [*rows.items()] * rounds:
            rates[name].append(steps * measure(epoch, seconds))
        speed = {name: median(rate) * rows[name][2] / 1e9 for name, rate in rates.items()}
        print(f"\n{problem.__name__ + f', {p.flops / 1e9:.2f} GFLOP a step':32}  steps/s     min - max      GFLOP/s   share")
        for name, rate in rates.items():
            share = speed[name] / speed["matrix product, JAX"]
            print(f"{name:32}{median(rate):9.2f}  {min(rate):8.2f} - {max(rate):<8.2f}{speed[name]:8.1f}{share:9.2f}")
        for peers in ("PyTorch", "JAX:"):
            best = max((name for name in rates if name.startswith(peers)), key=speed.get, default=None)
            if best is not None:
                print(f"fdl, scan / {best}: {speed['fdl, scan'] / speed[best]:.2f}")


if __name__ == "__main__":
    tyro.cli(main)
