"""Schedules that rise and fall in cycles."""

from typing import Any

import jax.numpy as jnp

from fdl.optim._base import static
from fdl.optim.schedules._base import Schedule, schedule
from fdl.optim.schedules._pieces import through


@schedule
class Restarts(Schedule):
    r"""Half cosines from `peak` to `end`, again and again, each by a factor longer than the one before.

    $$s(t) = \mathrm{end} + (\mathrm{peak} - \mathrm{end}) \frac{1 + \cos(\pi\, T_{cur} / T_i)}{2}, \qquad T_i = T_0 m^i$$

    with $T_{cur}$ steps since cycle $i$ began.

    Loshchilov & Hutter 2017, "SGDR: stochastic gradient descent with warm restarts", equation 5. Equals `optax.sgdr_schedule`
    of such cycles; for cycles of other peaks `Join` several `Cosine`.

    Args:
        peak: at the beginning of a cycle.
        steps: $T_0$, of the first cycle.
        factor: $m \ge 1$, default 1.
        end: approached at the end of a cycle, default 0.
    """

    peak: Any
    steps: Any
    factor: Any = 1.0
    end: Any = 0.0

    def value(self, t):
        even = self.factor == 1
        m = jnp.where(even, 2, self.factor)
        before = lambda i: jnp.where(even, i, (m**i - 1) / (m - 1)) * self.steps  # steps of i cycles
        grown = jnp.floor(jnp.log1p((m - 1) * t / self.steps) / jnp.log(m))
        i = jnp.where(even, jnp.floor(t / self.steps), grown)
        near = 1e-3 + 2e-6 * t  # powers and logarithms are rounded, and cycles mostly begin at whole steps
        i = i + jnp.where(t > before(i + 1) - near, 1, 0) - jnp.where(t < before(i) - near, 1, 0)
        u = jnp.clip((t - before(i)) / (before(i + 1) - before(i)), 0, 1)
        return self.end + (self.peak - self.end) * (1 + jnp.cos(jnp.pi * u)) / 2


@schedule
class OneCycle(Schedule):
    r"""Up from $\mathrm{peak} / d$ to `peak`, and down to $\mathrm{peak} / (d f)$.

    By half cosines through the steps $0$, $\lfloor rT \rfloor$ and $T$; or in three linear phases, which pass
    $\mathrm{peak} / d$ again at $\lfloor qT \rfloor$.

    Smith & Topin 2018, "Super-convergence: very fast training of neural networks using large learning rates", section 2, whose
    phases are linear. Equals `optax.cosine_onecycle_schedule` and `optax.linear_onecycle_schedule`.

    Args:
        peak: the greatest value.
        steps: $T$.
        rise: $r$, the rise's share of the steps, default 0.3.
        divide: $d$, default 25.
        final: $f$, default 10000.
        fall: $q$, where the second linear phase ends, default 0.85.
        linear: whether the phases are linear, default no.
    """

    peak: Any
    steps: Any
    rise: Any = 0.3
    divide: Any = 25.0
    final: Any = 1e4
    fall: Any = 0.85
    linear: bool = static(default=False)

    def value(self, t):
        at = lambda share: jnp.floor(share * self.steps)
        low = self.peak / self.divide
        if not self.linear:
            return through(t, (0 * t, at(self.rise), self.steps), (low, self.peak, low / self.final), True)
        return through(t, (0 * t, at(self.rise), at(self.fall), self.steps), (low, self.peak, low, low / self.final), False)
