"""The one driver that runs any cell along time."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp

from fdl.core import FdlError, Layer, Scope
from fdl.nn._cells import Cell, Gated
from fdl.nn._dropout import Dropout
from fdl.ops._recurrence import mask

Along = Callable[[Any, jax.Array, jax.Array | None], tuple[Any, jax.Array]]


@dataclass(frozen=True)
class Recurrent(Layer):
    """Runs a cell along time, over padded sequences of any length.

    Args:
        cell: `RNN`, `LSTM`, `GRU`, `MGU`, `LRU` or a `Cell` of your own, without state.
        outputs: `"last"`, the output at the valid step that was taken last, or `"all"`.
        reverse: whether to run from the last step to the first; outputs keep the order of the inputs.
        unroll: how many steps one pass of the compiled loop holds: more compile longer and may run faster.
        remat: keep the carry at every `remat`-th step only and compute the steps between again for the gradient: memory
            for time. Default: never.
        recurrent_dropout: the probability with which a feature of the state is hidden from the recurrent weights in training,
            at all steps of a sequence alike (Gal & Ghahramani 2016, "A theoretically grounded application of dropout in
            recurrent neural networks", with one mask for all gates); the others are divided by what is left, as in `Dropout`.
            What the state keeps without these weights, such as an LSTM's `c`, stays whole. For `RNN`, `LSTM`, `GRU` and
            `MGU`; default 0; needs a key. Inputs and outputs: `Dropout(rate, each="channel")` before and after.

    Inputs: `x` `[batch, time, inputs]`; `valid`, which steps count: lengths, integers `[batch]` in 1..time, or a mask,
    booleans `[batch, time]`, with a step in each sequence (all steps where not given); `carry`, to start from instead
    of the cell's start. Output: `[batch, features]`, or `[batch, time, features]`, 0 where a step does not count; with
    the option `return_carry=True`, `(output, carry)`. Steps that do not count change neither carry nor gradients,
    whatever stands there: the code of a padded sequence is that of the cut one, in either direction.

    Raises:
        FdlError: for options that are none, a cell with state, and dropout for a cell without recurrent weights.
    """

    cell: Cell
    outputs: Literal["last", "all"] = "last"
    reverse: bool = False
    unroll: int = 1
    remat: int | None = None
    recurrent_dropout: float = 0.0

    def __post_init__(self) -> None:
        if self.outputs not in ("last", "all"):
            raise FdlError("Recurrent(outputs)", repr(self.outputs), "'last' or 'all'")
        for name in ("unroll", "remat"):
            value = getattr(self, name)
            if value is not None and (type(value) is not int or value < 1):
                raise FdlError(f"Recurrent({name})", repr(value), "a number of steps, at least 1")
        Dropout(self.recurrent_dropout)  # which refuses a rate out of range
        if self.recurrent_dropout and type(self.cell).forward is not Gated.forward:
            raise FdlError("Recurrent(recurrent_dropout)", f"a cell {type(self.cell).__name__}", "RNN, LSTM, GRU or MGU")

    def forward(self, scope: Scope, x: jax.Array, valid: jax.Array | None = None, carry: Any = None, *, return_carry: bool = False) -> Any:
        if x.ndim != 3:
            raise ValueError(f"x has {x.ndim} axes, not [batch, time, features]")
        start = self.cell.start(x.shape[0], x.dtype) if carry is None else carry
        params, step = scope.lift(self.cell, start, x[:, 0], name="cell")
        jax.eval_shape(step, params, start, x[:, 0])  # what does not fit is told before it enters a loop

        dropped = []
        if scope.train and self.recurrent_dropout:
            ones = jnp.ones((x.shape[0], self.cell.features), x.dtype)
            dropped.append(scope(Dropout(self.recurrent_dropout), ones, name="recurrent_dropout"))

        def along(carry: Any, x: jax.Array, valid: jax.Array | None) -> tuple[Any, jax.Array]:
            return self.cell.along(params, step, carry, x, valid, self.reverse, self.unroll, *dropped)

        valid = None if valid is None else mask(valid, x)
        end, y = along(start, x, valid) if self.remat is None else _in_pieces(along, start, x, valid, self.remat, self.reverse)
        if self.outputs == "last":
            y = _last(y, valid, self.reverse)
        return (y, end) if return_carry else y


@dataclass(frozen=True)
class Carried(Layer):
    """A recurrent layer that goes on from where it stood after the batch before, where a long text is cut into batches.

    The carry is kept in the layer's state, row by row and without gradient, in training and in evaluation: `carry_0`,
    `carry_1`, ... are its parts.

    Args:
        recurrent: what runs along time.

    Inputs: `x` `[batch, time, inputs]`; `starts`, booleans `[batch]`, which rows begin a text and forget what was before,
    none where not given; `valid`, as for `Recurrent`. Output as of `recurrent`.
    """

    recurrent: Recurrent

    def forward(self, scope: Scope, x: jax.Array, starts: jax.Array | None = None, valid: jax.Array | None = None) -> jax.Array:
        first = self.recurrent.cell.start(x.shape[0], x.dtype)
        parts, form = jax.tree.flatten(first)
        shape = parts[0].shape[0], parts[0].dtype
        make = lambda i: lambda *_: jax.tree.leaves(self.recurrent.cell.start(*shape))[i]
        kept = [scope.variable(f"carry_{i}", make(i), part.shape, part.dtype) for i, part in enumerate(parts)]
        if starts is not None:
            anew = lambda part: starts.reshape(-1, *(1,) * (part.ndim - 1))
            kept = [jnp.where(anew(part), part, old) for part, old in zip(parts, kept)]
        y, end = scope(self.recurrent, x, valid, jax.tree.unflatten(form, kept), return_carry=True)
        for i, part in enumerate(jax.tree.leaves(end)):
            scope.set(f"carry_{i}", part)
        return y


def _last(y: jax.Array, valid: jax.Array | None, reverse: bool) -> jax.Array:
    """The output at the valid step taken last."""
    if valid is None:
        return y[:, 0] if reverse else y[:, -1]
    at = valid.argmax(1) if reverse else valid.shape[1] - 1 - valid[:, ::-1].argmax(1)
    return jnp.take_along_axis(y, at[:, None, None], 1)[:, 0]


def _in_pieces(along: Along, carry: Any, x: jax.Array, valid: jax.Array | None, size: int, reverse: bool) -> tuple[Any, jax.Array]:
    """`along` by pieces of time, each computed again for the gradient; what is left over of the time is the last piece."""
    whole = x.shape[1] // size * size
    piece = jax.checkpoint(along, prevent_cse=False)

    def pieces(carry: Any) -> tuple[Any, jax.Array]:
        cut = lambda a: None if a is None else a[:, :whole].reshape(a.shape[0], -1, size, *a.shape[2:]).swapaxes(0, 1)
        carry, y = jax.lax.scan(lambda carry, now: piece(carry, *now), carry, (cut(x), cut(valid)), reverse=reverse)
        return carry, y.swapaxes(0, 1).reshape(y.shape[1], whole, *y.shape[3:])

    def rest(carry: Any) -> tuple[Any, jax.Array]:
        return piece(carry, x[:, whole:], None if valid is None else valid[:, whole:])

    parts = [pieces] * (whole > 0) + [rest] * (whole < x.shape[1])
    outputs = []
    for part in reversed(parts) if reverse else parts:
        carry, y = part(carry)
        outputs.append(y)
    return carry, jnp.concatenate(outputs[::-1] if reverse else outputs, 1)
