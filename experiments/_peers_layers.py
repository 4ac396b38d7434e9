"""Feed-forward networks of fdl's layers in its peers' words, from the same weights: Flax Linen and NNX, Haiku, Equinox, PyTorch.

Each translator gives `(apply, params, state)` with `apply(params, state, x)` in training mode, logits and the new state; PyTorch's
gives a module. Convolutions, pooling, batch normalisation, dense layers, `Sequential`, `Residual` and functions are translated.
"""

from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np

from fdl import nn


def walk(layer, x, leaf, path=()):
    """The network's output, `leaf(layer, path, x)` for each of its layers; `path` is where fdl's parameters are."""
    if isinstance(layer, nn.Sequential):
        counts = Counter()
        for child in layer.layers:
            kind = type(child).__name__.lower()
            name = f"{ {'batchnorm': 'batch_norm'}.get(kind, kind) }_{counts[kind]}"
            counts[kind] += isinstance(child, nn.Layer)
            x = walk(child, x, leaf, (*path, name))
        return x
    if isinstance(layer, nn.Residual):
        y = walk(layer.body, x, leaf, (*path, "body"))
        return y + (x if layer.shortcut is None else walk(layer.shortcut, x, leaf, (*path, "shortcut")))
    return leaf(layer, path, x)


def at(tree, path):
    for name in path:
        tree = tree[name]
    return tree


def named(params):
    """Each layer's weights by its path, joined by underscores."""
    found = {}
    for path, value in jax.tree.leaves_with_path(params):
        *names, last = (key.key for key in path)
        found.setdefault("_".join(names), {})[last] = value
    return found


def sides(layer, size, strides, given):
    """The padding of both axes, in numbers, of a layer that is given maps of this height and width."""
    padding = layer.padding
    if isinstance(padding, str):
        return jax.lax.padtype_to_pads(given, size, strides, padding)
    return [tuple(pair) for pair in padding]


def window(layer):
    """Kernel or window size and strides, of both axes."""
    size = layer.kernel_size if isinstance(layer, nn.Conv) else layer.window
    strides = layer.strides if layer.strides is not None else size
    return [(n, n) if isinstance(n, int) else tuple(n) for n in (size, strides)]


def linen(model, params, state, x):
    from flax import linen as fl

    def leaf(layer, path, x):
        name = "_".join(path)
        match layer:
            case nn.Conv():
                (size, strides), maps = window(layer), x.shape[1:3]
                return fl.Conv(layer.features, size, strides, sides(layer, size, strides, maps), use_bias=layer.bias, name=name)(x)
            case nn.Dense():
                return fl.Dense(layer.features, name=name)(x)
            case nn.BatchNorm():
                return fl.BatchNorm(use_running_average=False, momentum=layer.momentum, epsilon=layer.eps, name=name)(x)
            case nn.MaxPool():
                size, strides = window(layer)
                return fl.max_pool(x, size, strides, sides(layer, size, strides, x.shape[1:3]))
        return plain(layer, x)

    class Net(fl.Module):
        @fl.compact
        def __call__(self, x):
            return walk(model, x, leaf)

    def apply(params, state, x):
        logits, new = Net().apply({"params": params, "batch_stats": state}, x, mutable=["batch_stats"])
        return logits, new.get("batch_stats", {})

    return apply, named(params), named(state)


def nnx(model, params, state, x):
    from flax import nnx as fx

    weights, made = named(params), {}

    def build(layer, path, x):
        name = "_".join(path)
        match layer:
            case nn.Conv():
                (size, strides), maps = window(layer), x.shape[1:3]
                made[name] = fx.Conv(
                    x.shape[-1],
                    layer.features,
                    size,
                    strides,
                    padding=sides(layer, size, strides, maps),
                    use_bias=layer.bias,
                    rngs=fx.Rngs(0),
                )
            case nn.Dense():
                made[name] = fx.Linear(x.shape[-1], layer.features, rngs=fx.Rngs(0))
            case nn.BatchNorm():
                made[name] = fx.BatchNorm(x.shape[-1], momentum=layer.momentum, epsilon=layer.eps, rngs=fx.Rngs(0))
        for key, value in weights.get(name, {}).items():
            getattr(made[name], key)[...] = value
        return (
            layer.apply(at(params, path) if name in weights else {}, at(state, path) if name in named(state) else {}, x, train=True)[0]
            if isinstance(layer, nn.Layer)
            else layer(x)
        )

    walk(model, x, build)

    def leaf(net, layer, path, x):
        name = "_".join(path)
        if name in made:
            return getattr(net, name)(x)
        if isinstance(layer, nn.MaxPool):
            size, strides = window(layer)
            return fx.max_pool(x, size, strides, sides(layer, size, strides, x.shape[1:3]))
        return plain(layer, x)

    class Net(fx.Module):
        def __init__(self):
            for name, module in made.items():
                setattr(self, name, module)

        def __call__(self, x):
            return walk(model, x, lambda *args: leaf(self, *args))

    graph, first, rest = fx.split(Net(), fx.Param, ...)

    def apply(params, state, x):
        net = fx.merge(graph, params, state, copy=True)  # variables of this trace, which may be written
        logits = net(x)
        return logits, fx.split(net, fx.Param, ...)[2]

    return apply, first, rest


def haiku(model, params, state, x):
    import haiku as hk

    def leaf(layer, path, x):
        name = "_".join(path)
        match layer:
            case nn.Conv():
                (size, strides), maps = window(layer), x.shape[1:3]
                pads = sides(layer, size, strides, maps)
                return hk.Conv2D(layer.features, size, strides, padding=pads, with_bias=layer.bias, name=name)(x)
            case nn.Dense():
                return hk.Linear(layer.features, name=name)(x)
            case nn.BatchNorm():
                return hk.BatchNorm(True, True, layer.momentum, eps=layer.eps, name=name)(x, is_training=True)
            case nn.MaxPool():
                size, strides = window(layer)
                pads = sides(layer, size, strides, x.shape[1:3])  # Haiku takes no numbers: its SAME and VALID are these
                return hk.max_pool(x, (*size, 1), (*strides, 1), "VALID" if pads == [(0, 0), (0, 0)] else "SAME")
        return plain(layer, x)

    net = hk.without_apply_rng(hk.transform_with_state(lambda x: walk(model, x, leaf)))
    _, first = net.init(jax.random.key(0), x)
    words = {"kernel": "w", "bias": "b"}

    def convert(weights):
        if "scale" in weights:
            return {"scale": weights["scale"].reshape(1, 1, 1, -1), "offset": weights["bias"].reshape(1, 1, 1, -1)}
        return {words[key]: value for key, value in weights.items()}

    return net.apply, {name: convert(weights) for name, weights in named(params).items()}, first


def plain(layer, x):
    """What needs no library: means over places, flattening, functions."""
    match layer:
        case nn.GlobalAvgPool():
            return x.mean((1, 2))
        case nn.Flatten():
            return x.reshape(len(x), -1)
    return layer(x)


def shapes(model, params, state, x):
    """What every layer is given, `{path: shape}`."""
    found = {}

    def leaf(layer, path, x):
        found["_".join(path)] = x.shape
        if not isinstance(layer, nn.Layer):
            return layer(x)
        has = "_".join(path)
        return layer.apply(at(params, path) if has in named(params) else {}, at(state, path) if has in named(state) else {}, x, train=True)[
            0
        ]

    jax.eval_shape(lambda x: walk(model, x, leaf), x)
    return found


def first_channels(model, params, state, x):
    """Each layer's weights as PyTorch and Equinox have them: `{path: {"weight": ..., "bias": ...}}`, channels first."""
    given, flattened, found = shapes(model, params, state, x), None, {}
    for name, shape in given.items():
        if len(shape) == 4:
            flattened = shape
        if "flatten" in name:
            flattened = shape
    dense = [name for name in given if name.rpartition("_")[0].endswith("dense")]
    for name, weights in named(params).items():
        weights = {key: np.array(value) for key, value in weights.items()}
        if "scale" in weights:
            found[name] = {"weight": weights["scale"], "bias": weights["bias"]}
            continue
        w = weights.pop("kernel")
        if dense and name == dense[0] and flattened and w.shape[0] == np.prod(flattened[1:]):
            w = w.reshape(*flattened[1:], -1).transpose(2, 0, 1, 3).reshape(w.shape)
        found[name] = {"weight": w.transpose(3, 2, 0, 1) if w.ndim == 4 else w.T, **weights}
    return found


def equinox(model, params, state, x):
    """Takes batches with channels first."""
    import equinox as eqx
    from equinox import nn as en

    weights, given, key, made = first_channels(model, params, state, x), shapes(model, params, state, x), jax.random.key(0), {}

    def build(layer, path, y):
        name = "_".join(path)
        shape = given[name]
        if isinstance(layer, nn.Conv):
            size, strides = window(layer)
            pads = sides(layer, size, strides, shape[1:3])
            made[name] = en.Conv2d(shape[-1], layer.features, size, strides, pads, use_bias=layer.bias, key=key)
        elif isinstance(layer, nn.Dense):
            made[name] = en.Linear(shape[-1], layer.features, key=key)
        elif isinstance(layer, nn.BatchNorm):
            made[name] = en.BatchNorm(shape[-1], "batch", layer.eps, momentum=layer.momentum, mode="batch")
        elif isinstance(layer, nn.MaxPool):
            size, strides = window(layer)
            made[name] = en.MaxPool2d(size, strides, sides(layer, size, strides, shape[1:3]))
        for field, value in weights.get(name, {}).items():
            old = getattr(made[name], field)
            made[name] = eqx.tree_at(lambda m, field=field: getattr(m, field), made[name], jnp.asarray(value).reshape(old.shape))
        return y

    walk(model, jnp.zeros(()), build)
    made, first = eqx.nn.make_with_state(lambda: made)() if any(isinstance(m, en.BatchNorm) for m in made.values()) else (made, None)
    arrays, static = eqx.partition(made, eqx.is_inexact_array)

    def apply(arrays, state, x):
        net = eqx.combine(arrays, static)

        def single(x, state):
            def leaf(layer, path, x):
                nonlocal state
                name = "_".join(path)
                if isinstance(layer, nn.BatchNorm):
                    x, state = net[name](x, state)
                    return x
                if name in net:
                    return net[name](x)
                if isinstance(layer, nn.GlobalAvgPool):
                    return x.mean((1, 2))
                return jnp.ravel(x) if isinstance(layer, nn.Flatten) else layer(x)

            return walk(model, x, leaf), state

        return jax.vmap(single, axis_name="batch", in_axes=(0, None), out_axes=(0, None))(x, state)

    return apply, arrays, first


def torch(model, params, state, x):
    """A module that takes batches with channels first."""
    import torch
    from torch import nn as tn

    weights, given = first_channels(model, params, state, x), shapes(model, params, state, x)

    class Add(tn.Module):
        def __init__(self, body, shortcut):
            super().__init__()
            self.body, self.shortcut = body, shortcut

        def forward(self, x):
            return self.body(x) + (x if self.shortcut is None else self.shortcut(x))

    class Mean(tn.Module):
        def forward(self, x):
            return x.mean((2, 3))

    def padded(module, pads, value):
        """PyTorch pads alike on both sides; what is not goes before."""
        (top, bottom), (left, right) = pads
        return tn.Sequential(tn.ConstantPad2d((left, right, top, bottom), value), module)

    def build(layer, path):
        name = "_".join(path)
        if isinstance(layer, nn.Sequential):
            counts, parts = Counter(), []
            for child in layer.layers:
                kind = type(child).__name__.lower()
                parts.append(build(child, (*path, f"{ {'batchnorm': 'batch_norm'}.get(kind, kind) }_{counts[kind]}")))
                counts[kind] += isinstance(child, nn.Layer)
            return tn.Sequential(*parts)
        match layer:
            case nn.Residual():
                return Add(build(layer.body, (*path, "body")), layer.shortcut and build(layer.shortcut, (*path, "shortcut")))
            case nn.Conv() | nn.MaxPool():
                size, strides = window(layer)
                pads = sides(layer, size, strides, given[name][1:3])
                even = all(a == b for a, b in pads)
                padding = tuple(a for a, _ in pads) if even else 0
                if isinstance(layer, nn.Conv):
                    module = tn.Conv2d(given[name][-1], layer.features, size, strides, padding, bias=layer.bias)
                else:
                    module = tn.MaxPool2d(size, strides, padding)
                for field, value in weights.get(name, {}).items():
                    getattr(module, field).data.copy_(torch.tensor(value))
                return module if even else padded(module, pads, 0.0 if isinstance(layer, nn.Conv) else -torch.inf)
            case nn.Dense():
                module = tn.Linear(given[name][-1], layer.features)
            case nn.BatchNorm():
                module = tn.BatchNorm2d(given[name][-1], layer.eps, 1 - layer.momentum)
            case nn.GlobalAvgPool():
                return Mean()
            case nn.Flatten():
                return tn.Flatten()
            case _:
                return tn.ReLU()
        for field, value in weights[name].items():
            getattr(module, field).data.copy_(torch.tensor(value))
        return module

    return build(model, ())
