"""Sliding windows: what convolution and pooling share."""

import operator
from collections.abc import Sequence
from typing import SupportsIndex

import jax
import jax.numpy as jnp

Padding = int | str | Sequence[int | tuple[int, int]]
SPATIAL = ("[batch, width, channels]", "[batch, height, width, channels]", "[batch, depth, height, width, channels]")


def spatial_rank(x: jax.Array) -> int:
    """How many spatial axes stand between batch and channels: 1, 2 or 3."""
    if not 3 <= x.ndim <= 5:
        raise ValueError(f"an input has the axes {', '.join(SPATIAL[:-1])} or {SPATIAL[-1]}, not {x.ndim} of them")
    return x.ndim - 2


def per_axis(value: int | Sequence[int], rank: int, what: str = "value") -> tuple[int, ...]:
    """An integer for all spatial axes, or one for each; `what` names it where their number is wrong."""
    values = (value,) * rank if isinstance(value, int) else tuple(value)
    if len(values) != rank:
        raise ValueError(f"{what} {values} has {len(values)} numbers for {rank} spatial axes")
    return values


def explicit_padding(
    padding: Padding, sizes: Sequence[int], window: Sequence[int], strides: Sequence[int], dilation: Sequence[int] | None = None
) -> tuple[tuple[int, int], ...]:
    """Padding as `(low, high)` an axis; a number stands for both, and one alone for every axis.

    `"VALID"` is none. `"SAME"` gives `ceil(size / stride)` outputs, the odd element standing at the high end, as in
    TensorFlow (PyTorch pads evenly, which differs for even windows and for strides).
    """
    if padding == "VALID":
        return ((0, 0),) * len(window)
    if padding != "SAME":
        try:
            axes = (padding,) * len(window) if isinstance(padding, int) else tuple(padding)
            pairs = tuple((p, p) if isinstance(p, int) else _pair(*p) for p in axes)
        except (TypeError, ValueError):
            expected = "'SAME', 'VALID', a whole number, or for each axis one or a pair (low, high)"
            raise ValueError(f"padding {padding!r} is none of {expected}") from None
        if len(pairs) != len(window):
            raise ValueError(f"padding {pairs} has {len(pairs)} pairs for {len(window)} spatial axes")
        return pairs
    reach = [(k - 1) * d + 1 for k, d in zip(window, dilation or (1,) * len(window))]
    total = [max((-(-n // s) - 1) * s + r - n, 0) for n, r, s in zip(sizes, reach, strides)]
    return tuple((t // 2, t - t // 2) for t in total)


def _pair(low: SupportsIndex, high: SupportsIndex) -> tuple[int, int]:
    return operator.index(low), operator.index(high)


def slices(x: jax.Array, axis: int, window: int, stride: int, dilation: int = 1) -> list[jax.Array]:
    """For each place in the window, the strided slice of `x` that this place sees."""
    reach = (window - 1) * dilation + 1
    if x.shape[axis] < reach:
        raise ValueError(f"a window reaching over {reach} does not fit into axis {axis}, of padded size {x.shape[axis]}")
    count = (x.shape[axis] - reach) // stride + 1
    starts = [place * dilation for place in range(window)]
    return [jax.lax.slice_in_dim(x, start, start + (count - 1) * stride + 1, stride, axis) for start in starts]


def pad(x: jax.Array, padding: Sequence[tuple[int, int]], value: float = 0, dilation: Sequence[int] | None = None) -> jax.Array:
    """`x` with its spatial axes padded, or cut where `padding` is negative; of `dilation` `d`, its elements `d` apart."""
    spread = dilation or (1,) * len(padding)
    if not any(map(any, padding)) and {*spread} == {1}:
        return x
    config = [(0, 0, 0), *((low, high, d - 1) for (low, high), d in zip(padding, spread)), (0, 0, 0)]
    return jax.lax.pad(x, jnp.asarray(value, x.dtype), config)
