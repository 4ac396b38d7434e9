"""Losses of predictions against targets of the same shape, without broadcasting.

A `mask` is boolean, over leading axes: where it is false nothing counts, whatever stands there. Means are taken over every
element that is kept, and are 0 where none is.
"""

import math

import jax
import jax.numpy as jnp

from fdl.losses._reduce import check_same, kept, mean, wide

Mask = jax.Array | None


def _errors(predictions: jax.Array, targets: jax.Array, mask: Mask) -> jax.Array:
    check_same(predictions, targets)
    predictions = wide(kept(mask, predictions))
    return predictions - kept(mask, targets).astype(predictions.dtype)


def mean_squared_error(predictions: jax.Array, targets: jax.Array, *, mask: Mask = None) -> jax.Array:
    """Mean of `(prediction - target)^2`.

    Args:
        predictions: `[...]`; `targets` have the same shape.
        mask: booleans over leading axes.

    Raises:
        ValueError: for unequal shapes, or a mask that does not fit.
    """
    return mean(jnp.square(_errors(predictions, targets, mask)), mask)


def mean_absolute_error(predictions: jax.Array, targets: jax.Array, *, mask: Mask = None) -> jax.Array:
    """Mean of `|prediction - target|`. Arguments and errors as for `mean_squared_error`."""
    return mean(jnp.abs(_errors(predictions, targets, mask)), mask)


def huber(predictions: jax.Array, targets: jax.Array, *, delta: float = 1.0, mask: Mask = None) -> jax.Array:
    """Mean of `e^2 / 2` where `|e| <= delta`, else `delta (|e| - delta / 2)`, `e = prediction - target` (Huber 1964).

    `delta` is positive. Other arguments and errors as for `mean_squared_error`.
    """
    e = jnp.abs(_errors(predictions, targets, mask))
    near = jnp.minimum(e, delta)
    return mean(near * (e - near / 2), mask)


def smooth_l1(predictions: jax.Array, targets: jax.Array, *, beta: float = 1.0, mask: Mask = None) -> jax.Array:
    """`huber(delta=beta) / beta`: of slope 1 far from 0 (Girshick 2015, "Fast R-CNN", equation 3, where beta is 1).

    `beta` is positive. Other arguments and errors as for `mean_squared_error`.
    """
    return huber(predictions, targets, delta=beta, mask=mask) / beta


def log_cosh(predictions: jax.Array, targets: jax.Array, *, mask: Mask = None) -> jax.Array:
    """Mean of `log cosh(prediction - target)`: a smooth `huber`. Arguments and errors as for `mean_squared_error`."""
    e = _errors(predictions, targets, mask)
    return mean(jnp.logaddexp(e, -e) - math.log(2), mask)


def quantile(predictions: jax.Array, targets: jax.Array, *, q: float = 0.5, mask: Mask = None) -> jax.Array:
    """Mean of `max(q e, (q - 1) e)`, `e = target - prediction`: least at the targets' q-quantile (Koenker & Bassett 1978).

    `q` is in 0..1, a number or an array for the last axis. Other arguments and errors as for `mean_squared_error`.
    """
    e = -_errors(predictions, targets, mask)
    q_ = jnp.broadcast_to(jnp.asarray(q, e.dtype), e.shape)
    return mean(jnp.maximum(q_ * e, (q_ - 1) * e), mask)


def cosine_distance(predictions: jax.Array, targets: jax.Array, *, mask: Mask = None) -> jax.Array:
    """Mean of `1 - p . t / (|p| |t|)` over vectors along the last axis.

    Args:
        predictions: `[..., features]`, as `targets`. A vector of zeros has distance 1 to all, and gradient 0.
        mask: booleans over leading axes of `[...]`.

    Raises:
        ValueError: for unequal shapes, or a mask that does not fit.
    """
    check_same(predictions, targets)

    def unit(x: jax.Array) -> jax.Array:
        largest = jnp.abs(x).max(-1, keepdims=True)
        x = x / jax.lax.stop_gradient(jnp.where(largest > 0, largest, 1))  # its square may be out of range
        squares = jnp.square(x).sum(-1, keepdims=True)
        return jnp.where(squares > 0, x * jax.lax.rsqrt(jnp.where(squares > 0, squares, 1)), 0)

    p = wide(kept(mask, predictions))
    return mean(1 - (unit(p) * unit(kept(mask, targets).astype(p.dtype))).sum(-1), mask)


def gaussian_nll(predictions: tuple[jax.Array, jax.Array], targets: jax.Array, *, mask: Mask = None) -> jax.Array:
    r"""Mean of `(log_variance + (target - mean)^2 / exp(log_variance) + log 2 pi) / 2`.

    Nix & Weigend 1994, "Estimating the mean and variance of the target probability distribution".

    Args:
        predictions: `(means, log_variances)`, both of the targets' shape.
        targets: `[...]`.
        mask: booleans over leading axes.

    Raises:
        ValueError: for unequal shapes, or a mask that does not fit.
    """
    means, log_variances = predictions
    check_same(log_variances, targets)
    s = wide(kept(mask, log_variances))
    return mean((s + jnp.square(_errors(means, targets, mask)) * jnp.exp(-s) + math.log(2 * math.pi)) / 2, mask)
