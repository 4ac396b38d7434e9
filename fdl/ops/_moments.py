"""Mean and variance, of what is valid."""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp


def widened(x: jax.Array) -> jax.Array:
    """`x` in float32 at least: in fewer bits a sum of many numbers is not one."""
    return x.astype(jnp.float64 if x.dtype == jnp.float64 else jnp.float32)


def spread_mask(mask: jax.Array, x: jax.Array) -> jax.Array:
    """A mask of `x`'s first axes, such as `[batch, time]`, in `x`'s shape."""
    if mask.dtype != jnp.bool_ or mask.ndim > x.ndim:
        raise ValueError(f"a mask of {mask.dtype}{list(mask.shape)}, not booleans over the first axes of {list(x.shape)}")
    return jnp.broadcast_to(mask.reshape(*mask.shape, *[1] * (x.ndim - mask.ndim)), x.shape)


def moments(
    x: jax.Array, axes: Sequence[int], mask: jax.Array | None = None, axis_name: Any = None
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Mean and biased variance `sum (x - mean)^2 / count` over axes, which are kept with size 1, and the count.

    Args:
        x: floats of any shape. Two passes in float32 at least: a large mean costs the variance no digits.
        axes: over which is summed.
        mask: booleans over `x`'s first axes, True where a value is valid; only those count, whatever stands elsewhere (NaN
            included). Where none is, mean and variance are 0.
        axis_name: mesh or `vmap` axes over which is summed as well.

    Returns:
        Mean, variance and count, of one shape, in float32 at least.
    """
    x = widened(x)
    axes = tuple(axis % x.ndim for axis in axes)
    if mask is None:
        size = math.prod(x.shape[axis] for axis in axes)
        count = jnp.full([1 if axis in axes else n for axis, n in enumerate(x.shape)], size, x.dtype)
        centre = lambda mean: x - mean
    else:
        valid = spread_mask(mask, x)
        x = jnp.where(valid, x, 0)
        count = valid.sum(axes, dtype=x.dtype, keepdims=True)
        centre = lambda mean: jnp.where(valid, x - mean, 0)
    total = lambda a: a if axis_name is None else jax.lax.psum(a, axis_name)
    count = total(count)
    divisor = jnp.maximum(count, 1)
    mean = total(x.sum(axes, keepdims=True)) / divisor
    return mean, total(jnp.square(centre(mean)).sum(axes, keepdims=True)) / divisor, count
