"""Max and average pooling as elementwise operations on strided slices.

`reduce_window`, whose gradient scatters, takes a third of a small network's step on CPU; this does not.
"""

import functools
import operator
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from fdl.ops._window import Padding, explicit_padding, pad, per_axis, slices


def max_pool(
    x: jax.Array, window: int | Sequence[int], strides: int | Sequence[int] | None = None, padding: Padding = "VALID"
) -> jax.Array:
    """The largest value in each window.

    Args:
        x: `[batch, height, width, channels]`.
        window: its height and width; `strides` are the window's where not given.
        padding: `"VALID"`, `"SAME"` or `(low, high)` for height and width; padded places never win.

    Returns:
        `[batch, height', width', channels]`. Where two values tie, each gets half of the gradient, as in
        `jnp.maximum`; PyTorch gives it to the first.
    """
    lowest = -jnp.inf if jnp.issubdtype(x.dtype, jnp.floating) else jnp.iinfo(x.dtype).min
    return _pool(x, window, strides, padding, jnp.maximum, lowest)


def avg_pool(
    x: jax.Array, window: int | Sequence[int], strides: int | Sequence[int] | None = None, padding: Padding = "VALID"
) -> jax.Array:
    """The mean of each window, over the places that are not padding (as TensorFlow counts; PyTorch counts padding too).

    Arguments and result as for `max_pool`.
    """
    total = _pool(x, window, strides, padding, operator.add, 0)
    count = _pool(jnp.ones((1, *x.shape[1:3], 1), x.dtype), window, strides, padding, operator.add, 0)
    return total / count


def _pool(
    x: jax.Array, window: int | Sequence[int], strides: int | Sequence[int] | None, padding: Padding,
    combine: Callable[[jax.Array, jax.Array], jax.Array], neutral: float,
) -> jax.Array:  # fmt: skip
    if x.ndim != 4:
        raise ValueError(f"pooling takes [batch, height, width, channels], not {x.ndim} axes")
    window, strides = pair(window), pair(window if strides is None else strides)
    x = pad(x, explicit_padding(padding, x.shape[1:3], window, strides), neutral)
    for axis in (0, 1):
        x = functools.reduce(combine, slices(x, axis + 1, window[axis], strides[axis]))
    return x
