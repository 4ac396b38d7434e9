"""PyTorch and Flax with optax on fdl's tasks: networks that start from fdl's weights, and runs as their guides write them."""

import inspect
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import optax

from fdl import core, data

OPTAX = {
    "sgd": optax.sgd,
    "momentum": partial(optax.sgd, momentum=0.9),
    "adagrad": partial(optax.adagrad, initial_accumulator_value=0.0, eps=1e-20),
    "rmsprop": partial(optax.rmsprop, decay=0.9, eps=1e-8, eps_in_sqrt=False),
    "adam": optax.adam,
}
TORCH = {
    "sgd": ("SGD", {}),
    "momentum": ("SGD", {"momentum": 0.9}),
    "adagrad": ("Adagrad", {}),
    "rmsprop": ("RMSprop", {"alpha": 0.9, "eps": 1e-8}),
    "adam": ("Adam", {}),
}


def channel_first(params, places, maps):
    """`(place, weight, bias)` as PyTorch and Equinox have them.

    Args:
        params: fdl's, of convolutions and dense layers.
        places: which number a layer has in the other library, by its name in `params`.
        maps: `(height, width, channels)` of what the first dense layer flattens; there the channels come first.
    """
    for name, i in places.items():
        w = np.array(params[name]["kernel"])
        if name == "dense_0":
            w = w.reshape(*maps, -1).transpose(2, 0, 1, 3).reshape(w.shape)
        yield i, w.transpose(3, 2, 0, 1) if w.ndim == 4 else w.T, np.array(params[name]["bias"])


def linen_lstm(params, features=64, classes=9):
    """`(apply, params)` of an LSTM whose last valid output a dense layer classifies."""
    from flax import linen as fl

    net, head = fl.RNN(fl.OptimizedLSTMCell(features), return_carry=True), fl.Dense(classes)
    last = lambda cell, x, lengths: net.apply({"params": {"cell": cell}}, x, seq_lengths=lengths)[0][1]
    apply = lambda params, *inputs: head.apply({"params": params["head"]}, last(params["cell"], *inputs))
    gates = zip("ifgo", *(np.split(np.array(params["recurrent_0"]["cell"][name]), 4, -1) for name in ("kernel", "recurrent", "bias")))
    cell = {side + gate: weights for gate, w, u, b in gates for side, weights in (("i", {"kernel": w}), ("h", {"kernel": u, "bias": b}))}
    return apply, {"cell": cell, "head": params["dense_0"]}


def torch_lstm(params, packed, inputs=12, features=64, classes=9):
    """The same as a PyTorch module; on padded series it takes each one's last valid output."""
    import torch
    from torch import nn as tn

    class Net(tn.Module):
        def __init__(self):
            super().__init__()
            self.lstm, self.head = tn.LSTM(inputs, features, batch_first=True), tn.Linear(features, classes)

        def forward(self, x, n):
            pack = partial(tn.utils.rnn.pack_padded_sequence, batch_first=True, enforce_sorted=False)
            return self.head(self.lstm(pack(x, n))[1][0][-1] if packed else self.lstm(x)[0][torch.arange(len(x)), n - 1])

    net, cell, dense = Net(), params["recurrent_0"]["cell"], params["dense_0"]
    values = cell["kernel"].T, cell["recurrent"].T, cell["bias"], 0 * cell["bias"], dense["kernel"].T, dense["bias"]
    for param, value in zip(net.parameters(), values):
        param.data.copy_(torch.tensor(np.array(value)))
    net.lstm.bias_hh_l0.requires_grad_(False)  # two biases that are added would learn at twice the rate
    return net


def linen_net(task, params, state):
    """`(apply, params, state)` of a named task's network; `apply(params, state, *inputs, train=)` gives logits and state."""
    from flax import linen as fl

    if task == "vowels-lstm":
        apply, params = linen_lstm(params)
        return lambda params, state, *inputs, train: (apply(params, *inputs), state), params, state

    class Net(fl.Module):
        @fl.compact
        def __call__(self, x, train):
            for features in (16, 32) if task == "digits-cnn" else ():
                x = fl.max_pool(fl.relu(fl.Conv(features, (3, 3))(x)), (2, 2), (2, 2))
                x = fl.BatchNorm(use_running_average=not train, momentum=0.9)(x)
            x = x.reshape(len(x), -1)
            if task == "digits-mlp":
                x = fl.relu(fl.Dense(64)(x))
            return fl.Dense(10)(x)

    def apply(params, state, x, train):
        logits, new = Net().apply({"params": params, "batch_stats": state}, x, train, mutable=["batch_stats"])
        return logits, new.get("batch_stats", state)

    words = {"conv": "Conv", "batch": "BatchNorm", "dense": "Dense"}
    rename = lambda tree: {f"{words[name.split('_')[0]]}_{name[-1]}": leaves for name, leaves in tree.items()}
    return apply, rename(params), rename(state)


def torch_net(task, params, packed=False):
    """A named task's network; maps have their channels first."""
    import torch
    from torch import nn as tn

    if task == "vowels-lstm":
        return torch_lstm(params, packed)
    if task == "digits-cnn":
        block = lambda i, o: (tn.Conv2d(i, o, 3, padding=1), tn.ReLU(), tn.MaxPool2d(2), tn.BatchNorm2d(o))
        net, places = (
            tn.Sequential(*block(1, 16), *block(16, 32), tn.Flatten(), tn.Linear(128, 10)),
            {"conv_0": 0, "conv_1": 4, "dense_0": 9},
        )
    else:
        net, places = tn.Sequential(tn.Flatten(), tn.Linear(64, 64), tn.ReLU(), tn.Linear(64, 10)), {"dense_0": 1, "dense_1": 3}
    for i, w, b in channel_first(params, places, (2, 2, 32) if task == "digits-cnn" else (8, 8, 1)):
        net[i].weight.data.copy_(torch.tensor(w)), net[i].bias.data.copy_(torch.tensor(b))
    return net


@cache
def beginning(task, seed):
    """fdl's initial parameters and state, and the run's batches `(*inputs, labels)`, on the host."""
    key, train = jax.random.key(seed), task.dataset.train
    params, state = jax.tree.map(np.asarray, core.jit(task.init)(core.fold(key, "init")))
    indices = np.asarray(data.batch_indices(core.fold(key, "batches"), len(train), task.batch_size, 0, task.steps))
    return params, state, [(*(a[i] for a in train.inputs), train.labels[i]) for i in indices]


def flax_optax(task, jobs, vmapped, scan):
    """Flax's and optax's guides: a jitted step; the rate is injected, so that one compilation serves all of an optimizer's."""
    starts, every = [beginning(task, job.seed) for job in jobs], task.evaluate_every
    apply, *_ = linen_net(task.name, *starts[0][:2])
    tx = optax.inject_hyperparams(lambda learning_rate: OPTAX[jobs[0].contestant](learning_rate))(learning_rate=1.0)
    *choose, labels = map(jnp.asarray, (*task.dataset.validation.inputs, task.dataset.validation.labels))

    def step(carry, batch):
        (params, state, slots), (*inputs, y) = carry, batch

        def mean_loss(params):
            logits, new = apply(params, state, *inputs, train=True)
            return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean(), new

        (loss, state), grads = jax.value_and_grad(mean_loss, has_aux=True)(params)
        updates, slots = tx.update(grads, slots, params)
        return (optax.apply_updates(params, updates), state, slots), loss

    def measure(params, state):
        logits, _ = apply(params, state, *choose, train=False)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), (logits.argmax(-1) == labels).mean()

    def begin(job, start):
        _, params, state = linen_net(task.name, *start[:2])
        carry = params, state, tx.init(params)
        carry[-1].hyperparams["learning_rate"] = jnp.float32(job.optimizer.lr)
        return jax.tree.map(lambda a: jnp.array(a), carry)  # a copy: steps donate it

    stack = lambda trees: jax.tree.map(lambda *a: jnp.stack(a), *trees)
    if vmapped:
        step, measure = jax.vmap(step), jax.vmap(measure)
        begins, rows = [lambda: stack([begin(*pair) for pair in zip(jobs, starts)])], [list(map(stack, zip(*(s[2] for s in starts))))]
    else:
        begins, rows = [partial(begin, *pair) for pair in zip(jobs, starts)], [jax.tree.map(jnp.asarray, s[2]) for s in starts]
    if scan:
        rows = [[stack(row[i : i + every]) for i in range(0, task.steps, every)] for row in rows]
    run = jax.jit(partial(jax.lax.scan, step) if scan else step, donate_argnums=0)
    calls, measure = 1 if scan else every, jax.jit(measure)

    def train(segments):
        curves = []
        for make, batches in zip(begins, rows):
            carry, curve = make(), []
            for at in range(0, segments * calls, calls):
                losses = []
                for batch in batches[at : at + calls]:
                    carry, loss = run(carry, batch)
                    losses.append(loss)
                losses, *measured = jax.device_get((losses, *measure(*carry[:2])))
                curve.append([np.reshape(losses, (every, -1)).mean(0), *map(np.atleast_1d, measured)])
            curves += [*np.array(curve).transpose(2, 0, 1)]
        return curves

    return train


def torch_runs(task, jobs, layout, update, threads, packed=False):
    """Runs one after another, eager."""
    import torch
    from torch.nn.functional import cross_entropy

    def place(*arrays):
        *inputs, y = (torch.tensor(a) for a in arrays)
        first = inputs[0].permute(0, 3, 1, 2).contiguous(memory_format=getattr(torch, layout)) if inputs[0].ndim == 4 else inputs[0]
        return (first, *(a.long() for a in inputs[1:])), y.long()

    starts, every = {job.seed: beginning(task, job.seed) for job in jobs}, task.evaluate_every
    rows = {seed: [place(*batch) for batch in start[2]] for seed, start in starts.items()}
    choose, labels = place(*task.dataset.validation.inputs, task.dataset.validation.labels)
    kind, options = TORCH[jobs[0].contestant]
    kind = getattr(torch.optim, kind)
    if update != "plain":
        options = {**options, (update if update in inspect.signature(kind).parameters else "foreach"): True}

    def train(segments):
        torch.set_num_threads(threads)
        curves = []
        for job in jobs:
            net, curve = torch_net(task.name, starts[job.seed][0], packed), []
            net.to(memory_format=getattr(torch, layout))
            optimizer = kind(net.parameters(), lr=job.optimizer.lr, **options)
            for at in range(0, segments * every, every):
                losses = []
                net.train()
                for inputs, y in rows[job.seed][at : at + every]:
                    optimizer.zero_grad()
                    loss = cross_entropy(net(*inputs), y)
                    loss.backward()
                    optimizer.step()
                    losses.append(loss.detach())
                net.eval()
                with torch.no_grad():
                    logits = net(*choose)
                    measured = cross_entropy(logits, labels), (logits.argmax(-1) == labels).float().mean()
                curve.append([float(torch.stack(losses).mean()), *map(float, measured)])
            curves.append(np.array(curve))
        return curves

    return train
