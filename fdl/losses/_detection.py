"""Losses of boxes `(x1, y1, x2, y2)`, `x1 <= x2`, `y1 <= y2`. Their coordinates alone are compared with `smooth_l1`."""

import jax
import jax.numpy as jnp

from fdl.losses._reduce import check_same, kept, mean, wide

Mask = jax.Array | None


def _area(box: jax.Array) -> jax.Array:
    return jax.nn.relu(box[..., 2] - box[..., 0]) * jax.nn.relu(box[..., 3] - box[..., 1])


def _ratio(part: jax.Array, whole: jax.Array) -> jax.Array:
    return jnp.where(whole > 0, part / jnp.where(whole > 0, whole, 1), 0)


def _overlap(a: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Intersection over union, and the part of the least box around both that neither covers."""
    check_same(a, b)
    a, b = wide(a), b.astype(wide(a).dtype)
    if a.shape[-1] != 4:
        raise ValueError(f"boxes are [..., 4], not {a.shape}")
    low, high = slice(None, 2), slice(2, None)
    join = lambda lows, highs: jnp.concatenate([lows, highs], -1)
    common = _area(join(jnp.maximum(a[..., low], b[..., low]), jnp.minimum(a[..., high], b[..., high])))
    around = _area(join(jnp.minimum(a[..., low], b[..., low]), jnp.maximum(a[..., high], b[..., high])))
    union = _area(a) + _area(b) - common
    return _ratio(common, union), _ratio(around - union, around)


def box_iou(a: jax.Array, b: jax.Array) -> jax.Array:
    """Intersection over union of pairs of boxes, in 0..1; 0 for two boxes without area.

    Args:
        a: `[..., 4]`; `b` has the same shape (`jax.vmap` gives every pair of two lists).

    Returns:
        `[...]`, in float32 at least.

    Raises:
        ValueError: for unequal shapes, or a last axis that is not 4.
    """
    return _overlap(a, b)[0]


def iou(predictions: jax.Array, targets: jax.Array, *, mask: Mask = None) -> jax.Array:
    """Mean of `1 - IoU` of boxes `[..., 4]`; its gradient is 0 for boxes that do not meet.

    `mask`: booleans over leading axes of `[...]`, such as the boxes that are there. Errors as for `box_iou`.
    """
    return mean(1 - _overlap(kept(mask, predictions), kept(mask, targets))[0], mask)


def giou(predictions: jax.Array, targets: jax.Array, *, mask: Mask = None) -> jax.Array:
    """Mean of `1 - GIoU`, `GIoU = IoU - |C minus the union| / |C|`, `C` the least box around both; in 0..2.

    Rezatofighi et al. 2019, "Generalized Intersection over Union", algorithm 1. Arguments and errors as for `iou`.
    """
    ratio, empty = _overlap(kept(mask, predictions), kept(mask, targets))
    return mean(1 - ratio + empty, mask)
