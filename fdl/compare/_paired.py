"""Two contestants under the same fresh seeds: is the difference real or seed noise?

A seed decides initial parameters and batches, so differences are taken seed by seed, `d_s`, and the luck that two
contestants share cancels. The test flips signs: were the two alike, every `d_s` would as well have had the other sign, and
of the `2^n` ways to choose signs, `p` is the share whose mean is at least as far from 0 as the one observed. The test is exact
for any distribution of the noise, it tests the mean that contestants are ranked by (Wilcoxon's ranks do not), equal
values are no evidence for either side (a difference of 0 stays 0), and few seeds cannot pretend to much: `p >= 2 / 2^n`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import ceil, copysign, inf, log2, nan, sqrt

import numpy as np

from fdl.compare._intervals import Interval

LEVEL, POWER = 0.05, 0.8
FLIPS = 2**14  # all of them up to 14 seeds, beyond that as many at random


@dataclass(frozen=True)
class Comparison:
    """Two contestants, paired by fresh seed."""

    better: str
    worse: str
    """In ranking order."""
    seeds: int
    """How many both of them finished."""
    difference: Interval
    """Mean of the differences, positive in favour of `better`, with Student's t interval. Its level is Bonferroni's, `1 - 0.05 /
    pairs`: the intervals of all pairs hold together at 95 %, whichever pair was picked for its size."""
    p: float
    """Two-sided, by flipping signs; 1 where fewer than two seeds are shared."""
    p_holm: float
    """The same after Holm's correction over all pairs."""
    improvement: Interval
    """Probability that `better` beats `worse` on a fresh seed, ties half, with the Clopper-Pearson interval, 95 % at least. A run
    that diverged loses to one that finished."""
    effect: float
    """Mean of the differences by their standard deviation (Cohen's d_z); infinite where they are equal and not 0."""
    detectable: float
    """The true mean difference that so many seeds would find with 80 % power at the level of `difference`, were its standard
    deviation the one observed; infinite where the seeds are too few for any, NaN where they show no scatter."""

    @property
    def significant(self) -> bool:
        """Whether there is evidence that `better` is better: `p_holm` is at most 0.05 and all of `difference` above 0."""
        return self.p_holm <= LEVEL and self.difference.low > 0


def sign_flip(differences: np.ndarray) -> float:
    """Two-sided p of the sign-flip permutation test of a mean of 0; exact up to 14 values, [n].

    Beyond, `(k + 1) / (m + 1)` with `k` of `m` random choices of signs as extreme as the one observed, which is one of them.
    SciPy's `permutation_test` of one sample is the same test, a hundred times slower.
    """
    n = len(differences)
    if n < 2:
        return 1.0
    rounding = 1e-12 * np.abs(differences).sum()  # sums that tie must not be told apart by their last bit
    extreme = int(np.sum(np.abs(_signs(n) @ differences) >= abs(differences.sum()) - rounding))
    return extreme / 2**n if 2**n <= FLIPS else (extreme + 1) / (FLIPS + 1)


@lru_cache
def _signs(n: int) -> np.ndarray:
    if 2**n <= FLIPS:
        return 1.0 - 2 * (np.arange(2**n)[:, None] >> np.arange(n) & 1)
    return np.random.default_rng(0).choice([-1.0, 1.0], (FLIPS, n))


def holm(p: Sequence[float]) -> np.ndarray:
    """Holm's step-down correction: the i-th least p times the number of those not smaller, made monotone, at most 1.

    The chance that any true hypothesis is rejected is at most the level, however the tests depend on each other
    (Holm, "A simple sequentially rejective multiple test procedure", 1979).
    """
    array = np.asarray(p, float)
    order = np.argsort(array)
    steps = np.maximum.accumulate(array[order] * np.arange(len(array), 0, -1))
    return np.minimum(steps, 1)[np.argsort(order)]


def effect(differences: np.ndarray) -> float:
    """Mean by standard deviation, [n]: 0 where all are 0, infinite where all are equal, NaN for fewer than two."""
    if len(differences) < 2:
        return nan
    mean, scatter = float(differences.mean()), _scatter(differences)
    return mean / scatter if scatter else copysign(inf, mean) if mean else 0.0


def _scatter(differences: np.ndarray) -> float:
    """The standard deviation; 0 where it is nothing but rounding."""
    scatter = float(np.std(differences, ddof=1))
    return scatter if scatter > 1e-12 * np.abs(differences).max() else 0.0


def detectable(differences: np.ndarray, pairs: int) -> float:
    """The true mean difference found with 80 % power among so many pairs, from the scatter of the differences, [n].

    `ncp s / sqrt(n)`, where the noncentral t distribution with `n - 1` degrees and noncentrality `ncp` lies with probability
    0.8 above the upper one of Student's two-sided limits at `0.05 / pairs`.
    """
    n = len(differences)
    if n < least_seeds(pairs):
        return inf
    return _noncentrality(n, LEVEL / pairs) * _scatter(differences) / sqrt(n) or nan


def least_seeds(pairs: int) -> int:
    """The fewest fresh seeds with which a difference can be found among so many pairs: `2 pairs / 2^n <= 0.05`."""
    return ceil(log2(2 * max(pairs, 1) / LEVEL))


@lru_cache
def _noncentrality(n: int, level: float) -> float:
    from scipy import optimize, stats

    limit = stats.t.ppf(1 - level / 2, n - 1)
    return float(optimize.brentq(lambda ncp: stats.nct.sf(limit, n - 1, ncp) - POWER, 0, 1.5 * limit + 2))


def improvement(wins: float, seeds: int) -> Interval:
    """A probability from `wins` of `seeds`, halves allowed, with its Clopper-Pearson interval.

    Halves, for ties, scatter less than wins and losses would, so the interval holds at least as often with them.
    """
    from scipy import stats

    if not seeds:
        return Interval(nan, nan, nan)
    low = stats.beta.ppf(LEVEL / 2, wins, seeds - wins + 1) if wins else 0.0
    high = stats.beta.ppf(1 - LEVEL / 2, wins + 1, seeds - wins) if wins < seeds else 1.0
    return Interval(wins / seeds, float(low), float(high))
