from dataclasses import dataclass

import jax

from fdl import ops
from fdl.core import Layer, Scope


@dataclass(frozen=True)
class MaxPool(Layer):
    """The largest value in each window: `ops.max_pool`.

    Args:
        window: height and width, one integer for both.
        strides: the window's where not given.
        padding: `"VALID"` (default), `"SAME"` or `(low, high)` for height and width.

    Input `[batch, height, width, channels]`, output `[batch, height', width', channels]`.
    """

    window: int | tuple[int, int] = 2
    strides: int | tuple[int, int] | None = None
    padding: str | tuple[tuple[int, int], tuple[int, int]] = "VALID"

    def forward(self, scope: Scope, x: jax.Array) -> jax.Array:
        return ops.max_pool(x, self.window, self.strides, self.padding)


@dataclass(frozen=True)
class AvgPool(Layer):
    """The mean of each window: `ops.avg_pool`. Arguments and shapes as for `MaxPool`."""

    window: int | tuple[int, int] = 2
    strides: int | tuple[int, int] | None = None
    padding: str | tuple[tuple[int, int], tuple[int, int]] = "VALID"

    def forward(self, scope: Scope, x: jax.Array) -> jax.Array:
        return ops.avg_pool(x, self.window, self.strides, self.padding)
