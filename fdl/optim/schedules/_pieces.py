"""Schedules made of others, or of points."""

from typing import Any

import jax.numpy as jnp

from fdl.core import FdlError, choose
from fdl.optim._base import static
from fdl.optim.schedules._base import Schedule, at, schedule


@schedule
class Warmup(Schedule):
    r"""Any schedule after a linear warm-up to where it begins; its own steps count from the warm-up's end.

    $$s(t) = \mathrm{start} + (a(0) - \mathrm{start})\, t / w \quad (t < w), \qquad s(t) = a(t - w)$$

    Equals `optax.warmup_constant_schedule` for a number, and `optax.join_schedules` after a linear one for a schedule.

    Args:
        after: $a$, a schedule or a number.
        warmup: $w$.
        start: default 0.
    """

    after: Any
    warmup: Any
    start: Any = 0.0

    def value(self, t):
        rising = self.start + (at(self.after, 0 * t) - self.start) * t / jnp.maximum(self.warmup, 1)
        return jnp.where(t < self.warmup, rising, at(self.after, jnp.maximum(t - self.warmup, 0)))


@schedule
class Join(Schedule):
    """Schedules one after the other, each with steps of its own from 0; equals `optax.join_schedules`.

    Args:
        schedules: the first, the second, ...; a number holds.
        boundaries: the step at which the second begins, the third, ...
    """

    schedules: tuple[Any, ...]
    boundaries: tuple[Any, ...]

    def __post_init__(self):
        _check("Join(boundaries)", self.boundaries, self.schedules, "schedules")

    def value(self, t):
        found = at(self.schedules[0], t)
        for boundary, part in zip(self.boundaries, self.schedules[1:]):
            found = jnp.where(t < boundary, found, at(part, jnp.maximum(t - boundary, 0)))
        return found


@schedule
class Piecewise(Schedule):
    """Values at given steps, held until the next, or joined by lines or half cosines.

    Equals `optax.piecewise_constant_schedule` and `optax.piecewise_interpolate_schedule`, which take each value's ratio to the
    one before.

    Args:
        values: from step 0, from the first boundary, ...; one more than boundaries.
        boundaries: rising steps; from the last on the last value holds.
        between: `"constant"`, the default, `"linear"` or `"cosine"`.
    """

    values: tuple[Any, ...]
    boundaries: tuple[Any, ...]
    between: str = static(default="constant")

    def __post_init__(self):
        _check("Piecewise(boundaries)", self.boundaries, self.values, "values")
        if isinstance(self.between, str):
            choose("Piecewise(between)", self.between, dict.fromkeys(("constant", "linear", "cosine")))

    def value(self, t):
        if self.between == "constant":
            return jnp.stack(self.values)[sum((t >= b).astype(jnp.int32) for b in self.boundaries)]
        return through(t, (jnp.zeros_like(t), *self.boundaries), self.values, self.between == "cosine")


def through(t, steps, values, cosine):
    """The value at `t` on the line, or half cosines, through the points of `steps` and `values`; the last value thereafter."""
    found = values[0]
    for low, high, a, b in zip(steps, steps[1:], values, values[1:]):
        u = jnp.clip((t - low) / jnp.maximum(high - low, 1), 0, 1)
        found = jnp.where(t < low, found, a + (b - a) * ((1 - jnp.cos(jnp.pi * u)) / 2 if cosine else u))
    return found


def _check(where, boundaries, parts, what):
    if len(parts) != len(boundaries) + 1:
        raise FdlError(where, f"{len(boundaries)} for {len(parts)} {what}", f"{max(len(parts) - 1, 0)}: the steps between them")
