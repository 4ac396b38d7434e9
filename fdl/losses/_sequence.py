"""Losses of sequences whose labels are not aligned in time (for those that are, `cross_entropy` takes a mask)."""

import jax
import jax.numpy as jnp

from fdl.losses._reduce import wide


def ctc(
    logits: jax.Array,
    labels: jax.Array,
    lengths: jax.Array | None = None,
    label_lengths: jax.Array | None = None,
    *,
    blank: int = 0,
) -> jax.Array:
    """Mean over the batch of `-log` of the probability of all alignments of the labels: connectionist temporal classification.

    Graves et al. 2006, "Connectionist Temporal Classification", equation 8; computed by `optax.ctc_loss`. Unlike
    PyTorch's default, a sequence's loss is not divided by the number of its labels.

    Args:
        logits: `[batch, time, classes]`, one class of them the blank.
        labels: integers `[batch, labels]`, without blanks.
        lengths: integers `[batch]`, valid steps of the logits; all where not given. What stands after them does not matter.
        label_lengths: integers `[batch]`, valid labels; all where not given.
        blank: the class that stands for no label.

    Returns:
        A scalar. Labels that no alignment can reach in the time given (repeated ones need a blank between them) cost
        about 1e5 each, not infinity.

    Raises:
        ValueError: for shapes that do not fit, or labels that are not integers.
    """
    from optax.losses import ctc_loss

    batch = logits.shape[:1]
    if logits.ndim != 3 or labels.ndim != 2 or labels.shape[:1] != batch or not jnp.issubdtype(labels.dtype, jnp.integer):
        found = f"{logits.shape} and {labels.dtype}{labels.shape}"
        raise ValueError(f"ctc takes logits [batch, time, classes] and integer labels [batch, labels], not {found}")

    def padding(name: str, lengths: jax.Array | None, steps: int) -> jax.Array:
        if lengths is None:
            return jnp.zeros((*batch, steps), bool)
        if lengths.shape != batch:
            raise ValueError(f"{name} of shape {lengths.shape} for a batch of {batch[0]}")
        return jnp.arange(steps, dtype=jnp.int32)[None, :] >= lengths.astype(jnp.int32)[:, None]

    ends = padding("lengths", lengths, logits.shape[1])
    label_ends = padding("label_lengths", label_lengths, labels.shape[1])
    scores = wide(jnp.where(ends[..., None], 0, logits))
    labels = jnp.where(label_ends, 0, labels.astype(jnp.int32))
    # optax mixes widths and ranks, which JAX may be told to refuse.
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        losses = ctc_loss(scores, ends.astype(scores.dtype), labels, label_ends.astype(scores.dtype), blank_id=blank)
    return losses.astype(scores.dtype).mean()
