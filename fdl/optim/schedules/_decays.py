"""Schedules of one formula, from a start."""

from typing import Any

import jax.numpy as jnp

from fdl.optim._base import static
from fdl.optim.schedules._base import Schedule, schedule


@schedule
class Constant(Schedule):
    """The same number at every step: what a schedule that is joined from several may begin or end with.

    Args:
        start: the number.
    """

    start: Any

    def value(self, t):
        return self.start


@schedule
class Polynomial(Schedule):
    r"""From `start` to `end` by a power of the share of the steps that is left.

    $$s(t) = \mathrm{end} + (\mathrm{start} - \mathrm{end}) (1 - u)^p, \qquad u = \min(\max(\tfrac{t - b}{T}, 0), 1)$$

    Equals `optax.polynomial_schedule`, and `optax.linear_schedule` for $p = 1$.

    Args:
        start: until step $b$.
        steps: $T$; from step $b + T$ on the value is `end`.
        power: $p$, default 1.
        end: default 0.
        begin: $b$, default 0.
    """

    start: Any
    steps: Any
    power: Any = 1.0
    end: Any = 0.0
    begin: Any = 0.0

    def value(self, t):
        left = 1 - jnp.clip((t - self.begin) / jnp.maximum(self.steps, 1), 0, 1)
        over = left <= 0
        return self.end + (self.start - self.end) * jnp.where(over, 0, jnp.where(over, 1, left) ** self.power)


@schedule
class Exponential(Schedule):
    r"""From `start` by the factor `rate` in so many steps, steadily or at once.

    $$s(t) = \mathrm{start}\, r^{\,p}, \qquad p = \max(t - b, 0) / T, \quad \text{or with a staircase} \quad p = \lfloor \cdot \rfloor$$

    Equals `optax.exponential_decay`.

    Args:
        start: until step $b$.
        steps: $T$.
        rate: $r > 0$, default 0.1.
        begin: $b$, default 0.
        end: a bound that the value does not cross; `None`, the default, for none.
        staircase: whether the value falls every $T$ steps at once, default no.
    """

    start: Any
    steps: Any
    rate: Any = 0.1
    begin: Any = 0.0
    end: Any = None
    staircase: bool = static(default=False)

    def value(self, t):
        p = jnp.maximum(t - self.begin, 0) / self.steps
        found = self.start * self.rate ** (jnp.floor(p) if self.staircase else p)
        if self.end is None:
            return found
        return jnp.where(self.rate < 1, jnp.maximum(found, self.end), jnp.minimum(found, self.end))
