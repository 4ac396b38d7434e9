"""Choice, ranking and the sentence: what is counted, what is averaged, what is said."""

import dataclasses
import math

import numpy as np
import pytest
from invented import FIRST_FRESH, field, judged, rivals, study, tuned
from scipy import stats

from fdl.compare import interval

TUNE = [[0.5, 0.5], [0.9, 0.8], [0.6, 0.7]]


def chosen(runs, **task):
    return study(runs, **task).results()[0].chosen


def test_the_end_of_a_run_counts_not_its_best_moment():
    runs = tuned("a", [[0.7]])
    runs[0].curves["validation", "accuracy"].insert(0, (1, 0.99))
    assert study(runs).trials("a")[0].values == (0.7,)


def test_of_equal_trials_the_lower_loss_is_chosen():
    assert chosen(tuned("a", [[0.9], [0.9], [0.9]], losses=[0.5, 0.3, 0.4])).trial == 1


def test_less_is_better_where_the_objective_is_a_loss():
    assert chosen(tuned("a", [[0.5], [0.3], [0.4]], objective="loss"), objective="loss", maximise=False).trial == 1


def test_a_trial_of_which_a_seed_diverged_is_counted_and_not_chosen():
    found = study(tuned("a", [[0.5, 0.5], [0.99, None], [None, None]]))
    trials = found.trials("a")
    assert [t.diverged for t in trials] == [0, 1, 2]
    assert trials[1].values == (0.99,)
    assert math.isnan(trials[2].mean)
    assert found.results()[0].chosen.trial == 0


def test_a_trial_that_was_stopped_is_never_chosen_nor_averaged():
    found = study(tuned("a", [[0.5, 0.5], [0.99, 0.98], [0.97, None]], stopped=(1, 2)))
    trials = found.trials("a")
    assert [t.stopped for t in trials] == [0, 2, 1], "a run that diverged is not one that was stopped"
    assert [t.diverged for t in trials] == [0, 0, 1]
    assert trials[1].values == trials[2].values == ()
    assert found.results()[0].chosen.trial == 0


def test_a_value_that_is_not_finite_is_a_divergence_though_the_loss_was_finite():
    result = study(tuned("a", [[math.nan], [0.4], [math.inf]]) + judged("a", [0.5, math.nan, 0.7])).results()[0]
    assert result.chosen.trial == 1
    assert (result.diverged_tuning, result.diverged_final) == (2, 1)
    assert result.mean.value == pytest.approx(0.6)


def test_the_default_is_a_trial_of_its_own():
    found = study(tuned("a", TUNE) + tuned("a", [[0.95, 0.96]], [{"lr": 0.001}], phase="default"))
    assert found.default("a").values == (0.95, 0.96)
    assert found.results()[0].chosen.trial == 1, "the default is shown, not chosen"
    assert study(tuned("a", TUNE)).default("a") is None


def test_diverged_final_runs_are_counted_and_never_averaged_in():
    (result,) = study(tuned("a", TUNE) + judged("a", [0.8, None, 0.6])).results()
    assert result.mean.value == result.median.value == result.iqm.value == pytest.approx(0.7)
    assert (result.diverged_final, result.final_runs, result.diverged_tuning, result.tuning_runs) == (1, 3, 0, 6)
    assert result.diverged_seeds == (FIRST_FRESH + 1,)


def test_no_mean_of_survivors_outranks_a_contestant_that_lost_fewer_seeds():
    values = [[0.9] * 9 + [None], [0.8] * 10, [0.95] * 8 + [None] * 2, [0.7] * 10, [None] * 10]
    results = field(values).results()
    assert [r.contestant for r in results] == ["c1", "c3", "c0", "c2", "c4"]
    assert [r.diverged_final for r in results] == [0, 0, 1, 2, 10]
    assert math.isnan(results[-1].behind.value)


@pytest.mark.parametrize("maximise", [True, False])
def test_optimism_is_how_much_tuning_flattered_the_chosen_trial(maximise):
    sign = 1 if maximise else -1
    tune = [[v * sign for v in trial] for trial in [[0.5, 0.5], [0.9, 0.8]]]
    runs = tuned("a", tune) + judged("a", [0.0, 0.0], [0.7 * sign, 0.8 * sign])
    assert study(runs, maximise=maximise).results()[0].optimism == pytest.approx(0.85 - 0.75)


def test_differences_are_paired_and_hold_together_over_all_pairs():
    rng = np.random.default_rng(1)
    luck = rng.normal(size=10)  # shared by all contestants, far larger than what they differ by
    final = {name: luck + shift + 0.01 * rng.normal(size=10) for name, shift in (("a", 0.0), ("b", 0.1), ("c", 0.095))}
    found = study([run for name in final for run in tuned(name, TUNE) + judged(name, final[name].tolist())])
    leader, *others = found.results()
    assert [r.contestant for r in (leader, *others)] == ["b", "c", "a"]
    assert leader.behind is None
    for result in others:
        differences = final["b"] - final[result.contestant]
        reference = stats.ttest_1samp(differences, 0).confidence_interval(1 - 0.05 / 3)  # the leader is picked among three pairs
        np.testing.assert_allclose(result.behind, (differences.mean(), reference.low, reference.high), rtol=1e-12)
    assert [c.difference for c in found.comparisons()[:2]] == [r.behind for r in others]
    assert found.headline().endswith(
        "there is no evidence of a difference from c (one of 0.021 would be found with 80 % power); a was worse."
    )


def test_a_chosen_value_at_the_end_of_its_range_is_named():
    settings = [{"lr": lr, "b": b, "eps": 1e-8} for lr in (0.1, 1.0, 10.0) for b in (0.8, 0.9, 0.99)]
    for best, edges in ((0, ("lr", "b")), (1, ("lr",)), (4, ()), (5, ("b",))):
        (result,) = study(tuned("a", [[0.9 if i == best else 0.5] for i in range(9)], settings)).results()
        assert result.at_edge == edges
    assert study(tuned("a", [[0.5]])).results()[0].at_edge == (), "a fixed value has no edge"


def test_trials_may_differ_in_the_hyperparameters_that_they_have():
    found = study(tuned("a", [[0.5], [0.9]], [{"lr": 0.1, "b": 0.9}, {"lr.peak": 0.1, "b": 0.9}]))
    assert found.searched("a") == ("lr", "lr.peak")
    assert found.results()[0].chosen.trial == 1


# with_tuning: other trials might have been drawn


def test_one_trial_has_no_luck_of_tuning():
    (result,) = field([[0.5, 0.6, 0.8, 0.7]]).results()
    np.testing.assert_allclose(result.with_tuning, result.mean, atol=1e-9)


def test_the_luck_of_tuning_is_that_of_resampled_trials():
    rng = np.random.default_rng(0)
    means = np.sort(rng.normal(size=6))[::-1]
    values = rng.normal(size=8)
    (result,) = study(tuned("a", [[m] for m in means] + [[None]]) + judged("a", values.tolist())).results()
    drawn = rng.integers(7, size=(200_000, 7)).min(axis=1)  # place of the best of each resample; the seventh cannot be chosen
    drawn = drawn[drawn < 6]
    mean = values.mean() + means[drawn] - means[0] + stats.sem(values) * rng.standard_t(7, size=len(drawn))
    assert result.with_tuning.low == pytest.approx(np.quantile(mean, 0.025), abs=0.01)  # measured 0.0003
    assert result.with_tuning.high == pytest.approx(2 * values.mean() - result.with_tuning.low)
    assert result.with_tuning.low < result.mean.low


def test_equal_fresh_seeds_leave_the_luck_of_tuning():
    (result,) = study(tuned("a", [[0.9], [0.8], [0.7], [0.6]]) + judged("a", [0.85] * 3)).results()
    # the best of 4 resampled trials is the first, second, third with probability 0.684, 0.254, 0.059: 97.5 % is the third
    np.testing.assert_allclose(result.with_tuning, (0.85, 0.65, 1.05))


# the sentence


def test_when_everything_diverges_the_headline_says_so():
    found = study(tuned("a", [[None], [None]]))
    assert found.results()[0].chosen is None
    assert found.headline() == "No contestant can be ranked: every one diverged, while tuning or with its fresh seeds."


def test_what_diverged_is_said():
    values = [[0.9 + 0.001 * i for i in range(9)] + [None], [0.8 + 0.002 * i for i in range(10)], [None] * 10]
    assert field(values).headline() == (
        "c1 reached the highest mean test accuracy, 0.809 over 10 seeds; "
        "c0 did better with the seeds it finished, but diverged with 1 of 10; c2 diverged."
    )
    assert "0.904 over 9 seeds (1 more diverged)" in field(values[:1]).headline()


def test_too_few_seeds_are_said_and_how_many_are_needed():
    one = [0.90, 0.91, 0.92, 0.93, 0.94]
    said = field([one, [v - 0.5 for v in one]]).headline()
    assert said.endswith("there is no evidence of a difference from c1 (5 seeds can show none: at least 6 are needed).")
    eight = [[0.9 + 0.1 * c + 0.01 * (s * (c + 1) % 7) for s in range(10)] for c in range(8)]
    assert field(eight).headline().endswith("(10 seeds can show none among 28 pairs: at least 11 are needed).")


def test_a_contestant_with_few_seeds_left_does_not_hide_what_the_others_show():
    rng = np.random.default_rng(0)
    values = [row.tolist() for row in rivals(rng, [0.8] * 3)]
    said = field([*values[:2], [*values[2][:3], *[None] * 7]]).headline()
    assert "would be found with 80 % power" in said
    assert "can show none" not in said


def test_equal_values_are_no_evidence():
    found = field([[0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3]] * 3)
    assert [c.p for c in found.comparisons()] == [1.0] * 3
    assert "there is no evidence of a difference from c1 and c2." in found.headline(), "nothing shows what could be found"


def test_a_single_contestant_is_compared_with_nobody():
    found = field([[0.5, 0.7]])
    assert found.comparisons() == []
    assert found.headline() == "c0 reached the highest mean test accuracy, 0.6 over 2 seeds."


def test_results_are_records_that_cannot_be_changed():
    found = field([[0.5, 0.7]])
    found.results().clear()
    assert found.results()[0].mean == interval([0.5, 0.7])
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.results()[0].mean = None
