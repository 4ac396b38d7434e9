"""Losses of scores against classes. A `mask` is boolean, over leading axes of the labels: where it is false nothing counts."""

import jax
import jax.numpy as jnp
from jax.scipy.special import xlogy

from fdl.losses._reduce import check_labels, check_same, kept, mean, wide

Mask = jax.Array | None


def _index(labels: jax.Array, classes: int) -> tuple[jax.Array, jax.Array]:
    """Labels wide enough to be compared with the count of classes (256 is 0 in 8 bits), and whether each is a class."""
    labels = labels.astype(jnp.int32) if labels.dtype.itemsize < 4 else labels
    return labels, (labels >= 0) & (labels < classes)


def at_label(values: jax.Array, labels: jax.Array) -> jax.Array:
    """`values[..., label]`; NaN for a label that is no class."""
    labels, inside = _index(labels, values.shape[-1])  # a negative index would count from the end
    chosen = jnp.take_along_axis(values, labels[..., None], -1, mode="fill", fill_value=jnp.nan)[..., 0]
    return jnp.where(inside, chosen, jnp.nan)


def cross_entropy(
    logits: jax.Array, labels: jax.Array, *, mask: Mask = None, class_weights: jax.Array | None = None, label_smoothing: float = 0.0
) -> jax.Array:
    r"""Mean of `-log p[label]`, `p = softmax(logits)`, in nats.

    With weights `w` and smoothing `s` (Szegedy et al. 2016, "Rethinking the Inception Architecture", section 7) over
    `C` classes, as in PyTorch: the sum of `-(1 - s) w[y] log p[y] - s / C sum_c w[c] log p[c]` by the sum of `w[y]`.

    Args:
        logits: `[..., classes]`, finite.
        labels: integers `[...]` in 0..classes-1. A label out of range gives NaN (fdl's data sets are checked before).
        mask: booleans over leading axes of the labels, as in `ops.length_mask`; where false, neither logits nor label
            matter, whatever stands there. The mean is over the others, 0 where there are none.
        class_weights: `[classes]`, positive.
        label_smoothing: `s`, in 0..1.

    Raises:
        ValueError: for labels or weights of another shape, labels that are not integers, a mask that does not fit.
    """
    check_labels("cross_entropy", logits, labels)
    labels = kept(mask, labels)
    log_p = jax.nn.log_softmax(wide(kept(mask, logits)))
    if class_weights is None:
        losses, weights = -at_label(log_p, labels), None
        every = -log_p.mean(-1)
    else:
        if class_weights.shape != logits.shape[-1:]:
            raise ValueError(f"class_weights of shape {class_weights.shape} for {logits.shape[-1]} classes")
        each = jnp.broadcast_to(class_weights.astype(log_p.dtype), log_p.shape)
        weights = at_label(each, labels)
        losses = -at_label(log_p, labels) * weights
        every = -(each * log_p).mean(-1)
    if not isinstance(label_smoothing, float | int) or label_smoothing != 0:  # a traced smoothing is always worked out
        losses = (1 - label_smoothing) * losses + label_smoothing * every
    return mean(losses, mask, weights)


def soft_cross_entropy(logits: jax.Array, targets: jax.Array, *, mask: Mask = None) -> jax.Array:
    """Mean of `-sum_c targets[c] log softmax(logits)[c]`: for labels that are distributions, as from mixup.

    Args:
        logits: `[..., classes]`, finite; `targets` have the same shape and sum to 1 along classes.
        mask: booleans over leading axes of `[...]`.

    Raises:
        ValueError: for unequal shapes, or a mask that does not fit.
    """
    check_same(logits, targets)
    log_p = jax.nn.log_softmax(wide(kept(mask, logits)))
    return mean(-(kept(mask, targets).astype(log_p.dtype) * log_p).sum(-1), mask)


def kl_divergence(logits: jax.Array, targets: jax.Array, *, mask: Mask = None) -> jax.Array:
    """Mean of `KL(targets || softmax(logits)) = sum_c targets[c] (log targets[c] - log softmax(logits)[c])`.

    Arguments and errors as for `soft_cross_entropy`, from which it differs by the entropy of the targets; `0 log 0` is 0.
    """
    loss = soft_cross_entropy(logits, targets, mask=mask)
    q = kept(mask, targets).astype(loss.dtype)
    return loss + mean(xlogy(q, q).sum(-1), mask)


def focal(logits: jax.Array, labels: jax.Array, *, gamma: float = 2.0, mask: Mask = None) -> jax.Array:
    """Mean of `-(1 - p[label])^gamma log p[label]`, `p = softmax(logits)`: well classified places weigh less.

    Lin et al. 2017, "Focal Loss for Dense Object Detection", equation 4, with a softmax. With `gamma` 0 it is the
    cross-entropy.

    Args:
        logits: `[..., classes]`, two classes at least, finite; `labels` integers `[...]`.
        gamma: at least 0; default 2, the paper's.
        mask: booleans over leading axes of the labels.

    Raises:
        ValueError: as for `cross_entropy`.
    """
    check_labels("focal", logits, labels)
    labels, logits = kept(mask, labels), wide(kept(mask, logits))
    own = jax.nn.one_hot(_index(labels, logits.shape[-1])[0], logits.shape[-1], dtype=bool)
    # log(1 - p) by the other classes: 1 - p rounds to 0, whose power has no gradient.
    log_rest = jax.nn.logsumexp(logits, -1, where=~own) - jax.nn.logsumexp(logits, -1)
    return mean(-jnp.exp(gamma * log_rest) * at_label(jax.nn.log_softmax(logits), labels), mask)


def hinge(scores: jax.Array, labels: jax.Array, *, mask: Mask = None) -> jax.Array:
    """Mean of `max(0, 1 + max_{c != label} scores[c] - scores[label])`.

    Crammer & Singer 2001, "On the Algorithmic Implementation of Multiclass Kernel-based Vector Machines". Arguments and
    errors as for `cross_entropy`.
    """
    check_labels("hinge", scores, labels)
    labels, scores = kept(mask, labels), wide(kept(mask, scores))
    own = jax.nn.one_hot(_index(labels, scores.shape[-1])[0], scores.shape[-1], dtype=bool)
    return mean(jax.nn.relu(1 + jnp.where(own, -jnp.inf, scores).max(-1) - at_label(scores, labels)), mask)


def binary_cross_entropy(logits: jax.Array, targets: jax.Array, *, mask: Mask = None, positive_weight: float = 1.0) -> jax.Array:
    """Mean of `-w t log p - (1 - t) log(1 - p)`, `p = sigmoid(logit)`, over every element.

    Args:
        logits: `[...]`, of any size: nothing overflows. `targets` have the same shape, in 0..1, of any dtype.
        mask: booleans over leading axes.
        positive_weight: `w`, a number or an array `[classes]` for the last axis.

    Raises:
        ValueError: for unequal shapes, or a mask that does not fit.
    """
    check_same(logits, targets)
    z = wide(kept(mask, logits))
    t = kept(mask, targets).astype(z.dtype)
    w = jnp.broadcast_to(jnp.asarray(positive_weight, z.dtype), z.shape)
    losses = -w * t * jax.nn.log_sigmoid(z) - (1 - t) * jax.nn.log_sigmoid(-z)
    return mean(losses, mask)


def binary_focal(logits: jax.Array, targets: jax.Array, *, gamma: float = 2.0, alpha: float | None = None, mask: Mask = None) -> jax.Array:
    """Mean of `-a_t (1 - p_t)^gamma log p_t`, `p_t` the probability of the true one of two classes.

    Lin et al. 2017, equation 5. `a_t` is `alpha` for positives and `1 - alpha` for negatives; 1 where not given.

    Args:
        logits: `[...]`; `targets` of the same shape, each 0 or 1, of any dtype.
        gamma: at least 0, default 2.
        alpha: in 0..1, the paper's is 0.25.
        mask: booleans over leading axes.

    Raises:
        ValueError: for unequal shapes, or a mask that does not fit.
    """
    check_same(logits, targets)
    z = wide(kept(mask, logits))
    t = kept(mask, targets).astype(z.dtype)
    z = z * (2 * t - 1)
    balance = 1 if alpha is None else alpha * t + (1 - alpha) * (1 - t)
    return mean(-balance * jnp.exp(gamma * jax.nn.log_sigmoid(-z)) * jax.nn.log_sigmoid(z), mask)


def binary_hinge(scores: jax.Array, targets: jax.Array, *, mask: Mask = None) -> jax.Array:
    """Mean of `max(0, 1 - y score)`, `y = 2 target - 1`, over every element (Cortes & Vapnik 1995).

    Args:
        scores: `[...]`; `targets` of the same shape, each 0 or 1, of any dtype.
        mask: booleans over leading axes.

    Raises:
        ValueError: for unequal shapes, or a mask that does not fit.
    """
    check_same(scores, targets)
    z = wide(kept(mask, scores))
    return mean(jax.nn.relu(1 - (2 * kept(mask, targets).astype(z.dtype) - 1) * z), mask)
