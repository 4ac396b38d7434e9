"""Recurrent layers in both directions, and above each other."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp

from fdl.core import FdlError, Layer, Scope
from fdl.nn._dropout import Dropout
from fdl.nn._recurrent import Recurrent


def concatenate(*arrays: jax.Array) -> jax.Array:
    return jnp.concatenate(arrays, -1)


@dataclass(frozen=True)
class Bidirectional(Layer):
    """A recurrent layer and its mirror image, with weights of its own, on the same sequence (Schuster & Paliwal 1997).

    Args:
        layer: the one that runs forward; the other is the same but for `reverse`.
        merge: makes one output of theirs; default: side by side, `2 x features`.

    Inputs and outputs as of `Recurrent`; the carry is the pair of theirs. Children: `forward` and `backward`. The mirror
    starts at each sequence's last valid step, so that padding changes nothing.
    """

    layer: Recurrent
    merge: Callable[[jax.Array, jax.Array], jax.Array] = concatenate

    @property
    def outputs(self) -> str:
        return self.layer.outputs

    def forward(self, scope: Scope, x: jax.Array, valid: jax.Array | None = None, carry: Any = None, *, return_carry: bool = False) -> Any:
        mirror = replace(self.layer, reverse=not self.layer.reverse)
        there, back = (None, None) if carry is None else carry
        y, end = scope(self.layer, x, valid, there, name="forward", return_carry=True)
        y_back, end_back = scope(mirror, x, valid, back, name="backward", return_carry=True)
        y = self.merge(y, y_back)
        return (y, (end, end_back)) if return_carry else y


@dataclass(frozen=True, init=False)
class Stacked(Layer):
    """Recurrent layers above each other, over the same valid steps: each reads all outputs of the one below.

    `Stacked(nn.Recurrent(nn.LSTM(128), "all"), nn.Recurrent(nn.LSTM(128)), dropout=0.2)`

    Args:
        layers: `Recurrent`, `Bidirectional` or `Stacked` layers, all but the last with `outputs="all"`.
        dropout: the probability of `Dropout` between two layers, as in PyTorch; default 0.

    Inputs and outputs as of `Recurrent`; the carry is the tuple of theirs.
    """

    layers: tuple[Any, ...]
    dropout: float

    def __init__(self, *layers: Any, dropout: float = 0.0) -> None:
        object.__setattr__(self, "layers", layers)
        object.__setattr__(self, "dropout", dropout)
        if not layers:
            raise FdlError("Stacked", "no layers", "at least one recurrent layer")
        if any(layer.outputs != "all" for layer in layers[:-1]):
            raise FdlError("Stacked", "a layer that gives its last output to the next", "outputs='all' in all layers but the last")
        Dropout(dropout)

    @property
    def outputs(self) -> str:
        return self.layers[-1].outputs

    def forward(
        self,
        scope: Scope,
        x: jax.Array,
        valid: jax.Array | None = None,
        carry: Sequence[Any] | None = None,
        *,
        return_carry: bool = False,
    ) -> Any:
        ends: list[Any] = []
        for layer, start in zip(self.layers, carry or [None] * len(self.layers), strict=True):
            if ends:
                x = scope(Dropout(self.dropout), x)
            x, end = scope(layer, x, valid, start, return_carry=True)
            ends.append(end)
        return (x, tuple(ends)) if return_carry else x
