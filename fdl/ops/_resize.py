"""Enlarging feature maps."""

from collections.abc import Sequence
from typing import Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np

from fdl.ops._window import per_axis, spatial_rank

Method = Literal["nearest", "linear"]


def upsample(
    x: jax.Array,
    scale: int | Sequence[int] = 2,
    method: Method = "nearest",
    align_corners: bool = False,
    size: int | Sequence[int] | None = None,
) -> jax.Array:
    """Enlarges the spatial axes, from `n` places to `m`.

    `"nearest"` repeats: output `i` is input `floor((i + 1/2) n / m)` (PyTorch's `"nearest-exact"`; for whole factors
    `"nearest"` is the same). `"linear"` interpolates along each axis, that is bilinearly and trilinearly over two and three,
    at `(i + 1/2) n / m - 1/2`, held within the input; with `align_corners` at `i (n - 1) / (m - 1)`, so that the outermost
    outputs are the outermost inputs. Both as in PyTorch.

    Args:
        x: `[batch, height, width, channels]`, or with one axis or three between batch and channels; floating point for
            `"linear"`.
        scale: `m / n`, one integer for all axes or one for each.
        method: `"nearest"` or `"linear"`.
        align_corners: for `"linear"` alone.
        size: `m`, one integer for all axes or one for each, instead of `scale`; no less than `n`.

    Returns:
        `[batch, *m, channels]`, of `x`'s dtype.
    """
    rank, sizes = spatial_rank(x), x.shape[1:-1]
    if method not in get_args(Method) or (align_corners and method != "linear"):
        raise ValueError(f"method {method!r}{' with align_corners' * align_corners} is neither 'nearest' nor 'linear'")
    target = [n * f for n, f in zip(sizes, per_axis(scale, rank, "scale"))] if size is None else per_axis(size, rank, "size")
    if any(m < n or m < 1 for n, m in zip(sizes, target)):
        raise ValueError(f"a target of size {tuple(target)} is smaller than the input's {sizes}")
    for axis, (n, m) in enumerate(zip(sizes, target), 1):
        if method == "linear" and m > n:
            x = _interpolate(x, axis, np.arange(m) * (n - 1) / (m - 1) if align_corners else (np.arange(m) + 0.5) * n / m - 0.5)
        elif m > n:
            x = jnp.repeat(x, m // n, axis) if m % n == 0 else x.take(((2 * np.arange(m) + 1) * n) // (2 * m), axis)
    return x


def _interpolate(x: jax.Array, axis: int, places: np.ndarray) -> jax.Array:
    """Between neighbours along an axis, as a product with a matrix: its gradient scatters nothing."""
    distance = abs(places.clip(0, x.shape[axis] - 1)[:, None] - np.arange(x.shape[axis]))
    weights = jnp.asarray(np.maximum(1 - distance, 0), x.dtype)
    return jnp.moveaxis(jnp.tensordot(x, weights, ((axis,), (1,))), -1, axis)
