"""How a contestant's result depends on one hyperparameter."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fdl.compare._tuning import Trial

TOLERANCE = 0.02


@dataclass(frozen=True, eq=False)
class Sensitivity:
    """The validation objective at each searched value of a hyperparameter; arrays are [points], in rising order of `values`."""

    values: np.ndarray
    mean: np.ndarray
    """Over the tuning seeds, of the best trial at this value of the hyperparameter; NaN where no run finished."""
    low: np.ndarray
    high: np.ndarray
    """The least and the greatest of the seeds."""
    diverged: np.ndarray
    """How many runs at this value did."""
    width: float
    """How much of the range, in decades for a log prior, is nearly as good as its best value; NaN where nothing finished, and for names."""
    at_edge: bool
    """Whether the best value is the least or the greatest searched: the optimum may lie outside."""


def sensitivity(trials: Sequence[Trial], name: str, maximise: bool, logarithmic: bool) -> Sensitivity:
    """The profile along one hyperparameter, the others at their best.

    `width` is the length of the stretch around the best value within which the mean, interpolated linearly between the
    searched values (in the logarithm for a log prior), is within 2 % of the best: an absolute 0.02 for shares (all values
    between 0 and 1, more being better), else 2 % of the best's size. The stretch ends at a value of which a seed diverged or was
    stopped, and at the ends of the range: the greatest width that can be found is that of the range.

    Args:
        trials: the contestant's.
        name: of the hyperparameter.
        maximise: whether more is better.
        logarithmic: whether its prior is.
    """
    sign = 1 if maximise else -1
    mine = [trial for trial in trials if name in trial.hyperparameters]
    values = np.array(sorted({trial.hyperparameters[name] for trial in mine}))
    groups = [[trial for trial in mine if trial.hyperparameters[name] == value] for value in values]
    shown = [max(group, key=lambda t: (t.whole, bool(t.values), sign * t.mean if t.values else 0)) for group in groups]
    mean, low, high = (np.array([f(t.values) if t.values else np.nan for t in shown]) for f in (np.mean, np.min, np.max))
    lost = np.array([sum(trial.diverged for trial in group) for group in groups], int)
    quality = np.array([sign * t.mean if t.whole else np.nan for t in shown])
    if np.isnan(quality).all() or values.dtype.kind == "U":
        return Sensitivity(values, mean, low, high, lost, np.nan, False)
    best = int(np.nanargmax(quality))
    share = maximise and np.nanmin(quality) >= 0 and np.nanmax(quality) <= 1
    floor = quality[best] - TOLERANCE * (1 if share else abs(quality[best]))
    x = np.log10(values) if logarithmic else values
    width = _reach(x[best:], quality[best:], floor) + _reach(x[best::-1], quality[best::-1], floor)
    return Sensitivity(values, mean, low, high, lost, width, len(values) > 1 and best in (0, len(values) - 1))


def _reach(x: np.ndarray, quality: np.ndarray, floor: float) -> float:
    """How far from its first point the quality stays at `floor` or above, on straight lines between points."""
    for i in range(1, len(x)):
        if np.isnan(quality[i]):
            return float(abs(x[i - 1] - x[0]))
        if quality[i] < floor:
            crossing = (quality[i - 1] - floor) / (quality[i - 1] - quality[i])
            return float(abs(x[i - 1] + crossing * (x[i] - x[i - 1]) - x[0]))
    return float(abs(x[-1] - x[0]))
