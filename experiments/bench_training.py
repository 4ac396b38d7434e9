"""Whole training steps a second on this machine: fdl beside PyTorch, Flax, Haiku and Equinox, where installed.

    python experiments/bench_training.py [--only 2c2d 3c3d resnet18 vmap16 vowels char_lstm char_gru pair] [--seconds 1] [--rounds 5]
    python experiments/bench_training.py --only 3c3d --profile      # what a step of fdl's spends its time on

Everyone starts from the same weights, sees the same batches and must find the same losses, or is not timed. The rows are
timed in turn, round after round; printed are the median over the rounds, the range, and the share of the rate at which
this machine multiplies matrices, measured in the same run. Every row may use all cores. PyTorch is compiled in channels-last layout
only: in the other, PyTorch 2.13 on CPU was found to return zero gradients for both convolutions of 2c2d.

Measured on two cores with AVX-512, jax 0.10.2 and PyTorch 2.13:

    row        fdl's steps a second   times PyTorch's best            times the best JAX peer
    2c2d              14.9            1.04                            2.65
    3c3d              11.5            1.07                            3.55
    resnet18           1.6            0.85                            1.44
    vmap16            0.65                                            12.5
    vowels             572            1.18 padded, 3.7 packed         1.28
    char_lstm         22.1            0.66                            1.15
    char_gru          28.0            1.36                            1.06
    pair              31.4            0.94; 1.5 one after the other

What bounds them. Convolution: where channels are many PyTorch's kernels run at 0.9 to 1.0 of the rate of matrix products, so that
only fewer multiplications are faster. Winograd's transforms pay for that down to maps 7 wide: `--profile` finds 543 ms a step of
ResNet-18, 504 at the rate of products, with 190 core milliseconds of transforms, copies, normalisation and all else.
The JAX peers lose where a gradient's convolution leaves XLA's fast kernel; from a Python loop and with
many channels few do. Character models: within a loop XLA:CPU multiplies on one core, at half of the machine's rate, which is one
run's ceiling; two runs at once can be no more than 1.25 times faster than PyTorch's one, which takes 0.8 of both cores' rate.

Run it on a quiet machine: other processes slow PyTorch's threads more than JAX's and flatter fdl.
"""

from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Literal

import _bench as bench
import _peers_chars as chars
import _peers_layers as peers
import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from _peers import linen_lstm, torch_lstm

from fdl import core, losses, models, nn, optim

Problem = namedtuple("Problem", "model params state optimizer tx batches flops")
"""Everyone's first weights, the optimizer as fdl and optax have it, batches of noise `(*inputs, labels)`, a step's FLOPs."""

MODELS = 16  # of the mapped row


def problem(model, batches, optimizer, tx):
    """FLOPs: each of two gradients costs a forward pass; of the first layer's input none is needed."""
    inputs = batches[0][:-1]
    params, state = model.init(jax.random.key(0), *inputs)
    cost = nn.summary(model, *inputs)
    image = cost.rows[0].flops if inputs[0].ndim == 4 else 0
    return Problem(model, params, state, optimizer, tx, batches, 3 * cost.total.flops - image)


def images(model, batch, size, channels, count, rate=1e-3):
    rng = np.random.default_rng(0)
    batches = [(rng.normal(size=(batch, size, size, channels)).astype("f"), rng.integers(0, 10, batch)) for _ in range(count)]
    return problem(model, batches, optim.Momentum(rate), optax.sgd(rate, 0.9))


def vowels():
    rng, model = np.random.default_rng(0), nn.Sequential(nn.Recurrent(nn.LSTM(64)), nn.Dense(9))
    batches = [(rng.normal(size=(30, 29, 12)).astype("f"), rng.integers(7, 30, 30), rng.integers(0, 9, 30)) for _ in range(32)]
    return problem(model, batches, optim.Adam(1e-3), optax.adam(1e-3))


def char(cell):
    return problem(chars.model(cell), chars.batches(), optim.SGD(0.1), optax.sgd(0.1))


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


def fdl_step(p):
    def step(carry, batch):
        (params, state, slots), (*inputs, y) = carry, batch

        def loss(params):
            logits, new = p.model.apply(params, state, *inputs, train=True)
            return losses.cross_entropy(logits, y), new

        (value, state), grads = jax.value_and_grad(loss, has_aux=True)(params)
        params, slots = optim.step(p.optimizer, grads, slots, params)
        return (params, state, slots), value

    return step


def fdl(p, scan):
    train, batches = fdl_step(p), p.batches
    if scan:
        train, batches = partial(jax.lax.scan, train), [tuple(map(np.stack, zip(*p.batches)))]
    return loop(core.jit(train, donate_argnums=0), (p.params, p.state, p.optimizer.init(p.params)), batches)


def optax_step(p, apply):
    """The step of Linen's and Haiku's guides; NNX and Equinox join in their functional form, which has the least overhead."""

    def step(carry, batch):
        (params, state, slots), (*inputs, y) = carry, batch

        def mean_loss(params):
            logits, new = apply(params, state, *inputs)
            return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean(), new

        (loss, state), grads = jax.value_and_grad(mean_loss, has_aux=True)(params)
        updates, slots = p.tx.update(grads, slots, params)
        return (optax.apply_updates(params, updates), state, slots), loss

    return step


def optax_loop(p, apply, params, state=None, batches=None):
    step = jax.jit(optax_step(p, apply), donate_argnums=0)
    return loop(step, (params, state, p.tx.init(params)), p.batches if batches is None else batches)


def stateless(p, apply, params):
    return optax_loop(p, lambda params, state, *inputs: (apply(params, *inputs), state), params)


def jax_net(p, library):
    return optax_loop(p, *getattr(peers, library)(p.model, p.params, p.state, p.batches[0][0]))


def first_channels(p):
    return [(x.transpose(0, 3, 1, 2), y) for x, y in p.batches]


def equinox_net(p):
    return optax_loop(p, *peers.equinox(p.model, p.params, p.state, p.batches[0][0]), first_channels(p))


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


def torch_net(p, layout, compiled=False):
    import torch

    layout = getattr(torch, layout)
    net = peers.torch(p.model, p.params, p.state, p.batches[0][0]).to(memory_format=layout)
    batches = [(torch.tensor(x).to(memory_format=layout), torch.tensor(y)) for x, y in first_channels(p)]
    optimizer = torch.optim.SGD(net.parameters(), lr=p.optimizer.lr, momentum=0.9)
    return torch_loop(torch.compile(net) if compiled else net, optimizer, batches)


def torch_rnn(p, packed):
    import torch

    net = torch_lstm(p.params, packed)
    return torch_loop(net, torch.optim.Adam(net.parameters(), lr=1e-3), [tuple(map(torch.tensor, batch)) for batch in p.batches])


def torch_char(p, cell):
    import torch

    net = chars.torch(p.params, cell)
    return torch_loop(net, torch.optim.SGD(net.parameters(), lr=0.1), [tuple(map(torch.tensor, batch)) for batch in p.batches])


def several(call, p):
    """`MODELS` models in one mapped step, which all start alike and see the same batches: `call(p)` gives `(step, carry)`."""
    step, carry = call(p)
    copies = jax.tree.map(lambda leaf: jnp.stack([leaf] * MODELS), carry)
    mapped = jax.jit(jax.vmap(step, in_axes=(0, None)), donate_argnums=0)
    if step.__qualname__.startswith("fdl"):
        mapped = core.jit(jax.vmap(step, in_axes=(0, None)), donate_argnums=0)
    run = loop(mapped, copies, p.batches)
    return lambda: run().reshape(-1, MODELS).mean(1)


def linen_step(p):
    apply, params, state = peers.linen(p.model, p.params, p.state, p.batches[0][0])
    return optax_step(p, apply), (params, state, p.tx.init(params))


def side_by_side(make, threads):
    """Two runs, from two threads or one after the other; the losses of both in turn, so that a step of either counts."""

    def both(p):
        runs, pool = [make(p), make(p)], ThreadPoolExecutor(threads)
        return lambda: np.stack([*pool.map(lambda run: run(), runs)], 1).ravel()

    return both


FDL = {"fdl, scan": partial(fdl, scan=True), "fdl, step in a Python loop": partial(fdl, scan=False)}
CNN = FDL | {
    "PyTorch eager, contiguous": partial(torch_net, layout="contiguous_format"),
    "PyTorch eager, channels-last": partial(torch_net, layout="channels_last"),
    "PyTorch compiled, channels-last": partial(torch_net, layout="channels_last", compiled=True),
    "JAX: Flax Linen": partial(jax_net, library="linen"),
    "JAX: Flax NNX": partial(jax_net, library="nnx"),
    "JAX: Haiku": partial(jax_net, library="haiku"),
    "JAX: Equinox": equinox_net,
}
RNN = FDL | {
    "PyTorch, packed": partial(torch_rnn, packed=True),
    "PyTorch, padded": partial(torch_rnn, packed=False),
    "JAX: Flax Linen": lambda p: stateless(p, *linen_lstm(p.params)),
}
MAPPED = {
    "fdl, mapped": partial(several, lambda p: (fdl_step(p), (p.params, p.state, p.optimizer.init(p.params)))),
    "JAX: Flax Linen, mapped": partial(several, linen_step),
}
PAIR = {
    "fdl, two threads": side_by_side(FDL["fdl, scan"], 2),
    "fdl, one after the other": side_by_side(FDL["fdl, scan"], 1),
    "PyTorch, two threads": side_by_side(partial(torch_char, cell="LSTM"), 2),
    "PyTorch, one after the other": side_by_side(partial(torch_char, cell="LSTM"), 1),
}


def char_rows(cell):
    libraries = {"Flax Linen": chars.linen, "Flax NNX": chars.nnx, "Equinox": chars.equinox}
    libraries |= {"Haiku": chars.haiku} if cell == "LSTM" else {}  # Haiku's GRU resets before the product
    rows = {f"JAX: {name}": lambda p, make=make: stateless(p, *make(p.params, cell)) for name, make in libraries.items()}
    return FDL | {"PyTorch": partial(torch_char, cell=cell)} | rows


ROWS = {
    # problem, rows, fdl's row that is compared
    "2c2d": (lambda: images(models.deepobs_2c2d(), 128, 28, 1, 8), CNN, "fdl, scan"),
    "3c3d": (lambda: images(models.deepobs_3c3d(), 128, 32, 3, 4), CNN, "fdl, scan"),
    "resnet18": (lambda: images(models.resnet(18, 10, "cifar"), 32, 32, 3, 2), CNN, "fdl, scan"),
    "vmap16": (lambda: images(models.deepobs_2c2d(), 128, 28, 1, 1), MAPPED, "fdl, mapped"),
    "vowels": (vowels, RNN, "fdl, scan"),
    "char_lstm": (partial(char, "LSTM"), char_rows("LSTM"), "fdl, scan"),
    "char_gru": (partial(char, "GRU"), char_rows("GRU"), "fdl, scan"),
    "pair": (partial(char, "LSTM"), PAIR, "fdl, two threads"),
}
Name = Literal["2c2d", "3c3d", "resnet18", "vmap16", "vowels", "char_lstm", "char_gru", "pair"]


def main(only: tuple[Name, ...] = (), seconds: float = 1.0, rounds: int = 5, profile: bool = False) -> None:
    """Args: only: problems. seconds: of each row and round. rounds: medians of. profile: fdl's step by kind of operation instead."""
    print(bench.header())
    for name in only or ROWS:
        make, rows, ours = ROWS[name]
        p = make()
        if profile:
            carry = jax.tree.map(jnp.asarray, (p.params, p.state, p.optimizer.init(p.params)))
            batches = tuple(map(np.stack, zip(*p.batches)))
            bench.profile(name, partial(jax.lax.scan, fdl_step(p)), (carry, batches), len(p.batches), p.flops)
            continue
        flops = p.flops * (MODELS if name == "vmap16" else 1)
        bench.table(name, bench.agreeing(rows, p), flops, seconds, rounds, ours)


if __name__ == "__main__":
    tyro.cli(main)
