"""A contestant's trials by what their tuning runs reached, and the choice among them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fdl.compare._store import RunRecord


@dataclass(frozen=True)
class Trial:
    """One point of a contestant's search over its tuning seeds, by the objective on validation at the end of the run."""

    trial: int
    hyperparameters: dict[str, float]
    values: tuple[float, ...]
    """The objective of the runs that finished, by seed."""
    losses: tuple[float, ...]
    diverged: int
    """How many of its runs did; `values` and `losses` are without them."""
    stopped: int = 0
    """How many of its runs successive halving ended early; `values` and `losses` are without them."""

    @property
    def mean(self) -> float:
        """Of the runs that finished; NaN where none did."""
        return float(np.mean(self.values)) if self.values else np.nan

    @property
    def whole(self) -> bool:
        """Whether every run finished: only then its mean is one of all its seeds."""
        return bool(self.values) and not self.diverged and not self.stopped


def diverged(run: RunRecord, split: str, objective: str) -> bool:
    """Whether a run that was not stopped has no finite objective at its end: as bad as a loss that was not finite."""
    return run.diverged or not np.isfinite(run.last(split, objective))


def summarise(runs: Sequence[RunRecord], objective: str) -> list[Trial]:
    """A contestant's tuning runs by trial, in their order."""
    by_trial: dict[int, list[RunRecord]] = {}
    for run in runs:
        by_trial.setdefault(run.trial, []).append(run)
    trials = []
    for number, mine in sorted(by_trial.items()):
        lasted = [run for run in mine if run.stopped_at is None or run.diverged]
        finished = [run for run in lasted if not diverged(run, "validation", objective)]
        values = tuple(run.last("validation", objective) for run in finished)
        losses = tuple(run.last("validation", "loss") for run in finished)
        lost, stopped = len(lasted) - len(finished), len(mine) - len(lasted)
        trials.append(Trial(number, mine[0].hyperparameters, values, losses, lost, stopped))
    return trials


def choose_trial(trials: Sequence[Trial], maximise: bool) -> Trial | None:
    """The trial with the best mean objective; of equals the one with the lower mean validation loss.

    A trial of which a single seed diverged or was stopped is not chosen: the mean of its other seeds would flatter it.
    """
    whole = [trial for trial in trials if trial.whole]
    return min(whole, key=lambda t: (-t.mean if maximise else t.mean, np.mean(t.losses)), default=None)


def searched(trials: Sequence[Trial]) -> tuple[str, ...]:
    """The hyperparameters that vary between trials, in their order."""
    names = dict.fromkeys(name for trial in trials for name in trial.hyperparameters)
    return tuple(name for name in names if len({trial.hyperparameters.get(name) for trial in trials}) > 1)


def at_edge(trials: Sequence[Trial], chosen: Trial | None) -> tuple[str, ...]:
    """The hyperparameters whose chosen value is the least or the greatest searched: the optimum may lie outside."""
    if chosen is None:
        return ()
    return tuple(name for name in searched(trials) if chosen.hyperparameters.get(name) in _ends(trials, name))


def _ends(trials: Sequence[Trial], name: str) -> tuple[float, ...]:
    """The least and the greatest value; none of names, such as a schedule's."""
    values = [trial.hyperparameters[name] for trial in trials if name in trial.hyperparameters]
    return () if any(isinstance(value, str) for value in values) else (min(values), max(values))
