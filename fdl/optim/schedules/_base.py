from typing import Any

import jax
import jax.numpy as jnp

from fdl.optim._base import optimizer as schedule

__all__ = ["Schedule", "at", "schedule"]


class Schedule:
    """A hyperparameter that is a function of the step, counted from 0. A base class.

    A subclass is decorated by `optim.optimizer`, which makes it a pytree too, declares its numbers as fields and flags by
    `static`, and writes `value`.
    """

    def value(self, t: jax.Array) -> jax.Array:
        """The value at step `t`, a floating scalar in whose dtype the fields are arrays."""
        raise NotImplementedError

    def __call__(self, step: Any) -> jax.Array:
        t = jnp.asarray(step).astype(jnp.result_type(float))
        return jax.tree.map(lambda leaf: leaf if callable(leaf) else jnp.asarray(leaf, t.dtype), self).value(t)


def at(what: Any, t: jax.Array) -> jax.Array:
    """The value at step `t` of a schedule or a number."""
    return jnp.asarray(what(t) if callable(what) else what, t.dtype)
