"""What the losses share: checks of shapes, masks, and the mean over what a mask keeps."""

import jax
import jax.numpy as jnp


def wide(x: jax.Array) -> jax.Array:
    """`x` in float32, or in float64 if it has it."""
    return x.astype(jnp.float64 if x.dtype == jnp.float64 else jnp.float32)


def check_labels(name: str, scores: jax.Array, labels: jax.Array) -> None:
    if labels.shape != scores.shape[:-1] or not jnp.issubdtype(labels.dtype, jnp.integer):
        raise ValueError(
            f"{name} takes scores [..., classes] and integer labels [...], not {scores.shape} and {labels.dtype}{labels.shape}"
        )


def check_same(predictions: jax.Array, targets: jax.Array) -> None:
    if predictions.shape != targets.shape:
        raise ValueError(f"predictions of shape {predictions.shape} and targets of shape {targets.shape}")


def spread(mask: jax.Array | None, shape: tuple[int, ...]) -> jax.Array | None:
    """A mask over leading axes as one over all of `shape`; `None` stays `None`."""
    if mask is None:
        return None
    if mask.dtype != bool or mask.shape != shape[: mask.ndim]:
        raise ValueError(f"a mask is boolean, of the leading axes of {shape}, not {mask.dtype}{mask.shape}")
    return jnp.broadcast_to(mask.reshape(mask.shape + (1,) * (len(shape) - mask.ndim)), shape)


def kept(mask: jax.Array | None, x: jax.Array) -> jax.Array:
    """`x`, with 0 where the mask drops: NaN there would pass into gradients, since 0 times NaN is NaN."""
    keep = spread(mask, x.shape)
    return x if keep is None else jnp.where(keep, x, 0)


def mean(values: jax.Array, mask: jax.Array | None = None, weights: jax.Array | None = None) -> jax.Array:
    """`sum(values) / sum(weights)` over the places that the mask keeps, weights 1 where not given; 0 where none is kept."""
    if mask is None and weights is None:
        return values.mean()
    total = kept(mask, jnp.ones_like(values) if weights is None else weights).sum()
    return kept(mask, values).sum() / jnp.where(total == 0, 1, total)
