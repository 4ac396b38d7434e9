"""Minibatches drawn on the device, inside the compiled program."""

import math

import jax
import jax.numpy as jnp


def batch_indices(
    key: jax.Array, examples: int, batch_size: int, first_step: jax.Array | int, steps: int, shuffle: bool = True
) -> jax.Array:
    """Which examples the batches of `steps` consecutive steps hold.

    Every epoch is a permutation of all examples, a function of `(key, epoch)` alone. The epochs follow one another in an
    endless row, and batch `t` is the row's places `t batch_size` to `(t + 1) batch_size`: every batch is full, each
    example comes exactly once in an epoch, and a run cut into other segments sees the same batches.

    Args:
        key: a `jax.random.key`, the same for all steps of a run.
        examples: how many there are; `batch_size` is at most as many.
        first_step: counted from 0; may be traced.
        steps: how many, a constant.
        shuffle: whether an epoch is a permutation; else it is the examples in their own order, and `key` plays no part.

    Returns:
        int32 `[steps, batch_size]`.
    """
    # first_step * batch_size would leave int32 after 2^31 examples; quotient and remainder by epochs do not.
    period = examples // math.gcd(examples, batch_size)  # after so many steps a whole number of epochs has passed
    cycle, within = jnp.divmod(jnp.asarray(first_step, jnp.int32), jnp.int32(period))
    place = within * batch_size + jnp.arange(steps * batch_size, dtype=jnp.int32)
    if not shuffle:
        return (place % examples).reshape(steps, batch_size)
    first_epoch = place[0] // examples
    epochs = (steps * batch_size - 1) // examples + 2  # those that the places can touch
    start = cycle * (period * batch_size // examples) + first_epoch
    permute = lambda epoch: jax.random.permutation(jax.random.fold_in(key, epoch), examples).astype(jnp.int32)
    orders = jax.vmap(permute)(start + jnp.arange(epochs, dtype=jnp.int32))
    return orders[place // examples - first_epoch, place % examples].reshape(steps, batch_size)
