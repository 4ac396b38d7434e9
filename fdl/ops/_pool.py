"""Max and average pooling as elementwise operations on slices.

`reduce_window`, whose gradient scatters, takes a third of a small network's step on CPU; this does not.
"""

import functools
import math
import operator
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from fdl.ops._window import Padding, explicit_padding, pad, per_axis, slices, spatial_rank


def max_pool(
    x: jax.Array, window: int | Sequence[int], strides: int | Sequence[int] | None = None, padding: Padding = "VALID"
) -> jax.Array:
    """The largest value in each window.

    Args:
        x: `[batch, height, width, channels]`, or with one axis or three between batch and channels.
        window: its size, one integer for all axes or one for each; `strides` are the window's where not given.
        padding: `"VALID"`, `"SAME"`, a number for all sides, or for each axis one or `(low, high)`; padded places never win.

    Returns:
        `[batch, height', width', channels]`. Of values that tie the first in the window, row by row, gets the gradient, as in
        PyTorch.
    """
    if jnp.issubdtype(x.dtype, jnp.floating):
        return _pool(x, window, strides, padding, _larger, -jnp.inf)
    return _pool(x, window, strides, padding, jnp.maximum, jnp.iinfo(x.dtype).min)


@jax.custom_jvp
def _larger(a: jax.Array, b: jax.Array) -> jax.Array:
    """`maximum`, whose gradient is one choice; that of `jnp.maximum`, which halves it between equal values, takes longer."""
    return jnp.maximum(a, b)


@_larger.defjvp
def _(primals: tuple[jax.Array, jax.Array], tangents: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
    (a, b), (da, db) = primals, tangents
    return _larger(a, b), jnp.where(a < b, db, da)


def avg_pool(
    x: jax.Array,
    window: int | Sequence[int],
    strides: int | Sequence[int] | None = None,
    padding: Padding = "VALID",
    count_include_pad: bool = False,
) -> jax.Array:
    """The mean of each window.

    Arguments and result as for `max_pool`.

    Args:
        count_include_pad: whether padded places count, as zeros, which is PyTorch's default; here, as in TensorFlow, the mean
            is by default over the others.
    """
    total = _pool(x, window, strides, padding, operator.add, 0)
    if count_include_pad:
        return total / math.prod(per_axis(window, spatial_rank(x)))
    return total / _pool(jnp.ones((1, *x.shape[1:-1], 1), x.dtype), window, strides, padding, operator.add, 0)


def _pool(
    x: jax.Array, window: int | Sequence[int], strides: int | Sequence[int] | None, padding: Padding,
    combine: Callable[[jax.Array, jax.Array], jax.Array], neutral: float,
) -> jax.Array:  # fmt: skip
    rank = spatial_rank(x)
    window, strides = per_axis(window, rank, "window"), per_axis(window if strides is None else strides, rank, "strides")
    x = pad(x, explicit_padding(padding, x.shape[1:-1], window, strides), neutral)
    for axis in range(rank, 0, -1):  # from the last: of equal values the first one's row is the first
        x = functools.reduce(combine, slices(x, axis, window[axis - 1], strides[axis - 1]))
    return x


def adaptive_max_pool(x: jax.Array, size: int | Sequence[int]) -> jax.Array:
    """The largest value in each of `size` bins, whatever the size of the input.

    Bin `i` of `m` over `n` places is PyTorch's: from `floor(i n / m)` to `ceil((i + 1) n / m)`; two neighbours share a place
    where `m` does not divide `n`, and places serve several bins where `m > n`.

    Args:
        x: `[batch, height, width, channels]`, or with one axis or three between batch and channels.
        size: `m`, one integer for all axes or one for each.

    Returns:
        `[batch, *size, channels]`. Of values that tie the first in the bin gets the gradient, as in `max_pool`.
    """
    return _adaptive(x, size, max_pool)


def adaptive_avg_pool(x: jax.Array, size: int | Sequence[int]) -> jax.Array:
    """The mean of each of `size` bins. Bins, arguments and result as for `adaptive_max_pool`."""
    return _adaptive(x, size, avg_pool)


def _adaptive(x: jax.Array, size: int | Sequence[int], pool: Callable[..., jax.Array]) -> jax.Array:
    rank = spatial_rank(x)
    size = per_axis(size, rank, "size")
    if min(size) < 1:
        raise ValueError(f"a size of {size} bins is not positive")
    if not any(n % m for n, m in zip(x.shape[1:-1], size)):
        return pool(x, [n // m for n, m in zip(x.shape[1:-1], size)])
    for axis in range(rank, 0, -1):  # bins are rectangles: one axis after another
        n, m = x.shape[axis], size[axis - 1]
        bins = [jax.lax.slice_in_dim(x, i * n // m, -(-(i + 1) * n // m), axis=axis) for i in range(m)]
        windows = [[part.shape[axis] if a == axis else 1 for a in range(1, rank + 1)] for part in bins]
        x = jnp.concatenate([pool(part, window) for part, window in zip(bins, windows)], axis)
    return x
