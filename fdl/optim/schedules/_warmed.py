"""Schedules that rise to a peak in a linear warm-up and fall from there."""

from typing import Any

import jax.numpy as jnp

from fdl.optim._base import static
from fdl.optim._rule import safe_sqrt
from fdl.optim.schedules._base import Schedule, schedule


@schedule
class _Warmed(Schedule):
    """Linear warm-up to `peak`, then a share of the way from there to `end` that falls from 1 to 0."""

    peak: Any
    steps: Any
    warmup: Any = 0.0
    end: Any = 0.0

    def share(self, u):
        raise NotImplementedError

    def value(self, t):
        u = jnp.clip((t - self.warmup) / jnp.maximum(self.steps - self.warmup, 1), 0, 1)
        return jnp.where(t < self.warmup, self.peak * t / jnp.maximum(self.warmup, 1), self.end + (self.peak - self.end) * self.share(u))


@schedule
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

    def share(self, u):
        return (1 + jnp.cos(jnp.pi * u)) / 2


@schedule
class Linear(_Warmed):
    r"""Linear warm-up to `peak`, then linear decay to `end`; arguments as of `Cosine`.

    $$s(t) = \mathrm{peak}\, t / w \quad (t < w), \qquad
    s(t) = \mathrm{end} + (\mathrm{peak} - \mathrm{end}) (1 - u), \quad u = \min(\tfrac{t - w}{T - w}, 1)$$

    Equals `optax.linear_schedule`, after another one of the warm-up.
    """

    def share(self, u):
        return 1 - u


@schedule
class WarmupStableDecay(_Warmed):
    r"""Linear warm-up to `peak`, which holds until a short decay to `end`.

    $$s(t) = \mathrm{peak}\, t / w \quad (t < w), \qquad s(t) = \mathrm{peak} \quad (w \le t < T - cT), \qquad
    s(t) = \mathrm{end} + (\mathrm{peak} - \mathrm{end}) (1 - v), \quad v = \min(\tfrac{t - (T - cT)}{cT}, 1)$$

    or with $1 - \sqrt v$. The plateau can be prolonged without another decay: runs of several lengths share it.

    Zhai et al. 2022, "Scaling vision transformers", section 3.5; Hu et al. 2024, "MiniCPM", section 4; Hägele et al. 2024,
    "Scaling laws and compute-optimal training beyond fixed training durations", section 3, whose best decay is the root's.

    Args:
        peak, steps, warmup, end: as of `Cosine`.
        cooldown: $c$, the decay's share of all steps, default 0.2.
        root: whether it falls by the root, default linearly.
    """

    cooldown: Any = 0.2
    root: bool = static(default=False)

    def share(self, u):
        length = self.cooldown * self.steps / jnp.maximum(self.steps - self.warmup, 1)
        v = jnp.clip((u - (1 - length)) / jnp.where(length > 0, length, 1), 0, 1)
        return 1 - (safe_sqrt(v) if self.root else v)


@schedule
class InverseSqrt(Schedule):
    r"""Linear warm-up to `peak`, then decay by the root of the step, without an end.

    $$s(t) = \mathrm{peak} \min(t / w, \sqrt{w / t})$$

    Vaswani et al. 2017, "Attention is all you need", equation 3, with $\mathrm{peak} = (d\, w)^{-1/2}$ and steps counted from
    0.

    Args:
        peak: the greatest value.
        warmup: $w$, default 1: the first two steps have `peak`.
    """

    peak: Any
    warmup: Any = 0.0

    def value(self, t):
        w = jnp.maximum(self.warmup, 1)
        return self.peak * jnp.where(t < self.warmup, t / w, safe_sqrt(w / jnp.maximum(t, w)))
