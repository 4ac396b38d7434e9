"""Sliding windows: what convolution and pooling share."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

Padding = str | Sequence[tuple[int, int]]


def pair(value: int | Sequence[int]) -> tuple[int, int]:
    """An integer for both spatial axes, or one for each."""
    height, width = (value, value) if isinstance(value, int) else value
    return height, width


def explicit_padding(
    padding: Padding, sizes: Sequence[int], window: Sequence[int], strides: Sequence[int], dilation: Sequence[int] = (1, 1)
) -> tuple[tuple[int, int], ...]:
    """Padding as `(low, high)` an axis.

    `"VALID"` is none. `"SAME"` gives `ceil(size / stride)` outputs, the odd element standing at the high end, as in
    TensorFlow (PyTorch pads evenly, which differs for even windows and for strides).
    """
    if not isinstance(padding, str):
        return tuple((int(low), int(high)) for low, high in padding)
    if padding == "VALID":
        return ((0, 0),) * len(window)
    if padding != "SAME":
        raise ValueError(f"padding {padding!r} is neither 'SAME', 'VALID' nor a pair (low, high) for each axis")
    total = [max((-(-n // s) - 1) * s + (k - 1) * d + 1 - n, 0) for n, k, s, d in zip(sizes, window, strides, dilation)]
    return tuple((t // 2, t - t // 2) for t in total)


def slices(x: jax.Array, axis: int, window: int, stride: int, dilation: int = 1) -> list[jax.Array]:
    """For each place in the window, the strided slice of `x` that this place sees."""
    reach = (window - 1) * dilation + 1
    if x.shape[axis] < reach:
        raise ValueError(f"a window reaching over {reach} does not fit into axis {axis}, of padded size {x.shape[axis]}")
    count = (x.shape[axis] - reach) // stride + 1
    starts = [place * dilation for place in range(window)]
    return [jax.lax.slice_in_dim(x, start, start + (count - 1) * stride + 1, stride, axis) for start in starts]


def pad(x: jax.Array, padding: Sequence[tuple[int, int]], value: float = 0) -> jax.Array:
    """`[batch, height, width, channels]` with its two spatial axes padded, or cut where `padding` is negative."""
    if not any(map(any, padding)):
        return x
    return jax.lax.pad(x, jnp.asarray(value, x.dtype), [(0, 0, 0), *((low, high, 0) for low, high in padding), (0, 0, 0)])
