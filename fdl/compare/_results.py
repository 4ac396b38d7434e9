"""What each contestant reached with its fresh seeds, in ranking order, and every pair of them compared."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from math import comb

import numpy as np

from fdl.compare import _paired as paired
from fdl.compare._intervals import Interval, bootstrap, interquartile_mean, interval
from fdl.compare._paired import Comparison
from fdl.compare._store import RunRecord
from fdl.compare._tuning import Trial, at_edge, choose_trial, diverged, summarise


@dataclass(frozen=True)
class Result:
    """What a contestant reached: its chosen trial, run again with fresh seeds and judged on the test split.

    Contestants are ranked by the number of fresh seeds that diverged, then by the mean of the others: a run that diverged is
    worse than any that finished, so no mean of survivors outranks a contestant that lost fewer.
    """

    contestant: str
    chosen: Trial | None
    at_edge: tuple[str, ...]
    """The hyperparameters whose chosen value is the least or the greatest searched: the optimum may lie outside."""
    test: dict[int, float]
    """The objective on the test split, by seed, of the runs that did not diverge."""
    diverged_seeds: tuple[int, ...]
    """The fresh seeds whose run did."""
    mean: Interval
    """Of `test`, with Student's t interval, 95 %."""
    median: Interval
    """With its bootstrap interval, 95 %."""
    iqm: Interval
    """The interquartile mean, the mean without the best and the worst quarter, with its bootstrap interval, 95 %."""
    with_tuning: Interval
    """The mean, with an interval that includes the luck of the trials as well as that of the fresh seeds."""
    optimism: float
    """How much the chosen trial's validation mean over its tuning seeds flatters it against that over the fresh seeds: the
    winner's curse, positive where tuning looked better."""
    behind: Interval | None
    """How far behind the leader: the `difference` of `Comparison`. The leader's is `None`."""
    diverged_tuning: int
    tuning_runs: int

    @property
    def diverged_final(self) -> int:
        return len(self.diverged_seeds)

    @property
    def final_runs(self) -> int:
        return len(self.test) + len(self.diverged_seeds)


def judge(runs: Sequence[RunRecord], contestants: Sequence[str], objective: str, maximise: bool) -> list[Result]:
    """Every contestant's result, best first; those without one last."""
    sign = 1 if maximise else -1
    results = [_result(runs, name, objective, maximise) for name in contestants]
    results.sort(key=lambda r: (not r.test, r.diverged_final, -sign * r.mean.value if r.test else 0))
    leader, *others = results
    pairs = comb(sum(bool(r.test) for r in results), 2)
    return [leader, *(replace(other, behind=_difference(_paired_values(leader, other, maximise), pairs)) for other in others)]


def compare_pairs(results: Sequence[Result], maximise: bool) -> list[Comparison]:
    """Every pair of contestants of which some fresh seed finished, in ranking order."""
    pairs = list(combinations([result for result in results if result.test], 2))
    found = [_compare(better, worse, maximise, len(pairs)) for better, worse in pairs]
    return [replace(comparison, p_holm=float(p)) for comparison, p in zip(found, paired.holm([c.p for c in found]))]


def _compare(better: Result, worse: Result, maximise: bool, pairs: int) -> Comparison:
    d = _paired_values(better, worse, maximise)
    won = len(better.test.keys() & set(worse.diverged_seeds))
    lost = len(worse.test.keys() & set(better.diverged_seeds))
    both = len(set(better.diverged_seeds) & set(worse.diverged_seeds))
    wins = np.sum(d > 0) + won + (np.sum(d == 0) + both) / 2
    return Comparison(
        better=better.contestant, worse=worse.contestant, seeds=len(d), difference=_difference(d, pairs),
        p=paired.sign_flip(d), p_holm=1.0, improvement=paired.improvement(float(wins), len(d) + won + lost + both),
        effect=paired.effect(d), detectable=paired.detectable(d, pairs),
    )  # fmt: skip


def _paired_values(better: Result, worse: Result, maximise: bool) -> np.ndarray:
    """The differences by seed that both finished, positive in favour of `better`, [seeds]."""
    shared = sorted(better.test.keys() & worse.test.keys())
    return np.array([better.test[s] - worse.test[s] for s in shared]) * (1 if maximise else -1)


def _difference(d: np.ndarray, pairs: int) -> Interval:
    return interval(d.tolist(), 1 - paired.LEVEL / max(pairs, 1))


def _result(runs: Sequence[RunRecord], name: str, objective: str, maximise: bool) -> Result:
    tune = [run for run in runs if run.contestant == name and run.phase == "tune"]
    final = [run for run in runs if run.contestant == name and run.phase == "final"]
    finished = [run for run in final if not diverged(run, "test", objective)]
    test = {run.seed: run.last("test", objective) for run in finished}
    values = list(test.values())
    trials = summarise(tune, objective)
    chosen, mean = choose_trial(trials, maximise), interval(values)
    fresh = [run.last("validation", objective) for run in finished]
    flattered = (chosen.mean - np.mean(fresh)) * (1 if maximise else -1) if chosen and fresh else np.nan
    return Result(
        contestant=name, chosen=chosen, at_edge=at_edge(trials, chosen), test=test,
        diverged_seeds=tuple(run.seed for run in final if run.seed not in test),
        mean=mean, median=bootstrap(values, np.median), iqm=bootstrap(values, interquartile_mean),
        with_tuning=with_tuning(mean, len(values), trials, maximise), optimism=float(flattered), behind=None,
        diverged_tuning=sum(trial.diverged for trial in trials), tuning_runs=len(tune),
    )  # fmt: skip


def with_tuning(mean: Interval, seeds: int, trials: Sequence[Trial], maximise: bool) -> Interval:
    """The interval of a mean over fresh seeds when tuning might have gone otherwise as well, 95 %.

    The `N` trials are resampled and one is chosen anew: the r-th best is the best of a resample with probability
    `((N - r + 1) / N)^N - ((N - r) / N)^N`, those that cannot be chosen coming last; resamples of them alone are left out.
    Another trial's test mean is that of the chosen one, shifted by how far its validation mean lies behind. The worse end is
    the 2.5 % point of this mixture of Student's t distributions. A resample has no trial better than the best that was run,
    so the other end is not drawn but set as far from the mean. For a grid it is the luck of where its points fell.
    """
    from scipy import optimize, special

    means = sorted((trial.mean for trial in trials if trial.whole), reverse=maximise)
    if np.isnan(mean.low) or not means:
        return mean
    weights = -np.diff((1 - np.arange(len(means) + 1) / len(trials)) ** len(trials))
    weights /= weights.sum()
    behind = np.abs(np.asarray(means) - means[0])
    error = (mean.high - mean.value) / special.stdtrit(seeds - 1, 0.975)
    if error:
        beyond = lambda x: float(weights @ special.stdtr(seeds - 1, (behind - x) / error)) - 0.025
        far = behind.max() + error * special.stdtrit(seeds - 1, 0.99)
        half = float(optimize.brentq(beyond, 0, far, xtol=1e-9 * error, maxiter=1000))
    else:
        half = float(behind[np.searchsorted(np.cumsum(weights), 0.975)])
    return Interval(mean.value, mean.value - half, mean.value + half)
