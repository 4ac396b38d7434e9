"""Recurrence over padded sequences."""

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp

Carry = TypeVar("Carry")


def recur(
    step: Callable[[Carry, jax.Array], tuple[Carry, jax.Array]], carry: Carry, x: jax.Array, lengths: jax.Array | None = None
) -> tuple[Carry, jax.Array]:
    """Runs `carry, y_t = step(carry, x_t)` along time.

    Args:
        step: a pure function; `x_t` is `[batch, features]`.
        carry: the first carry, a pytree of arrays `[batch, ...]`.
        x: `[batch, time, features]`.
        lengths: integers `[batch]`: how many steps of each sequence are valid; all where not given. A padded step
            changes neither carry nor any gradient, whatever stands in its place (NaN included), and outputs 0.

    Returns:
        The carry after each sequence's last valid step, and the outputs `[batch, time, ...]`.
    """
    if lengths is None:
        carry, outputs = jax.lax.scan(step, carry, x.swapaxes(0, 1))
        return carry, outputs.swapaxes(0, 1)
    valid = jnp.arange(x.shape[1], dtype=jnp.int32)[:, None] < jnp.asarray(lengths, jnp.int32)[None, :]  # [time, batch]
    # A padded step runs on the sequence's first input: at 0 the step may have no gradient, and 0 times NaN is NaN.
    x = jnp.where(valid.T[..., None], x, jnp.where(valid[:1].T[..., None], x[:, :1], 0))

    def masked(carry: Carry, now: tuple[jax.Array, jax.Array]) -> tuple[Carry, jax.Array]:
        keep, x_t = now
        new, y = step(carry, x_t)
        at = lambda a: keep.reshape(-1, *[1] * (a.ndim - 1))
        return jax.tree.map(lambda n, o: jnp.where(at(n), n, o), new, carry), jnp.where(at(y), y, 0)

    carry, outputs = jax.lax.scan(masked, carry, (valid, x.swapaxes(0, 1)))
    return carry, outputs.swapaxes(0, 1)
