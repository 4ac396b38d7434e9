"""Losses of overlapping regions: soft forms of the ratios by which segmentations are judged."""

import jax
import jax.numpy as jnp

from fdl.losses._reduce import check_labels, kept, mean, spread, wide

Mask = jax.Array | None


def tversky(
    logits: jax.Array, labels: jax.Array, *, alpha: float = 0.5, beta: float = 0.5, smooth: float = 1.0, mask: Mask = None
) -> jax.Array:
    """One minus the mean of `(TP + s) / (TP + alpha FP + beta FN + s)` over examples and classes.

    With `p = softmax(logits)` and one-hot labels `t`, summed over the places of one example: `TP = sum p t`,
    `FP = sum p (1 - t)`, `FN = sum (1 - p) t`. Salehi et al. 2017, "Tversky loss function for image segmentation",
    equation 3, with the smoothing of V-Net.

    Args:
        logits: `[batch, ..., classes]`, with at least one axis of places.
        labels: integers `[batch, ...]`.
        alpha: weight of false positives; `beta` that of false negatives.
        smooth: `s`, at least 0; with 1, the default, a class that an example lacks costs little.
        mask: booleans over leading axes of the labels; an example without a valid place does not count.

    Raises:
        ValueError: for labels of another shape, or that are not integers, or a mask that does not fit.
    """
    check_labels("tversky", logits, labels)
    if labels.ndim < 2:
        raise ValueError(f"tversky takes labels [batch, places ...], not {labels.shape}")
    p = kept(mask, jax.nn.softmax(wide(kept(mask, logits))))
    t = kept(mask, jax.nn.one_hot(kept(mask, labels).astype(jnp.int32), logits.shape[-1], dtype=p.dtype))
    places = tuple(range(1, labels.ndim))
    hits, predicted, true = (p * t).sum(places), p.sum(places), t.sum(places)
    below = hits + alpha * (predicted - hits) + beta * (true - hits) + smooth
    ratio = (hits + smooth) / jnp.where(below == 0, 1, below)
    keep = spread(mask, labels.shape)
    return mean(1 - ratio, keep if keep is None else keep.any(places))


def dice(logits: jax.Array, labels: jax.Array, *, smooth: float = 1.0, mask: Mask = None) -> jax.Array:
    """`tversky` with `alpha = beta = 1/2`: one minus the Dice coefficient, or F1 (Milletari et al. 2016, "V-Net")."""
    return tversky(logits, labels, alpha=0.5, beta=0.5, smooth=smooth, mask=mask)


def jaccard(logits: jax.Array, labels: jax.Array, *, smooth: float = 1.0, mask: Mask = None) -> jax.Array:
    """`tversky` with `alpha = beta = 1`: one minus intersection over union (Rahman & Wang 2016)."""
    return tversky(logits, labels, alpha=1.0, beta=1.0, smooth=smooth, mask=mask)
