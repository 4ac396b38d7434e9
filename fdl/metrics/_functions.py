"""Figures of one batch."""

import jax
import jax.numpy as jnp

from fdl.losses import cross_entropy
from fdl.losses._reduce import check_labels, mean


def hits(name: str, logits: jax.Array, labels: jax.Array, top: int) -> jax.Array:
    """Whether each label is among the `top` largest logits, the first of equals before the later ones."""
    check_labels(name, logits, labels)
    if top == 1:
        largest = logits.argmax(-1)
        return largest == labels.astype(largest.dtype)
    _, best = jax.lax.top_k(logits, min(top, logits.shape[-1]))
    return (best == labels.astype(best.dtype)[..., None]).any(-1)


def accuracy(logits: jax.Array, labels: jax.Array, *, top: int = 1, mask: jax.Array | None = None) -> jax.Array:
    """The share, in 0..1, of places whose label is among the `top` largest logits (the first of equals before the later).

    Args:
        logits: `[..., classes]`.
        labels: integers `[...]`.
        top: at least 1.
        mask: booleans over leading axes of the labels: which places count. Where none does the share is 0.

    Raises:
        ValueError: for labels of another shape, or that are not integers, or a mask that does not fit.
    """
    return mean(hits("accuracy", logits, labels, top).astype(jnp.float32), mask)


def perplexity(logits: jax.Array, labels: jax.Array, *, mask: jax.Array | None = None) -> jax.Array:
    """`exp(cross_entropy)`: among how many equally likely classes the model wavers. Arguments and errors as for that."""
    return jnp.exp(cross_entropy(logits, labels, mask=mask))
