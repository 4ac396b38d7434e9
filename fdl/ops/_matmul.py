"""A product with a matrix along the last axis, whose gradients are as fast as itself."""

import math

import jax


def matmul(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """`y[..., j] = sum_i x[..., i] kernel[i, j]`: `x @ kernel`.

    On CPU the leading axes are joined, for XLA multiplies a kernel's gradient over several axes through transposed
    copies: 1.3 to 2.4 times slower, both gradients together. Elsewhere they stay apart, for they may be sharded.

    Args:
        x: `[..., inputs]`.
        kernel: `[inputs, outputs]`.

    Returns:
        `[..., outputs]`.
    """
    if x.ndim < 3 or jax.default_backend() != "cpu":
        return x @ kernel
    return (x.reshape(math.prod(x.shape[:-1]), x.shape[-1]) @ kernel).reshape(*x.shape[:-1], kernel.shape[-1])
