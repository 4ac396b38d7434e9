"""Character models, an embedding, two recurrent layers and a dense head, in fdl's words and its peers', from the same weights."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from fdl import nn

VOCABULARY, FEATURES, TIME, BATCH = 83, 128, 50, 50


@dataclass(frozen=True)
class Table(nn.Layer):
    """A row of weights for each character."""

    def forward(self, scope, ids):
        return scope.param("table", nn.initializers.normal(), (VOCABULARY, FEATURES), jnp.float32)[ids]


def model(cell):
    """Logits `[batch x time, vocabulary]` of character numbers `[batch, time]`."""
    layer = nn.Recurrent(getattr(nn, cell)(FEATURES), "all")
    return nn.Sequential(Table(), nn.Stacked(layer, layer), lambda h: h.reshape(-1, FEATURES), nn.Dense(VOCABULARY))


def batches(steps=4):
    draw = lambda seed, *shape: np.random.default_rng(seed).integers(0, VOCABULARY, shape)
    return [(draw(2 * i, BATCH, TIME), draw(2 * i + 1, BATCH * TIME)) for i in range(steps)]


def cells(params):
    """Each layer's weights by name."""
    return [params["stacked_0"][f"recurrent_{i}"]["cell"] for i in (0, 1)]


def by_gate(weights, gates, names):
    return zip(gates, *(np.split(np.asarray(weights[name]), len(gates), -1) for name in names))


def around(params, recurrent):
    """The peer's `recurrent(weights, x)`, `[batch, time, features]`, between embedding and head, which all write alike."""

    def apply(params, ids):
        h = params["table"][ids]
        for weights in params["cells"]:
            h = recurrent(weights, h)
        return h.reshape(-1, FEATURES) @ params["kernel"] + params["bias"]

    def start(convert):
        return {"table": params["table_0"]["table"], "cells": [convert(weights) for weights in cells(params)], **params["dense_0"]}

    return apply, start


def linen(params, cell):
    from flax import linen as fl

    net = fl.RNN(fl.OptimizedLSTMCell(FEATURES) if cell == "LSTM" else fl.GRUCell(FEATURES))

    def convert(weights):
        if cell == "LSTM":
            rows = by_gate(weights, "ifgo", ("kernel", "recurrent", "bias"))
            both = [(f"i{gate}", {"kernel": w}, f"h{gate}", {"kernel": u, "bias": b}) for gate, w, u, b in rows]
        else:
            rows = by_gate(weights, "rzn", ("kernel", "recurrent", "bias"))
            both = [(f"i{gate}", {"kernel": w, "bias": b}, f"h{gate}", {"kernel": u}) for gate, w, u, b in rows]
            both[2][3]["bias"] = weights["recurrent_bias"]
        return {"params": {"cell": {name: leaf for a, w, b, u in both for name, leaf in ((a, w), (b, u))}}}

    apply, start = around(params, net.apply)
    return apply, start(convert)


def nnx(params, cell):
    from flax import nnx as fx

    kind = fx.OptimizedLSTMCell if cell == "LSTM" else fx.GRUCell  # its GRU has no second bias

    def split(net):
        return fx.split(net, fx.Param, ...)

    def convert(weights):
        net.cell.dense_i.kernel[...], net.cell.dense_h.kernel[...] = weights["kernel"], weights["recurrent"]
        (net.cell.dense_h if cell == "LSTM" else net.cell.dense_i).bias[...] = weights["bias"]
        return jax.tree.map(jnp.array, split(net)[1])

    net = fx.RNN(kind(FEATURES, FEATURES, rngs=fx.Rngs(0)), rngs=fx.Rngs(0))
    graph, _, rest = split(net)
    zeros = jnp.zeros((BATCH, FEATURES))
    start = (zeros, zeros) if cell == "LSTM" else zeros
    apply, first = around(params, lambda weights, x: fx.merge(graph, weights, rest)(x, initial_carry=start))
    return apply, first(convert)


def haiku(params, cell):
    import haiku as hk

    def run(x):
        core = hk.LSTM(FEATURES)
        return hk.dynamic_unroll(core, x.swapaxes(0, 1), core.initial_state(len(x)))[0].swapaxes(0, 1)

    def convert(weights):  # its gates are i, g, f, o, and it adds 1 to f
        order = lambda a: np.concatenate([np.split(np.asarray(a), 4, -1)[i] for i in (0, 2, 1, 3)], -1)
        shift = np.repeat([0, 0, 1, 0], FEATURES).astype("f")
        w = order(np.concatenate([weights["kernel"], weights["recurrent"]]))
        return {"lstm/linear": {"w": w, "b": order(weights["bias"]) - shift}}

    apply, start = around(params, hk.without_apply_rng(hk.transform(run)).apply)
    return apply, start(convert)


def equinox(params, cell):
    import equinox as eqx

    kind = eqx.nn.LSTMCell if cell == "LSTM" else eqx.nn.GRUCell
    net = kind(FEATURES, FEATURES, key=jax.random.key(0))

    def recurrent(net, x):  # one sequence, as its guide writes it
        def step(carry, x):
            carry = net(x, carry)
            return carry, carry[0] if cell == "LSTM" else carry

        zeros = jnp.zeros(FEATURES)
        return jax.vmap(lambda x: jax.lax.scan(step, (zeros, zeros) if cell == "LSTM" else zeros, x)[1])(x)

    def convert(weights):
        names = [("weight_ih", "kernel"), ("weight_hh", "recurrent"), ("bias", "bias")] + [("bias_n", "recurrent_bias")] * (cell == "GRU")
        return eqx.tree_at(lambda net: [getattr(net, a) for a, _ in names], net, [weights[b].T for _, b in names])

    apply, start = around(params, recurrent)
    return apply, start(convert)


def torch(params, cell):
    import torch
    from torch import nn as tn

    class Net(tn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.head = tn.Embedding(VOCABULARY, FEATURES), tn.Linear(FEATURES, VOCABULARY)
            self.layers = getattr(tn, cell)(FEATURES, FEATURES, 2, batch_first=True)

        def forward(self, ids):
            return self.head(self.layers(self.table(ids))[0].reshape(-1, FEATURES))

    net, head = Net(), params["dense_0"]
    values = [(net.table.weight, params["table_0"]["table"]), (net.head.weight, head["kernel"].T), (net.head.bias, head["bias"])]
    for i, weights in enumerate(cells(params)):
        second = np.zeros_like(weights["bias"])
        if cell == "GRU":
            second[2 * FEATURES :] = weights["recurrent_bias"]
        else:  # two biases that are added would learn at twice the rate
            getattr(net.layers, f"bias_hh_l{i}").requires_grad_(False)
        arrays = weights["kernel"].T, weights["recurrent"].T, weights["bias"], second
        values += zip(net.layers.all_weights[i], arrays)
    for param, value in values:
        param.data.copy_(torch.tensor(np.array(value)))
    return net
