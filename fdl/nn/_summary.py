"""Layers, shapes, parameters, bytes and FLOPs of a model, without making it."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax

from fdl.core import Layer


class Row(NamedTuple):
    """One call of a layer: its path, what it is, its output's shapes, and counts over itself and its children."""

    path: str
    layer: str
    shapes: str
    params: int
    bytes: int
    flops: int


@dataclass(frozen=True)
class Summary:
    """What `summary` found; `print` it, or read `rows` and `total`."""

    rows: tuple[Row, ...]
    total: Row

    def __str__(self) -> str:
        head = ("path", "layer", "output", "params", "bytes", "FLOPs")
        lines = [head, *[(*r[:3], *[f"{n:,}" for n in r[3:]]) for r in (*self.rows, self.total)]]
        widths = [max(len(line[i]) for line in lines) for i in range(6)]
        text = ["  ".join(c.ljust(w) if i < 3 else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths))).rstrip() for line in lines]
        rule = "-" * (sum(widths) + 10)
        return "\n".join([text[0], rule, *text[1:-1], rule, text[-1]])


def summary(model: Layer, *inputs: Any) -> Summary:
    """Traces `model` on inputs of these shapes, without allocating or computing anything.

    FLOPs are of one forward pass while training, two for a multiplication and addition in convolutions and matrix
    products, one an element of any other arithmetic; a loop's body counts once a step. A composite layer's row includes
    its children.

    Args:
        model: any layer.
        inputs: arrays or `jax.ShapeDtypeStruct` objects.
    """
    calls = model.trace(*inputs).calls
    rows = [_row(call.path, call.layer, call.params, call.state, call.inputs, call.options, call.outputs) for call in calls]
    params, state = jax.eval_shape(model.init, jax.eval_shape(lambda: jax.random.key(0)), *inputs)
    outputs = jax.eval_shape(lambda *a: _apply(model, *a), params, state, *inputs)
    order = sorted(range(len(rows)), key=lambda i: _position(rows, i))
    return Summary(tuple(rows[i] for i in order), _row("total", model, params, state, inputs, {}, outputs))


def flops(function: Callable[..., Any], *args: Any) -> int:
    """FLOPs of one call of any pure function, counted as in `summary`.

    Args:
        function: what `jax.jit` could compile.
        args: arrays or `jax.ShapeDtypeStruct` objects; nothing is computed.
    """
    return _flops(jax.make_jaxpr(function)(*args).jaxpr)


def _apply(layer: Layer, params: Any, state: Any, *inputs: Any, **options: Any) -> Any:
    return layer.apply(params, state, *inputs, key=jax.random.key(0), train=True, **options)[0]


def _row(path: str, layer: Layer, params: Any, state: Any, inputs: Any, options: Any, outputs: Any) -> Row:
    leaves = jax.tree.leaves(params)
    count, size = (sum(f(leaf) for leaf in leaves) for f in (lambda p: p.size, lambda p: p.size * p.dtype.itemsize))
    arrays = {name: option for name, option in options.items() if all(hasattr(leaf, "shape") for leaf in jax.tree.leaves(option))}
    cost = flops(lambda arrays, *a: _apply(layer, *a, **options | arrays), arrays, params, state, *inputs)
    shapes = " ".join(str(list(leaf.shape)) for leaf in jax.tree.leaves(outputs))
    return Row(path, type(layer).__name__, shapes, count, size, cost)


def _position(rows: list[Row], i: int) -> tuple[int, int]:
    """Calls are recorded as they end; a parent is shown before its children."""
    first = min(j for j in range(i + 1) if rows[j].path == rows[i].path or rows[j].path.startswith(rows[i].path + "/"))
    return first, -i


_FREE = {"reshape", "transpose", "broadcast_in_dim", "squeeze", "slice", "dynamic_slice", "concatenate", "pad", "rev", "gather",
         "convert_element_type", "iota", "copy", "stop_gradient", "random_wrap", "random_unwrap", "random_fold_in", "random_bits",
         "random_seed", "random_split", "optimization_barrier", "split"}  # fmt: skip


def _flops(jaxpr: Any) -> int:
    total = 0
    for eqn in jaxpr.eqns:
        name, out = eqn.primitive.name, sum(math.prod(v.aval.shape) for v in eqn.outvars)
        inner = [
            p.jaxpr if hasattr(p, "jaxpr") else p
            for v in eqn.params.values()
            for p in (v if isinstance(v, tuple) else (v,))
            if hasattr(p, "eqns") or hasattr(p, "jaxpr")
        ]
        if eqn.params.get("name") in ("conv_by_tiles", "conv_by_groups"):  # the convolution that it computes, not its tricks
            total += _conv_flops(eqn)
        elif inner:
            total += max(map(_flops, inner)) * eqn.params.get("length", 1)
        elif name == "dot_general":
            contracted = eqn.params["dimension_numbers"][0][0]
            total += 2 * out * math.prod(eqn.invars[0].aval.shape[axis] for axis in contracted)
        elif name in ("canonical_conv", "conv_general_dilated"):
            total += _conv_flops(eqn)
        elif name not in _FREE:
            total += max(out, *(math.prod(v.aval.shape) for v in eqn.invars)) if name.startswith("reduce") else out
    return total


def _conv_flops(eqn: Any) -> int:
    """Each output meets the whole window, or each input does, where those are fewer: what is between dilated inputs is zero."""
    x, kernel, y = (v.aval.shape for v in (*eqn.invars[:2], eqn.outvars[0]))
    numbers = eqn.params.get("dimension_numbers")
    x_channels, channels, features = (numbers.lhs_spec[1], *numbers.rhs_spec[1::-1]) if numbers else (-1, -2, -1)
    groups = x[x_channels] // kernel[channels]
    outward, inward = math.prod(y) * math.prod(kernel) // kernel[features], math.prod(x) * math.prod(kernel) // kernel[channels] // groups
    return 2 * min(outward, inward)
