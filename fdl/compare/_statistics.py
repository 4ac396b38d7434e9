"""What the records say: the chosen trials, intervals, differences. Runs that diverged are counted, never averaged in."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from fdl.compare._store import RunRecord


class Interval(NamedTuple):
    """A mean with its confidence interval; NaN ends where fewer than two values are there."""

    mean: float
    low: float
    high: float


def interval(values: Sequence[float], level: float = 0.95) -> Interval:
    """Student's t interval for the mean of independent values: `mean ± t_{(1+level)/2, n-1} s / sqrt(n)`."""
    from scipy import stats

    array = np.asarray(values, float)
    if len(array) < 2:
        return Interval(float(array.mean()) if len(array) else np.nan, np.nan, np.nan)
    half = stats.t.ppf((1 + level) / 2, len(array) - 1) * stats.sem(array)
    return Interval(float(array.mean()), float(array.mean() - half), float(array.mean() + half))


@dataclass(frozen=True)
class Trial:
    """One point of a contestant's grid over its tuning seeds, by the objective on validation at the end of the run."""

    trial: int
    hyperparameters: dict[str, float]
    values: tuple[float, ...]
    losses: tuple[float, ...]
    diverged: int
    """How many of its runs did; `values` and `losses` are of the others."""

    @property
    def mean(self) -> float:
        return float(np.mean(self.values)) if self.values else np.nan


def summarise(runs: Sequence[RunRecord], objective: str) -> list[Trial]:
    """A contestant's tuning runs by trial, in the grid's order."""
    trials = []
    for number in sorted({run.trial for run in runs}):
        mine = [run for run in runs if run.trial == number]
        finite = [run for run in mine if not run.diverged]
        values = tuple(run.last("validation", objective) for run in finite)
        losses = tuple(run.last("validation", "loss") for run in finite)
        trials.append(Trial(number, mine[0].hyperparameters, values, losses, len(mine) - len(finite)))
    return trials


def choose_trial(trials: Sequence[Trial], maximise: bool) -> Trial | None:
    """The trial with the best mean objective; of equals the one with the lower mean validation loss.

    A trial of which a single seed diverged is not chosen: the mean of its other seeds would flatter it.
    """
    whole = [t for t in trials if t.values and not t.diverged]
    return min(whole, key=lambda t: (-t.mean if maximise else t.mean, np.mean(t.losses)), default=None)


@dataclass(frozen=True)
class Result:
    """What a contestant reached: its chosen trial, re-run with fresh seeds and judged on the test split."""

    contestant: str
    chosen: Trial | None
    at_edge: bool
    """Whether a chosen value is the least or the greatest of its grid: the optimum may lie outside."""
    test: dict[int, float]
    """The objective on the test split, by seed, of the runs that did not diverge."""
    mean: Interval
    behind: Interval | None
    """How far behind the leader, paired by seed, at a level that makes all such intervals hold together; the leader's is `None`."""
    diverged_tuning: int
    tuning_runs: int
    diverged_final: int
    final_runs: int


def judge(runs: Sequence[RunRecord], contestants: Sequence[str], objective: str, maximise: bool) -> list[Result]:
    """Every contestant's result, best mean first; those without one last."""
    sign = 1 if maximise else -1
    results = []
    for name in contestants:
        tune = [r for r in runs if r.contestant == name and r.phase == "tune"]
        final = [r for r in runs if r.contestant == name and r.phase == "final"]
        trials = summarise(tune, objective)
        chosen = choose_trial(trials, maximise)
        test = {r.seed: r.last("test", objective) for r in final if not r.diverged}
        diverged = sum(r.diverged for r in tune), len(tune), len(final) - len(test), len(final)
        results.append(Result(name, chosen, _at_edge(trials, chosen), test, interval(list(test.values())), None, *diverged))
    results.sort(key=lambda r: -sign * r.mean.mean if r.test else np.inf)
    leader, *others = results
    level = 1 - 0.05 / max(len(others), 1)  # Bonferroni: all differences are looked at together
    return [leader, *(_against(leader, other, sign, level) for other in others)]


def _against(leader: Result, other: Result, sign: int, level: float) -> Result:
    shared = sorted(leader.test.keys() & other.test.keys())
    behind = interval([sign * (leader.test[s] - other.test[s]) for s in shared], level)
    return Result(**{**other.__dict__, "behind": behind})


def _at_edge(trials: Sequence[Trial], chosen: Trial | None) -> bool:
    if chosen is None:
        return False
    ranges = {name: {t.hyperparameters[name] for t in trials} for name in chosen.hyperparameters}
    return any(len(values) > 1 and chosen.hyperparameters[n] in (min(values), max(values)) for n, values in ranges.items())


def headline(results: Sequence[Result], objective: str, maximise: bool) -> str:
    """The answer in a sentence or two, no stronger than the data."""
    ranked = [r for r in results if r.test]
    if not ranked:
        return "No contestant can be ranked: every one diverged, while tuning or with its fresh seeds."
    leader, *others = ranked
    word = "highest" if maximise else "lowest"
    first = f"{leader.contestant} reached the {word} mean test {objective}, {leader.mean.mean:.4g} over {len(leader.test)} seeds"
    level = [r.contestant for r in others if r.behind is None or not r.behind.low > 0]
    worse = [r.contestant for r in others if r.behind is not None and r.behind.low > 0]
    parts = []
    if level:
        parts.append(f"there is no evidence of a difference from {_and(level)}")
    if worse:
        parts.append(f"{_and(worse)} {'was' if len(worse) == 1 else 'were'} worse")
    return first + ("; " + "; ".join(parts) if parts else "") + "."


def _and(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]
