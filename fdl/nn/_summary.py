"""Layers, shapes, parameters, bytes and FLOPs of a model or any pure function, without making or computing anything."""

import math
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fdl.core import Call, Layer, Wrapper


class Row(NamedTuple):
    """One call of a layer: its path, what it is, its output's shapes, and counts over itself and its children.

    `flops` are those of the forward pass, `backward` those that the gradients add (None where
    there are none).
    """

    path: str
    layer: str
    shapes: str
    params: int
    bytes: int
    flops: int
    backward: int | None


@dataclass(frozen=True)
class Summary:
    """What `summary` found; `print` it, or read `rows` and `total`."""

    rows: tuple[Row, ...]
    total: Row

    def __str__(self) -> str:
        head = ("path", "layer", "output", "params", "bytes", "FLOPs", "backward")
        lines = [head, *[(*r[:3], *["-" if n is None else f"{n:,}" for n in r[3:]]) for r in (*self.rows, self.total)]]
        widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
        text = ["  ".join(c.ljust(w) if i < 3 else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths))).rstrip() for line in lines]
        rule = "-" * (sum(widths) + 2 * len(widths) - 2)
        return "\n".join([text[0], rule, *([*text[1:-1], rule] if self.rows else []), text[-1]])


def summary(model: Layer | Callable[..., Any], *inputs: Any) -> Summary:
    """Traces a model, or any pure function, on inputs of these shapes, without allocating or computing anything.

    FLOPs are of one forward pass while training, and of what the gradients of parameters and inputs add to it: two for a
    multiplication and addition in convolutions and matrix products, one an element of any other arithmetic; a loop's body
    counts once a step. A composite layer's row includes its children.

    Args:
        model: any layer; or a function, whose first argument then counts as its parameters, and which has a row for each
            `jax.named_scope` in it.
        inputs: arrays or `jax.ShapeDtypeStruct` objects.
    """
    if not isinstance(model, Layer):
        return _of_function(model, *inputs)
    calls: list[Call] = []

    def watch(call: Call) -> Any:
        if isinstance(call.layer, Layer):
            calls.append(call._replace(**jax.tree.map(_abstract, {name: getattr(call, name) for name in Call._fields[2:]})))
        return call.outputs

    model.trace(*inputs, watch=watch)
    rows = [_row(*call) for call in calls]
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


def _abstract(leaf: Any) -> Any:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) if hasattr(leaf, "shape") else leaf


def _size(leaves: Iterable[Any]) -> tuple[int, int]:
    """How many numbers and bytes."""
    sizes = [(leaf.size, leaf.size * leaf.dtype.itemsize) for leaf in leaves]
    return sum(n for n, _ in sizes), sum(b for _, b in sizes)


def _shapes(leaves: Iterable[Any]) -> str:
    return " ".join(str(list(leaf.shape)) for leaf in leaves)


def _named(layer: Layer) -> str:
    """`Remat(Dense)`: a wrapper with what it wraps."""
    name = type(layer).__name__
    return f"{name}({_named(layer.layer)})" if isinstance(layer, Wrapper) else name


def _row(path: str, layer: Layer, params: Any, state: Any, inputs: Any, options: Any, outputs: Any) -> Row:
    arrays = {name: option for name, option in options.items() if all(hasattr(leaf, "shape") for leaf in jax.tree.leaves(option))}
    run = lambda params, arrays, *a: _apply(layer, params, *a, **options | arrays)
    args = (params, arrays, state, *inputs)
    forward, both = flops(run, *args), _gradient(run, *args)
    backward = None if both is None else _flops(both.jaxpr) - forward
    return Row(path, _named(layer), _shapes(jax.tree.leaves(outputs)), *_size(jax.tree.leaves(params)), forward, backward)


def _position(rows: list[Row], i: int) -> tuple[int, int]:
    """Calls are recorded as they end; a parent is shown before its children."""
    first = min(j for j in range(i + 1) if rows[j].path == rows[i].path or rows[j].path.startswith(rows[i].path + "/"))
    return first, -i


def _gradient(function: Callable[..., Any], *args: Any) -> Any:
    """The jaxpr of a forward and a backward pass, for every floating-point input and output; None where there is no gradient."""
    leaves, structure = jax.tree.flatten(args)
    floating = lambda leaf: hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.inexact)

    def run(leaves: list[Any]) -> Any:
        def forward(moving: list[Any]) -> list[Any]:
            rest = iter(moving)
            moved = [next(rest) if floating(leaf) else leaf for leaf in leaves]
            return [y for y in jax.tree.leaves(function(*jax.tree.unflatten(structure, moved))) if floating(y)]

        y, pull = jax.vjp(forward, [leaf for leaf in leaves if floating(leaf)])
        return pull(y)

    try:
        return jax.make_jaxpr(run)(leaves)
    except (ValueError, TypeError, NotImplementedError):
        return None


def _of_function(function: Callable[..., Any], *args: Any) -> Summary:
    forward = jax.make_jaxpr(function)(*args).jaxpr
    leaves = jax.tree.leaves(args[:1])
    table = _by_scope(forward, dict(zip(forward.invars, range(len(leaves)))))
    both = _gradient(function, *args)
    everything = {} if both is None else _by_scope(both.jaxpr, {})
    rows = []
    for scope, (cost, used, shapes) in table.items():
        backward = None if both is None else everything[scope][0] - cost
        rows.append(Row(scope, "scope", shapes, *_size(leaves[i] for i in used), cost, backward))
    total = rows.pop(0)._replace(
        path="total", layer=getattr(function, "__name__", "function"), shapes=_shapes(v.aval for v in forward.outvars)
    )
    count, size = _size(leaves)
    return Summary(tuple(rows), total._replace(params=count, bytes=size))


def _by_scope(jaxpr: Any, params: dict[Any, int]) -> dict[str, tuple[int, set[int], str]]:
    """FLOPs, parameters used and the last output's shapes of each `jax.named_scope`; of everything under the empty path."""
    table: dict[str, tuple[int, set[int], str]] = {"": (0, set(), "")}
    for names, eqn, used in _equations(jaxpr, (), params):
        cost, shapes = _cost(eqn), _shapes(v.aval for v in eqn.outvars)
        for depth in range(len(names) + 1):
            scope = "".join(f"/{name}" for name in names[:depth])
            before = table.get(scope, (0, set(), ""))
            table[scope] = (before[0] + cost, before[1] | used, shapes)
    return table


def _equations(jaxpr: Any, outer: tuple[str, ...], params: dict[Any, int]) -> Iterator[tuple[tuple[str, ...], Any, set[int]]]:
    """Every equation outside of loops, with the names of its scopes and the parameters it takes."""
    for eqn in jaxpr.eqns:
        stack = re.sub(r"\w*\(|\)", "", str(eqn.source_info.name_stack))  # a gradient's: transpose(jvp(scope))/inner
        names = (*outer, *filter(None, stack.split("/")))
        taken = {i: params[v] for i, v in enumerate(eqn.invars) if not hasattr(v, "val") and v in params}
        if eqn.primitive.name in ("jit", "pjit") and eqn.params["name"] not in _CONVOLUTIONS:
            body = eqn.params["jaxpr"].jaxpr
            yield from _equations(body, names, {body.invars[i]: p for i, p in taken.items()})
        else:
            yield names, eqn, set(taken.values())


_FREE = {"reshape", "transpose", "broadcast_in_dim", "squeeze", "slice", "dynamic_slice", "concatenate", "pad", "rev", "gather",
         "convert_element_type", "iota", "copy", "stop_gradient", "random_wrap", "random_unwrap", "random_fold_in", "random_bits",
         "random_seed", "random_split", "optimization_barrier", "split"}  # fmt: skip


_CONVOLUTIONS = ("conv_by_tiles", "conv_by_groups", "conv_by_shifts")


def _flops(jaxpr: Any) -> int:
    return sum(map(_cost, jaxpr.eqns))


def _cost(eqn: Any) -> int:
    name, out = eqn.primitive.name, sum(math.prod(v.aval.shape) for v in eqn.outvars)
    inner = _inner(eqn)
    if name in ("canonical_conv", "conv_general_dilated") or eqn.params.get("name") in _CONVOLUTIONS:
        return round(_conv_flops(eqn))
    if inner:
        return max(map(_flops, inner)) * eqn.params.get("length", 1)
    if name == "dot_general":
        contracted = eqn.params["dimension_numbers"][0][0]
        return 2 * out * math.prod(eqn.invars[0].aval.shape[axis] for axis in contracted)
    if name in _FREE:
        return 0
    return max(out, *(math.prod(v.aval.shape) for v in eqn.invars)) if name.startswith("reduce") else out


def _inner(eqn: Any) -> list[Any]:
    """The jaxprs among an equation's parameters."""
    params = (p for v in eqn.params.values() for p in (v if isinstance(v, tuple) else (v,)))
    return [p.jaxpr if hasattr(p, "jaxpr") else p for p in params if hasattr(p, "eqns") or hasattr(p, "jaxpr")]


def _conv_flops(eqn: Any, shifts: bool = False) -> Fraction:
    """Of a convolution's products alone: what else an equation holds are tricks by which it is computed."""
    if eqn.primitive.name in ("canonical_conv", "conv_general_dilated"):
        return 2 * eqn.params.get("share", 1) * _products(eqn)
    if shifts and eqn.primitive.name == "mul":
        return Fraction(2 * math.prod(eqn.outvars[0].aval.shape))
    shifts = shifts or eqn.params.get("name") == "conv_by_shifts"
    costs = [sum((_conv_flops(e, shifts) for e in jaxpr.eqns), Fraction()) for jaxpr in _inner(eqn)]
    return max(costs, default=Fraction()) * eqn.params.get("length", 1)


def _products(eqn: Any) -> int:
    """Along each axis every output meets the whole window, or every input does, where those are fewer: zeros between do not count.

    Between dilated inputs stand zeros; a gradient's window may be so large that every output rather meets every input.
    """
    x, kernel, y = (v.aval.shape for v in (*eqn.invars[:2], eqn.outvars[0]))
    x_axes, kernel_axes, y_axes = eqn.params.get("dimension_numbers") or ((0, 3, 1, 2), (3, 2, 0, 1), (0, 3, 1, 2))
    dilation = eqn.params.get("lhs_dilation") or eqn.params["x_dilation"]
    count = y[y_axes[0]] * y[y_axes[1]] * kernel[kernel_axes[1]]
    for i, k, o, apart in zip(x_axes[2:], kernel_axes[2:], y_axes[2:], dilation):
        inputs, window, outputs = x[i], kernel[k], y[o]
        count *= min(outputs * window, inputs * window, *[inputs * outputs] * (apart > 1))
    return count
