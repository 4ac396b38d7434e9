"""How soon contestants reach what is typically reached: targets, steps to them, performance profiles."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fdl.compare._store import RunRecord

FRACTIONS = (0.25, 0.5, 0.75, 1.0)
TAU = np.linspace(1, 4, 100)


@dataclass(frozen=True, eq=False)
class Profile:
    """Dolan and Moré's performance profiles, a target being a problem.

    With `t` the median over seeds of the steps to a target and `r` its ratio to the least of any contestant, `share[name][i]` is
    the share of targets with `r <= tau[i]`: at 1 how often a contestant is the fastest, at 4 how often it gets there in at
    most four times the steps (Dolan and Moré, "Benchmarking optimization software with performance profiles", 2002).
    """

    tau: np.ndarray
    """[100], from 1 to 4."""
    share: dict[str, np.ndarray]
    """[100] for each contestant."""
    score: dict[str, float]
    """The mean of `share` over tau, as AlgoPerf computes it: the trapezoid rule at the 100 points, divided by 4 - 1."""


def targets(final: Mapping[str, Sequence[RunRecord]], objective: str, maximise: bool) -> tuple[float, ...]:
    """What the median contestant reached on validation after 1/4, 1/2, 3/4 and all of its steps, the best until then.

    A contestant's curve is the median over its fresh seeds, a run that diverged being worse than any; the target is the
    median over contestants, so that no one sets it alone. With two it lies halfway between them.

    Args:
        final: each contestant's runs with fresh seeds.
        objective: the metric.
        maximise: whether more is better.

    Returns:
        Different targets, each harder than the one before; fewer than four where the median contestant did not improve.
    """
    sign = 1 if maximise else -1
    typical = [_median([_at_fractions(run, objective, sign) for run in runs]) for runs in final.values() if runs]
    pool = np.maximum.accumulate(_median(typical)) if typical else np.empty(0)
    return tuple(float(sign * value) for value in np.unique(pool[np.isfinite(pool)]))


def steps_to(run: RunRecord, objective: str, target: float, maximise: bool) -> float:
    """The step of the first evaluation at which a run has reached a target; infinite if it never does or diverges."""
    if run.diverged:
        return np.inf
    curve = run.curves["validation", objective]
    return next((float(step) for step, value in curve if (value >= target if maximise else value <= target)), np.inf)


def profiles(steps: Mapping[str, Sequence[float]]) -> Profile:
    """Profiles and scores from each contestant's steps to each target, infinite for a miss.

    A target that nobody reaches counts as missed by all. Without targets the scores are NaN.
    """
    table = np.array(list(steps.values()), float).reshape(len(steps), -1)
    if not table.shape[1]:
        return Profile(TAU, {name: np.zeros(len(TAU)) for name in steps}, dict.fromkeys(steps, np.nan))
    least = table.min(axis=0)
    ratio = np.divide(table, least, out=np.full_like(table, np.inf), where=np.isfinite(table))
    share = {name: (r[None, :] <= TAU[:, None]).mean(axis=1) for name, r in zip(steps, ratio)}
    return Profile(TAU, share, {name: float(np.trapezoid(s, TAU) / (TAU[-1] - TAU[0])) for name, s in share.items()})


def _at_fractions(run: RunRecord, objective: str, sign: int) -> np.ndarray:
    """The objective at the last evaluation not after each fraction of a run's steps, in rising quality; [fractions]."""
    curve = np.array(run.curves["validation", objective], float)
    if run.diverged:
        return np.full(len(FRACTIONS), -np.inf)
    place = np.searchsorted(curve[:, 0], np.multiply(FRACTIONS, curve[-1, 0]), side="right") - 1
    values = np.where(place >= 0, sign * curve[place, 1], -np.inf)
    return np.where(np.isnan(values), -np.inf, values)


def _median(rows: Sequence[np.ndarray]) -> np.ndarray:
    """The median of each column, of two middle values the mean, and minus infinity where one of them is."""
    table = np.sort(np.array(rows), axis=0)
    middle = table[[(len(table) - 1) // 2, len(table) // 2]]
    return middle.mean(axis=0)
