"""Intervals of mean, median and interquartile mean, against SciPy and by their coverage."""

import math

import numpy as np
import pytest
from scipy import stats

from fdl.compare import _intervals as intervals
from fdl.compare import interval


def test_the_interval_is_students_t():
    values = np.random.default_rng(0).normal(size=10)
    for level in (0.9, 0.95, 0.99):
        reference = stats.ttest_1samp(values, 0).confidence_interval(level)
        np.testing.assert_allclose(interval(values.tolist(), level), (values.mean(), reference.low, reference.high), rtol=1e-12)


@pytest.mark.parametrize("make", [interval, lambda v: intervals.bootstrap(v, np.median)])
def test_too_few_values_have_no_interval(make):
    assert make([1.0]).value == 1
    assert math.isnan(make([1.0]).low)
    assert math.isnan(make([]).value)
    assert make([2.0, 2.0, 2.0]) == (2, 2, 2)


@pytest.mark.parametrize("n", [2, 3, 4, 7, 8, 10, 13])
def test_the_interquartile_mean_is_without_a_quarter_at_either_end(n):
    values = np.random.default_rng(n).normal(size=n)
    kept = sorted(values)[n // 4 : n - n // 4]
    assert intervals.interquartile_mean(values) == pytest.approx(math.fsum(kept) / len(kept), rel=1e-12)
    assert intervals.bootstrap(values, intervals.interquartile_mean).value == pytest.approx(stats.trim_mean(values, 0.25), rel=1e-12)


@pytest.mark.parametrize("statistic", [np.median, intervals.interquartile_mean])
def test_the_bootstrap_ends_are_the_expanded_percentiles(statistic):
    values = np.random.default_rng(0).normal(size=10)
    found = intervals.bootstrap(values, statistic)
    resampled = statistic(np.random.default_rng(1).choice(values, (100_000, 10)), axis=1)
    tail = stats.norm.cdf(-math.sqrt(10 / 9) * stats.t.ppf(0.975, 9))
    np.testing.assert_allclose(found[1:], np.quantile(resampled, [tail, 1 - tail]), atol=0.05)  # measured 0.011
    assert found == intervals.bootstrap(values, statistic), "the same resamples every time"


def test_intervals_follow_a_change_of_units():
    values = np.random.default_rng(0).normal(size=9)
    for make in (interval, lambda v: intervals.bootstrap(v, np.median), lambda v: intervals.bootstrap(v, intervals.interquartile_mean)):
        value, low, high = make(values)
        np.testing.assert_allclose(make(3 * values + 2), (3 * value + 2, 3 * low + 2, 3 * high + 2), rtol=1e-9)
        np.testing.assert_allclose(make(-values), (-value, -high, -low), rtol=1e-9)
