"""Metrics: means over a batch, computed on the device."""

import jax
import jax.numpy as jnp

from fdl.losses import _check_labels


def accuracy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """The share, in 0..1, of places whose largest logit is the label's (the first of equals).

    Args:
        logits: `[..., classes]`.
        labels: integers `[...]`.

    Raises:
        ValueError: for labels of another shape, or that are not integers.
    """
    _check_labels("accuracy", logits, labels)
    largest = logits.argmax(-1)
    return (largest == labels.astype(largest.dtype)).astype(jnp.float32).mean()
