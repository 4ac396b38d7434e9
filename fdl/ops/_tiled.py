"""Convolutions of stride 1 that compute a tile of neighbouring outputs along the width at a time.

`blocks`, for few channels: a tile of inputs is one place with more channels, so that the kernel's inner products grow long
enough to be fast. The kernel becomes a band matrix, zero where an output of the tile does not see an input of it.

`winograd`, for many channels: Winograd 1980, "Arithmetic complexity of computations"; Lavin & Gray 2016, "Fast algorithms
for convolutional neural networks". `m` outputs of a filter with `r` taps take `n = m + r - 1` multiplications, not `m r`:

    y = A^T [(G g) * (B^T d)],    d the n inputs, g the r taps, y the m outputs.

Only the width is transformed, so that each of the `n` products is again a convolution, with a kernel one wide, and the
arithmetic of the transforms stays small beside them.

Everything is linear in each operand and made of convolutions without stride: gradients of every order follow by themselves.
"""

import functools
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from numpy.polynomial.polynomial import polyfromroots

from fdl.ops._window import pad

Conv = Callable[[jax.Array, jax.Array, Fraction], jax.Array]
OUTPUTS = {"blocks": 2, "winograd": 4}  # in a tile
POINTS = (0.0, 1.0, -1.0, 2.0, -0.5, 0.5, -2.0)  # small and exact: with them a float32 loses two bits, with larger ones more


@functools.partial(jax.jit, static_argnums=(0, 1, 4, 5))  # a name in the jaxpr: `nn.summary` counts its convolutions alone
def conv_by_tiles(
    form: Literal["blocks", "winograd"], conv: Conv, x: jax.Array, kernel: jax.Array, padding: tuple[tuple[int, int], ...], share: Fraction
) -> jax.Array:
    """The convolution of `x` `[batch, height, width, channels]` by `kernel`, made of convolutions `conv` without padding.

    `share` of its multiplications are asked for, and of those of the convolutions that it is made of, `conv`'s third argument.
    """
    x = pad(x, padding)
    width = x.shape[2] - kernel.shape[1] + 1
    y = {"blocks": _blocks, "winograd": _winograd}[form](conv, x, kernel, -(-width // OUTPUTS[form]), share * width * kernel.shape[1])
    return y.reshape(*y.shape[:2], -1, kernel.shape[-1])[:, :, :width]


def _blocks(conv: Conv, x: jax.Array, kernel: jax.Array, tiles: int, asked: Fraction) -> jax.Array:
    size, (height, taps, channels, features) = OUTPUTS["blocks"], kernel.shape
    seen = -(-(taps - 1) // size) + 1  # tiles of inputs that a tile of outputs sees
    shifted = [jnp.pad(kernel, ((0, 0), (i, seen * size - taps - i), (0, 0), (0, 0))) for i in range(size)]
    x = pad(x, ((0, 0), (0, (tiles + seen - 1) * size - x.shape[2])))
    x = x.reshape(*x.shape[:2], tiles + seen - 1, size * channels)
    return conv(x, jnp.stack(shifted, 3).reshape(height, seen, size * channels, size * features), asked / (tiles * seen * size**2))


def _winograd(conv: Conv, x: jax.Array, kernel: jax.Array, tiles: int, asked: Fraction) -> jax.Array:
    size = OUTPUTS["winograd"]
    back, filters, transform = matrices(size, kernel.shape[1])
    # The barriers keep XLA from computing again, for every use, what is behind them.
    x = jax.lax.optimization_barrier(pad(x, ((0, 0), (0, (tiles - 1) * size + len(transform) - x.shape[2]))))
    places = [jax.lax.slice_in_dim(x, i, i + (tiles - 1) * size + 1, size, 2) for i in range(len(transform))]
    products = []
    for inputs, weights in zip(transform, filters):
        part = jnp.tensordot(jnp.asarray(weights, kernel.dtype), kernel, ((0,), (1,)))[:, None]
        products.append(conv(jax.lax.optimization_barrier(_sum(inputs, places)), part, asked / (tiles * len(transform))))
    products = jax.lax.optimization_barrier(products)
    return jnp.stack([_sum(outputs, products) for outputs in back], 3)


def _sum(weights: np.ndarray, arrays: Sequence[jax.Array]) -> Any:
    """Weighted, without the terms of weight 0."""
    return functools.reduce(jnp.add, [a if w == 1 else float(w) * a for w, a in zip(weights, arrays) if w])


@functools.cache
def matrices(outputs: int, taps: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`A^T` `[m, n]`, `G` `[n, r]` and `B^T` `[n, n]` of Toom and Cook for the first `n - 1` of `POINTS` and infinity.

    Rows of `B^T` are scaled to a greatest element of 1, and those of `G` against them, which halves the rounding error.
    """
    points = np.array(POINTS[: outputs + taps - 2])
    count = len(points) + 1
    powers = lambda size: np.vstack([points[:, None] ** np.arange(size), np.eye(size)[-1]])
    others = [np.append(polyfromroots(np.delete(points, i)), 0) for i in range(count - 1)]
    transform = np.vstack([*others, polyfromroots(points)])
    at_points = [np.prod(point - np.delete(points, i)) for i, point in enumerate(points)]
    filters = powers(taps) / np.append(at_points, 1)[:, None]
    scale = np.abs(transform).max(1, keepdims=True)
    return powers(outputs).T, filters * scale, transform / scale
