"""Losses, means over the batch to be minimised, and penalties on parameters that are added to them."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp


def _check_labels(name: str, scores: jax.Array, labels: jax.Array) -> None:
    if labels.shape != scores.shape[:-1] or not jnp.issubdtype(labels.dtype, jnp.integer):
        raise ValueError(
            f"{name} takes scores [..., classes] and integer labels [...], not {scores.shape} and {labels.dtype}{labels.shape}"
        )


def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Mean of `-log softmax(logits)[label]`, in nats.

    Args:
        logits: `[..., classes]`, finite.
        labels: integers `[...]` in 0..classes-1. A label out of range gives NaN (fdl's data sets are checked before).

    Raises:
        ValueError: for labels of another shape, or that are not integers.
    """
    _check_labels("cross_entropy", logits, labels)
    if labels.dtype.itemsize < 4:
        labels = labels.astype(jnp.int32)  # in 8 bits 256, a count of classes, would be 0
    logits = logits.astype(jnp.float64 if logits.dtype == jnp.float64 else jnp.float32)
    chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), labels[..., None], -1, mode="fill", fill_value=jnp.nan)[..., 0]
    inside = (labels >= 0) & (labels < logits.shape[-1])  # a negative index would count from the end
    return jnp.where(inside, -chosen, jnp.nan).mean()


def mean_squared_error(predictions: jax.Array, targets: jax.Array) -> jax.Array:
    """Mean of `(prediction - target)^2` over every element.

    Args:
        predictions: `[...]`; `targets` have the same shape, without broadcasting.

    Raises:
        ValueError: for unequal shapes.
    """
    if predictions.shape != targets.shape:
        raise ValueError(f"predictions of shape {predictions.shape} and targets of shape {targets.shape}")
    return jnp.square(predictions - targets).mean()


@dataclass(frozen=True)
class L2:
    """The penalty `scale / 2 * sum of w^2` over parameters of one name, as a function of the parameters.

    Its gradient is `scale * w`: as part of the loss (not as decoupled weight decay) it passes through the optimizer.

    Args:
        scale: at least 0.
        of: which parameters, by the last part of their path; the default leaves biases and scales alone.
    """

    scale: float
    of: str = "kernel"

    def __call__(self, params: Any) -> jax.Array:
        leaves = [leaf for path, leaf in jax.tree.leaves_with_path(params) if path and getattr(path[-1], "key", None) == self.of]
        wide = (leaf.astype(jnp.float64 if leaf.dtype == jnp.float64 else jnp.float32) for leaf in leaves)
        return jnp.asarray(self.scale / 2 * sum(jnp.square(w).sum() for w in wide))

    def __str__(self) -> str:
        return f"{self.scale:g}/2 * sum({self.of}^2), part of the recorded loss"
