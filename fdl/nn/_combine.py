import functools
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp

from fdl.core import FdlError, Layer, Scope, choose

Child = Layer | Callable[..., Any]


@dataclass(frozen=True, init=False)
class Sequential(Layer):
    """Applies layers, or plain functions, one after another: `Sequential(nn.Dense(32), nn.relu, nn.Dense(10))`.

    The first takes all inputs, each later one the output of the one before. Children are named by kind and count:
    `dense_0`, `dense_1`, ...
    """

    layers: tuple[Child, ...]

    def __init__(self, *layers: Child) -> None:
        object.__setattr__(self, "layers", layers)

    def forward(self, scope: Scope, *inputs: Any) -> Any:
        for layer in self.layers:
            inputs = (scope(layer, *inputs),)
        return inputs[0] if len(inputs) == 1 else inputs


@dataclass(frozen=True)
class Residual(Layer):
    """`y = shortcut(x) + body(x)` (He et al. 2016, "Deep Residual Learning for Image Recognition").

    Args:
        body: a layer or function.
        shortcut: likewise, for a body that changes the shape; the identity where not given.
    """

    body: Child
    shortcut: Child | None = None

    def forward(self, scope: Scope, x: jax.Array) -> jax.Array:
        y = scope(self.body, x, name="body")
        return y + (x if self.shortcut is None else scope(self.shortcut, x, name="shortcut"))


@dataclass(frozen=True, init=False)
class Parallel(Layer):
    """Several branches on the same inputs, and what they give combined: `nn.Parallel(nn.Conv(8, 1), nn.Conv(8, 5))`.

    Args:
        branches: layers or functions; each takes all inputs. They are named as in `Sequential`.
        combine: `"concatenate"` (default; along the last axis, the channels), `"sum"`, or a function of as many arrays as
            there are branches.
    """

    branches: tuple[Child, ...]
    combine: Literal["concatenate", "sum"] | Callable[..., Any]

    def __init__(self, *branches: Child, combine: Literal["concatenate", "sum"] | Callable[..., Any] = "concatenate") -> None:
        if not branches:
            raise FdlError("nn.Parallel", "no branch", "at least one layer or function")
        if not callable(combine):
            choose("nn.Parallel combine", combine, _COMBINE)
        object.__setattr__(self, "branches", branches)
        object.__setattr__(self, "combine", combine)

    def forward(self, scope: Scope, *inputs: Any) -> Any:
        combine = self.combine if callable(self.combine) else _COMBINE[self.combine]
        return combine(*[scope(branch, *inputs) for branch in self.branches])


_COMBINE: dict[str, Callable[..., Any]] = {
    "concatenate": lambda *outputs: jnp.concatenate(outputs, -1),
    "sum": lambda *outputs: functools.reduce(operator.add, outputs),
}


@dataclass(frozen=True)
class Flatten(Layer):
    """`[batch, ...]` to `[batch, everything else]`."""

    def forward(self, scope: Scope, x: jax.Array) -> jax.Array:
        return x.reshape(x.shape[0], -1)
