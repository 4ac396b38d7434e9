"""Max and average pooling as elementwise operations on strided slices.

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
        padding: `"VALID"`, `"SAME"` or `(low, high)` for each axis; padded places never win.

    Returns:
        `[batch, height', width', channels]`. Where two values tie, each gets half of the gradient, as in
        `jnp.maximum`; PyTorch gives it to the first.
    """
    lowest = -jnp.inf if jnp.issubdtype(x.dtype, jnp.floating) else jnp.iinfo(x.dtype).min
    return _pool(x, window, strides, padding, jnp.maximum, lowest)


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
    for axis, (size, stride) in enumerate(zip(window, strides), 1):
        x = functools.reduce(combine, slices(x, axis, size, stride))
    return x


def adaptive_max_pool(x: jax.Array, size: int | Sequence[int]) -> jax.Array:
    """The largest value in each of `size` bins, whatever the size of the input.

    Bin `i` of `m` over `n` places is PyTorch's: from `floor(i n / m)` to `ceil((i + 1) n / m)`; two neighbours share a place
    where `m` does not divide `n`, and places serve several bins where `m > n`.

    Args:
        x: `[batch, height, width, channels]`, or with one axis or three between batch and channels.
        size: `m`, one integer for all axes or one for each.

    Returns:
        `[batch, *size, channels]`. Values that tie share the gradient.
    """
    return _adaptive(x, size, jnp.max, max_pool)


def adaptive_avg_pool(x: jax.Array, size: int | Sequence[int]) -> jax.Array:
    """The mean of each of `size` bins. Bins, arguments and result as for `adaptive_max_pool`."""
    return _adaptive(x, size, jnp.mean, avg_pool)


def _adaptive(x: jax.Array, size: int | Sequence[int], reduce: Callable[..., jax.Array], pool: Callable[..., jax.Array]) -> jax.Array:
    size = per_axis(size, spatial_rank(x), "size")
    if min(size) < 1:
        raise ValueError(f"a size of {size} bins is not positive")
    if not any(n % m for n, m in zip(x.shape[1:-1], size)):
        return pool(x, [n // m for n, m in zip(x.shape[1:-1], size)])
    for axis, m in enumerate(size, 1):  # bins are rectangles: one axis after another
        n = x.shape[axis]
        bins = [jax.lax.slice_in_dim(x, i * n // m, -(-(i + 1) * n // m), axis=axis) for i in range(m)]
        x = jnp.concatenate([reduce(part, axis, keepdims=True) for part in bins], axis)
    return x
