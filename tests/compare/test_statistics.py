"""What the records say, against SciPy and by hand."""

import math

import numpy as np
import pytest
from scipy import stats

from fdl.compare import RunRecord, interval
from fdl.compare._headline import headline
from fdl.compare._results import compare_pairs, judge
from fdl.compare._tuning import choose_trial, summarise


def record(phase, name, trial, seed, value, loss=1.0, lr=None, diverged_at=None):
    curves = {("validation", "accuracy"): [(5, 0.0), (10, value)], ("validation", "loss"): [(5, 9.0), (10, loss)]}
    if phase == "final":
        curves["test", "accuracy"] = [(10, value)]
    return RunRecord(phase, name, trial, seed, {"lr": 10.0**trial if lr is None else lr}, diverged_at, curves)


def study(tune, final):
    """Records from `{contestant: [[values by seed] by trial]}` and `{contestant: [values by seed]}`; None is a diverged run."""
    rows = [("tune", n, t, s, v) for n, trials in tune.items() for t, values in enumerate(trials) for s, v in enumerate(values)]
    rows += [("final", n, 1, 1000 + s, v) for n, values in final.items() for s, v in enumerate(values)]
    return [record(*row[:4], math.nan if row[4] is None else row[4], diverged_at=None if row[4] is not None else 3) for row in rows]


TUNE = {name: [[0.5, 0.5], [0.9, 0.8], [0.6, 0.7]] for name in ("a", "b", "c")}


def test_the_interval_is_students_t():
    values = np.random.default_rng(0).normal(size=10)
    for level in (0.9, 0.95, 0.99):
        reference = stats.ttest_1samp(values, 0).confidence_interval(level)
        found = interval(values.tolist(), level)
        np.testing.assert_allclose(found, (values.mean(), reference.low, reference.high), rtol=1e-12)


def test_the_interval_covers_the_mean_as_often_as_it_says():
    rng, hits = np.random.default_rng(0), 0
    for _ in range(2000):
        found = interval(rng.normal(size=10))
        hits += found.low <= 0 <= found.high
    assert abs(hits / 2000 - 0.95) < 5 * math.sqrt(0.95 * 0.05 / 2000)


def test_too_few_values_have_no_interval():
    assert math.isnan(interval([1.0]).low)
    assert math.isnan(interval([]).value)


def test_the_end_of_a_run_counts_not_its_best_moment():
    run = record("tune", "a", 0, 0, 0.7)
    run.curves["validation", "accuracy"].insert(0, (1, 0.99))
    assert summarise([run], "accuracy")[0].values == (0.7,)


def test_of_equal_trials_the_lower_loss_is_chosen():
    runs = [record("tune", "a", t, 0, 0.9, loss) for t, loss in enumerate((0.5, 0.3, 0.4))]
    assert choose_trial(summarise(runs, "accuracy"), maximise=True).trial == 1


def test_less_is_better_where_the_objective_is_a_loss():
    runs = [record("tune", "a", t, 0, 0.9, loss) for t, loss in enumerate((0.5, 0.3, 0.4))]
    assert choose_trial(summarise(runs, "loss"), maximise=False).trial == 1


def test_a_trial_of_which_a_seed_diverged_is_counted_and_not_chosen():
    runs = study({"a": [[0.5, 0.5], [0.99, None], [None, None]]}, {})
    trials = summarise(runs, "accuracy")
    assert [t.diverged for t in trials] == [0, 1, 2]
    assert trials[1].values == (0.99,)
    assert math.isnan(trials[2].mean)
    assert choose_trial(trials, maximise=True).trial == 0


def test_diverged_final_runs_are_counted_and_never_averaged_in():
    (result,) = judge(study({"a": TUNE["a"]}, {"a": [0.8, None, 0.6]}), ["a"], "accuracy", True)
    assert result.mean.value == pytest.approx(0.7)
    assert (result.diverged_final, result.final_runs, result.diverged_tuning, result.tuning_runs) == (1, 3, 0, 6)


def test_differences_are_paired_and_hold_together():
    rng = np.random.default_rng(1)
    luck = rng.normal(size=10)  # shared by all contestants, far larger than what they differ by
    final = {name: (luck + shift + 0.01 * rng.normal(size=10)).tolist() for name, shift in (("a", 0.0), ("b", 0.1), ("c", 0.095))}
    first, second, third = judge(study(TUNE, final), ["a", "b", "c"], "accuracy", True)
    assert [r.contestant for r in (first, second, third)] == ["b", "c", "a"]
    for result in (second, third):
        differences = np.array(final["b"]) - np.array(final[result.contestant])
        reference = stats.ttest_1samp(differences, 0).confidence_interval(1 - 0.05 / 3)  # three pairs, the leader being picked among them
        np.testing.assert_allclose(result.behind, (differences.mean(), reference.low, reference.high), rtol=1e-12)
    said = headline([first, second, third], compare_pairs([first, second, third], True), "accuracy", True)
    assert said.endswith("there is no evidence of a difference from c (one of 0.021 would be found with 80 % power); a was worse.")


def test_a_chosen_rate_at_the_end_of_its_range_is_flagged():
    ends = {"a": [[0.9], [0.8], [0.7]], "b": [[0.7], [0.9], [0.8]], "c": [[0.7], [0.8], [0.9]]}
    results = {r.contestant: r.at_edge for r in judge(study(ends, {}), ["a", "b", "c"], "accuracy", True)}
    assert results == {"a": ("lr",), "b": (), "c": ("lr",)}


def test_when_everything_diverges_the_headline_says_so():
    results = judge(study({"a": [[None], [None]]}, {}), ["a"], "accuracy", True)
    assert results[0].chosen is None
    assert (
        headline(results, [], "accuracy", True) == "No contestant can be ranked: every one diverged, while tuning or with its fresh seeds."
    )
