from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax

from fdl.core import Layer, Scope

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


@dataclass(frozen=True)
class Flatten(Layer):
    """`[batch, ...]` to `[batch, everything else]`."""

    def forward(self, scope: Scope, x: jax.Array) -> jax.Array:
        return x.reshape(x.shape[0], -1)
