"""What a contestant reaches as a function of how many trials it may spend on tuning."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fdl.compare._tuning import Trial

DRAWS, POINTS = 1000, 50


@dataclass(frozen=True, eq=False)
class BudgetCurve:
    """Expected best validation objective after `trials` trials, with a 95 % confidence band at each number, all [N]."""

    trials: np.ndarray
    """1 to N."""
    value: np.ndarray
    low: np.ndarray
    high: np.ndarray


def budget_curve(trials: Sequence[Trial], pool: Sequence[Trial], maximise: bool) -> BudgetCurve:
    """The expected best of n trials drawn at random, without replacement, from the N that were run.

    With values in rising quality, `sum_i x_(i) C(i-1, n-1) / C(N, n)`: unbiased for the expected best of n new trials (drawing with
    replacement, as in Dodge et al., "Show your work", 2019, is too pessimistic; Tang et al., "Showing your work doesn't
    always work", 2020), and at N it is the trial that was chosen. A trial that diverged or was stopped counts as the worst value
    that any trial of the study finished with.

    The band holds the expected best of n *new* trials with 95 % confidence, whatever the distribution of their values: the
    trials' quantiles `U_(1) < ... < U_(N)` are those of uniform draws, so that the best of n lies below the i-th with
    probability `U_(i)^n`; what lies between two trials counts as the lower one for one end, as the upper one for the other
    (Gaffke's bounds). What may lie beyond the best trial counts as 1 for a share, as 0 for a loss that is never negative, and
    else as the best value of the study: the band says how little N trials tell about the best of as many
    (Lourie et al., "Show your work with confidence", 2023).

    Args:
        trials: the contestant's.
        pool: all contestants'.
        maximise: whether more is better.

    Returns:
        N values; the band is interpolated beyond 50 of them.
    """
    from scipy.special import gammaln

    sign = 1 if maximise else -1
    reached = sign * np.array([trial.mean for trial in pool if trial.whole])
    N = len(trials)
    if not len(reached):
        return BudgetCurve(np.arange(1, N + 1), *np.full((3, N), np.nan))
    worst, best = reached.min(), _perfect(reached, maximise)
    x = np.sort([sign * trial.mean if trial.whole else worst for trial in trials])
    i, log_choose = np.arange(1, N + 1), lambda n, k: gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)
    value = np.array([x[n - 1 :] @ np.exp(log_choose(i[n - 1 :] - 1, n - 1) - log_choose(N, n)) for n in i])
    at = np.unique(np.geomspace(1, N, POINTS).round().astype(int)) if N > POINTS else i
    uniform = np.sort(np.random.default_rng(0).uniform(size=(DRAWS, N)), axis=1)
    ends = []
    for floor, q in ((np.append(worst, x), 0.025), (np.append(x, best), 0.975)):
        means = [floor[-1] - uniform**n @ np.diff(floor) for n in at]  # sum_i (U_(i)^n - U_(i-1)^n) floor_i, by parts
        ends.append(np.interp(i, at, [sign * np.quantile(mean, q) for mean in means]))
    low, high = ends[::sign]
    return BudgetCurve(i, sign * value, low, high)


def _perfect(reached: np.ndarray, maximise: bool) -> float:
    """The bound of what can be reached, in rising quality."""
    if maximise and reached.min() >= 0 and reached.max() <= 1:
        return 1.0
    return 0.0 if not maximise and reached.max() <= 0 else float(reached.max())
