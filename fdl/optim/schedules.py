"""Schedules: hyperparameters that are functions of the step, as pytrees whose leaves are their numbers.

A schedule stands in the place of any hyperparameter, `optim.SGD(lr=optim.Cosine(peak=0.1, steps=1000))`, and is called with
the step counted from 0. Its numbers are traced: another peak does not recompile.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp


@dataclasses.dataclass(frozen=True)
class _Warmed:
    """Linear warm-up to `peak`, then a share of the way from there to `end` that falls from 1 to 0."""

    peak: Any
    steps: Any
    warmup: Any = 0.0
    end: Any = 0.0

    def share(self, u: jax.Array) -> jax.Array:
        raise NotImplementedError

    def __call__(self, step: jax.Array) -> jax.Array:
        t = jnp.asarray(step).astype(jnp.result_type(float))
        peak, steps, warmup, end = (jnp.asarray(value, t.dtype) for value in (self.peak, self.steps, self.warmup, self.end))
        u = jnp.clip((t - warmup) / jnp.maximum(steps - warmup, 1), 0, 1)
        return jnp.where(t < warmup, peak * t / jnp.maximum(warmup, 1), end + (peak - end) * self.share(u))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Cosine(_Warmed):
    r"""Linear warm-up to `peak`, then half a cosine down to `end`.

    $$s(t) = \mathrm{peak}\, t / w \quad (t < w), \qquad
    s(t) = \mathrm{end} + (\mathrm{peak} - \mathrm{end}) \frac{1 + \cos \pi u}{2}, \quad u = \min(\tfrac{t - w}{T - w}, 1)$$

    Loshchilov & Hutter 2017, "SGDR: stochastic gradient descent with warm restarts", equation 5, without restarts. Equals
    `optax.warmup_cosine_decay_schedule(0, peak, w, T, end)`.

    Args:
        peak: the greatest value.
        steps: $T$, warm-up included; the value stays at `end` thereafter.
        warmup: $w$, default 0: the first step has `peak`.
        end: default 0.
    """

    def share(self, u: jax.Array) -> jax.Array:
        return (1 + jnp.cos(jnp.pi * u)) / 2


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Linear(_Warmed):
    r"""Linear warm-up to `peak`, then linear decay to `end`; arguments as of `Cosine`.

    $$s(t) = \mathrm{peak}\, t / w \quad (t < w), \qquad
    s(t) = \mathrm{end} + (\mathrm{peak} - \mathrm{end}) (1 - u), \quad u = \min(\tfrac{t - w}{T - w}, 1)$$
    """

    def share(self, u: jax.Array) -> jax.Array:
        return 1 - u
