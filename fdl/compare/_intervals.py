"""Intervals from a few independent values: the mean, the median, the interquartile mean."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

RESAMPLES = 9999


class Interval(NamedTuple):
    """An estimate with its confidence interval; NaN ends where fewer than two values are there."""

    value: float
    low: float
    high: float


def interval(values: Sequence[float], level: float = 0.95) -> Interval:
    """Student's t interval for the mean of independent values: `mean ± t_{(1+level)/2, n-1} s / sqrt(n)`."""
    from scipy.special import stdtrit

    array = np.asarray(values, float)
    n = len(array)
    if n < 2:
        return Interval(float(array.mean()) if n else np.nan, np.nan, np.nan)
    half = stdtrit(n - 1, (1 + level) / 2) * array.std(ddof=1) / np.sqrt(n)
    return Interval(float(array.mean()), float(array.mean() - half), float(array.mean() + half))


def interquartile_mean(values: np.ndarray, axis: int = -1) -> Any:
    """The mean of the values left when a quarter, rounded down, is cut off at either end."""
    from scipy import stats

    return stats.trim_mean(values, 0.25, axis=axis)


def bootstrap(values: Sequence[float], statistic: Callable[..., Any], level: float = 0.95) -> Interval:
    """The expanded percentile bootstrap interval of a statistic of independent values, always with the same resamples.

    The percentiles are taken at `Φ(∓ sqrt(n / (n - 1)) t_{(1+level)/2, n-1})`: plain ones are too narrow for few values
    (Hesterberg, "What teachers should know about the bootstrap", 2015, section 4.3).

    Args:
        values: [n].
        statistic: maps an array to its statistic along `axis`.
        level: the share of studies in which the interval shall hold the truth.
    """
    from scipy import special, stats

    array = np.asarray(values, float)
    n = len(array)
    if n < 2:
        return Interval(float(statistic(array, axis=-1)) if n else np.nan, np.nan, np.nan)
    expanded = 1 - 2 * special.ndtr(-np.sqrt(n / (n - 1)) * special.stdtrit(n - 1, (1 + level) / 2))
    found = stats.bootstrap(
        (array,), statistic, n_resamples=RESAMPLES, vectorized=True, axis=-1, confidence_level=expanded, method="percentile", random_state=0
    ).confidence_interval
    return Interval(float(statistic(array, axis=-1)), float(found.low), float(found.high))
