from dataclasses import dataclass

import jax

from fdl import ops
from fdl.core import Layer, Scope


@dataclass(frozen=True)
class MaxPool(Layer):
    """The largest value in each window: `ops.max_pool`.

    Args:
        window: its size, one integer for all spatial axes or one for each.
        strides: the window's where not given.
        padding: `"VALID"` (default), `"SAME"`, a number for all sides, or for each axis one or `(low, high)`.

    Input `[batch, height, width, channels]`, output `[batch, height', width', channels]`, or with one axis or three between
    batch and channels.
    """

    window: int | tuple[int, ...] = 2
    strides: int | tuple[int, ...] | None = None
    padding: int | str | tuple[int | tuple[int, int], ...] = "VALID"

    def forward(self, scope: Scope, x: jax.Array) -> jax.Array:
        return ops.max_pool(x, self.window, self.strides, self.padding)


@dataclass(frozen=True)
class AvgPool(Layer):
    """The mean of each window: `ops.avg_pool`, which describes `count_include_pad`. Other arguments and shapes as for `MaxPool`."""

    window: int | tuple[int, ...] = 2
    strides: int | tuple[int, ...] | None = None
    padding: int | str | tuple[int | tuple[int, int], ...] = "VALID"
    count_include_pad: bool = False

    def forward(self, scope: Scope, x: jax.Array) -> jax.Array:
        return ops.avg_pool(x, self.window, self.strides, self.padding, self.count_include_pad)


@dataclass(frozen=True)
class GlobalMaxPool(Layer):
    """The largest value of each channel, `[batch, ..., channels]` to `[batch, channels]`; values that tie share the gradient equally."""

    def forward(self, scope: Scope, x: jax.Array) -> jax.Array:
        return x.max(range(1, ops.spatial_rank(x) + 1))


@dataclass(frozen=True)
class GlobalAvgPool(Layer):
    """The mean of each channel, `[batch, ..., channels]` to `[batch, channels]`."""

    def forward(self, scope: Scope, x: jax.Array) -> jax.Array:
        return x.mean(range(1, ops.spatial_rank(x) + 1))


@dataclass(frozen=True)
class AdaptiveMaxPool(Layer):
    """The largest value in each of `size` bins: `ops.adaptive_max_pool`, which says where they lie.

    Input `[batch, height, width, channels]`, output `[batch, size, size, channels]`, or with one axis or three between
    batch and channels.
    """

    size: int | tuple[int, ...]

    def forward(self, scope: Scope, x: jax.Array) -> jax.Array:
        return ops.adaptive_max_pool(x, self.size)


@dataclass(frozen=True)
class AdaptiveAvgPool(Layer):
    """The mean of each of `size` bins: `ops.adaptive_avg_pool`. Argument and shapes as for `AdaptiveMaxPool`."""

    size: int | tuple[int, ...]

    def forward(self, scope: Scope, x: jax.Array) -> jax.Array:
        return ops.adaptive_avg_pool(x, self.size)


@dataclass(frozen=True)
class Upsample(Layer):
    """Larger feature maps by repetition or interpolation: `ops.upsample`, whose arguments these are.

    Input `[batch, height, width, channels]`, output `[batch, height', width', channels]`, or with one axis or three between
    batch and channels.
    """

    scale: int | tuple[int, ...] = 2
    method: ops.Method = "nearest"
    align_corners: bool = False
    size: int | tuple[int, ...] | None = None

    def forward(self, scope: Scope, x: jax.Array) -> jax.Array:
        return ops.upsample(x, self.scale, self.method, self.align_corners, self.size)
