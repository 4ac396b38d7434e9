"""Targets, steps to them and profiles, by hand and against AlgoPerf's definition."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from invented import raced, study

from fdl.compare._targets import profiles
from fdl.core import FdlError

STEPS = (10, 20, 30, 40)


def curve(*values):
    return list(zip(STEPS, values))


SLOW, FAST, BEST = curve(0.1, 0.2, 0.3, 0.4), curve(0.3, 0.5, 0.6, 0.6), curve(0.5, 0.7, 0.9, 0.95)


def test_targets_are_what_the_median_contestant_reached_by_quarters():
    assert study(raced("a", [SLOW]) + raced("b", [FAST]) + raced("c", [BEST])).targets() == (0.3, 0.5, 0.6)


@pytest.mark.parametrize("maximise", [True, False])
def test_no_contestant_sets_a_target_alone(maximise):
    sign = 1 if maximise else -1
    turned = lambda c: [(step, sign * value) for step, value in c]
    before = study(raced("a", [turned(SLOW)]) + raced("b", [turned(FAST)]) + raced("c", [turned(BEST)]), maximise=maximise).targets()
    leap = turned(curve(0.9, 0.99, 0.999, 0.9999))
    after = study(raced("a", [turned(SLOW)]) + raced("b", [turned(FAST)]) + raced("c", [leap]), maximise=maximise).targets()
    assert before == after == tuple(sign * t for t in (0.3, 0.5, 0.6))


def test_a_seed_that_diverged_is_worse_than_any_in_the_median():
    spread = raced("a", [curve(0.2, 0.4, 0.6, 0.8), None, curve(0.3, 0.5, 0.7, 0.9)])
    assert study(spread).targets() == (0.2, 0.4, 0.6, 0.8)
    assert study(raced("a", [None, None, SLOW])).targets() == ()
    assert study(raced("a", [SLOW]) + raced("b", [None]) + raced("c", [FAST])).targets() == (0.1, 0.2, 0.3, 0.4)


def test_contestants_with_steps_of_their_own_meet_at_the_same_share_of_them():
    half = [(step // 2, value) for step, value in FAST]
    found = study(raced("a", [SLOW]) + raced("b", [half]) + raced("c", [BEST]))
    assert found.targets() == (0.3, 0.5, 0.6)
    assert found.to_target("b", 0.5) == {1000: 10.0}


def test_steps_are_those_of_the_first_evaluation_at_or_beyond_the_target():
    runs = raced("a", [SLOW, FAST, None, curve(0.35, 0.2, 0.3, math.nan)])
    assert study(runs).to_target("a", 0.3) == {1000: 30, 1001: 10, 1002: math.inf, 1003: 10}
    assert study(runs, maximise=False).to_target("a", 0.2) == {1000: 10, 1001: math.inf, 1002: math.inf, 1003: 20}


def test_profiles_by_hand():
    found = profiles({"a": [10, 20, math.inf], "b": [20, 10, math.inf], "c": [40, math.inf, 30]})
    for tau, shares in ((1, (1 / 3, 1 / 3, 1 / 3)), (2.0001, (2 / 3, 2 / 3, 1 / 3)), (4, (2 / 3, 2 / 3, 2 / 3))):
        at = np.searchsorted(found.tau, tau - 1e-9)
        assert tuple(found.share[name][at] for name in "abc") == pytest.approx(shares)
    # the trapezoid at 100 points spaced 1/33: tau = 2 is the 34th point, 1/3 below it and 2/3 from it on
    assert found.score["a"] == pytest.approx((1 / 3 * 1 + 2 / 3 * 2 + (1 / 3) / 33 / 2) / 3)
    assert found.score["c"] == pytest.approx((1 / 3 * 3 + (1 / 3) / 33 / 2) / 3), "reached only at the last point"


def test_the_median_seed_counts_and_a_majority_of_misses_is_a_miss():
    runs = raced("a", [curve(0, 0, 1, 1), curve(1, 1, 1, 1), curve(0, 1, 1, 1)]) + raced("b", [None, curve(1, 1, 1, 1), None])
    runs += raced("c", [curve(0.5, 0.5, 0.5, 1)] * 3)
    found = study(runs)
    assert found.targets() == (0.0, 0.5, 1.0)
    profile = found.profiles()
    # a: 10, 20, 20 steps; b misses all; c: 10, 10, 40
    assert profile.share["a"][0] == pytest.approx(2 / 3)
    assert profile.share["c"][0] == pytest.approx(2 / 3)
    assert profile.share["a"][-1] == profile.share["c"][-1] == 1
    assert profile.score["b"] == 0


def test_a_profile_by_cost_weighs_steps_and_refuses_what_was_not_measured():
    found = study(raced("a", [curve(0, 0, 1, 1)]) + raced("b", [curve(0, 1, 1, 1)]))
    found.manifest["costs"] = {"a": {"seconds_per_step": 0.1}, "b": {"seconds_per_step": 0.3}}
    # to targets 0, 0.5 and 1: a takes 10, 30 and 30 steps, b 10, 20 and 20; in seconds 1, 3, 3 and 3, 6, 6
    assert (found.profiles().share["a"][0], found.profiles("seconds").share["a"][0]) == (pytest.approx(1 / 3), 1)
    assert found.profiles("seconds").share["b"][-1] == 1
    with pytest.raises(FdlError, match="no gradient evaluations of a, b"):
        found.profiles("gradient evaluations")


def test_a_study_in_which_nobody_got_anywhere_has_no_score():
    profile = study(raced("a", [None]) + raced("b", [None])).profiles()
    assert math.isnan(profile.score["a"])
    assert profile.share["a"].tolist() == [0] * 100
    assert profiles({"a": [math.inf], "b": [math.inf]}).score == {"a": 0, "b": 0}


TABLES = st.integers(1, 4).flatmap(
    lambda n: st.dictionaries(
        st.sampled_from("abcde"), st.lists(st.integers(1, 50) | st.just(math.inf), min_size=n, max_size=n), min_size=1
    )
)


@settings(max_examples=60, deadline=None)
@given(TABLES, st.integers(2, 9))
def test_laws_of_profiles(steps, factor):
    found = profiles(steps)
    assert max(found.share[name][0] for name in steps) > 0 or all(math.isinf(t) for row in steps.values() for t in row)
    for name, share in found.share.items():
        assert (np.diff(share) >= 0).all()
        assert share[-1] <= np.isfinite(steps[name]).mean()
        assert 0 <= found.score[name] <= 1
    scaled = profiles({name: [t * factor for t in row] for name, row in steps.items()})
    for name in steps:  # a unit of time is nothing
        np.testing.assert_allclose(scaled.share[name], found.share[name])
    name = next(iter(steps))
    quicker = profiles({**steps, name: [t / factor for t in steps[name]]})
    assert quicker.score[name] >= found.score[name] - 1e-12
    assert all(quicker.score[other] <= found.score[other] + 1e-12 for other in steps if other != name)
