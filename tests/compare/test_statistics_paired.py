"""Pairs of contestants: against full enumeration by hand, published tables, simulation, and under every symmetry."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from invented import field, rivals
from scipy import integrate, stats

from fdl.compare import _intervals as intervals
from fdl.compare import _paired as paired

quick = settings(max_examples=50, deadline=None)


@pytest.fixture(autouse=True, scope="module")
def few_resamples():
    """The bootstrap of medians and interquartile means takes most of the time and has no part here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(intervals, "RESAMPLES", 9)
        yield


def enumerated(differences):
    """The sign-flip p in whole numbers: no rounding can break a tie."""
    whole = [Fraction(d) for d in differences]
    sums = [abs(sum(s * d for s, d in zip(signs, whole))) for signs in itertools.product((1, -1), repeat=len(whole))]
    return sum(total >= abs(sum(whole)) for total in sums) / len(sums)


@quick
@given(st.lists(st.integers(-5, 5), min_size=2, max_size=8))
def test_p_is_the_share_of_sign_choices_at_least_as_far_from_zero(values):
    assert paired.sign_flip(np.array(values, float)) == pytest.approx(enumerated(values), abs=1e-12)


def test_p_of_ten_seeds_by_hand():
    assert paired.sign_flip(np.arange(1.0, 11)) == 2 / 1024  # all ten the same way, and all the other
    assert paired.sign_flip(np.r_[-1.0, np.arange(2, 11)]) == 4 / 1024  # {}, {1} and their mirrors reach 53
    assert paired.sign_flip(np.zeros(10)) == 1
    assert paired.sign_flip(np.r_[np.zeros(7), 1, 1, 1.0]) == 2 / 8, "zeros are evidence for neither"
    assert paired.sign_flip(np.array([0.3])) == paired.sign_flip(np.array([])) == 1


@pytest.mark.parametrize("n", [2, 10, 14])
def test_p_is_scipys(n):
    d = np.random.default_rng(n).normal(size=n) + 0.3
    reference = stats.permutation_test((d,), np.mean, permutation_type="samples", n_resamples=math.inf, vectorized=True)
    assert paired.sign_flip(d) == pytest.approx(reference.pvalue, abs=1e-12)


def test_p_of_many_seeds_is_close_to_the_t_test_and_never_zero():
    d = np.random.default_rng(0).normal(size=40) + 0.3
    assert paired.sign_flip(d) == pytest.approx(stats.ttest_1samp(d, 0).pvalue, abs=0.01)  # measured 0.002
    assert paired.sign_flip(np.ones(40)) == 1 / (paired.FLIPS + 1)


@pytest.mark.parametrize(
    ("p", "corrected"),
    [
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),  # 4 x .005, 3 x .01, 2 x .03, then 1 x .04 raised to .06
        ([0.2, 0.02, 0.2], [0.4, 0.06, 0.4]),  # ties
        ([0.6, 0.7, 0.9], [1.0, 1.0, 1.0]),
        ([0.04], [0.04]),
        ([], []),
    ],
)
def test_holm_by_hand(p, corrected):
    np.testing.assert_allclose(paired.holm(p), corrected, rtol=1e-12)


@quick
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_holm_lies_between_p_and_bonferroni_and_keeps_their_order(p, random):
    found = paired.holm(p)
    assert (found >= p).all()
    assert (found <= np.minimum(1, np.multiply(p, len(p))) + 1e-15).all()
    assert (np.diff(found[np.argsort(p)]) >= 0).all()
    shuffled = random.sample(range(len(p)), len(p))
    np.testing.assert_array_equal(paired.holm([p[i] for i in shuffled]), found[shuffled])


def test_the_fewest_seeds_are_those_whose_least_p_survives_the_correction():
    for pairs in range(1, 200):
        n = paired.least_seeds(pairs)
        assert 2 / 2**n * pairs <= 0.05 < 2 / 2 ** (n - 1) * pairs
    assert [paired.least_seeds(pairs) for pairs in (1, 15, 28)] == [6, 10, 11]


@pytest.mark.parametrize(("n", "pairs"), [(6, 1), (10, 1), (10, 15), (20, 45), (300, 3)])
def test_the_detectable_difference_has_the_power_it_claims(n, pairs):
    d = np.random.default_rng(n).normal(size=n)
    ncp = paired.detectable(d, pairs) / np.std(d, ddof=1) * math.sqrt(n)
    limit = stats.t.ppf(1 - 0.025 / pairs, n - 1)
    power = integrate.quad(lambda u: stats.norm.sf(limit * np.sqrt(stats.chi2.ppf(u, n - 1) / (n - 1)) - ncp), 0, 1)[0]
    assert power == pytest.approx(0.8, abs=1e-7)  # measured 8e-12


def test_a_detectable_difference_is_found_in_four_studies_of_five():
    rng, found = np.random.default_rng(0), 0
    size = paired.detectable(np.array([1.0, -1.0] * 5), 1) / np.std([1.0, -1.0] * 5, ddof=1)  # in standard deviations
    for _ in range(500):
        (c,) = field(rivals(rng, [size * 0.01 * math.sqrt(2), 0])).comparisons()
        found += c.significant and c.better == "c0"
    assert abs(found / 500 - 0.8) < 4 * math.sqrt(0.8 * 0.2 / 500)  # measured 0.776


def test_what_cannot_be_detected():
    assert paired.detectable(np.arange(5.0), 1) == math.inf
    assert math.isnan(paired.detectable(np.ones(10), 1)), "without scatter nothing is known of it"


def test_improvement_counts_ties_half_and_is_clopper_and_pearsons():
    for wins in range(11):
        reference = stats.binomtest(wins, 10).proportion_ci(0.95, "exact")
        np.testing.assert_allclose(paired.improvement(wins, 10), (wins / 10, reference.low, reference.high), rtol=1e-9)
    (c,) = field([[1, 2, 3, 4], [1, 1, 3, 5]]).comparisons()
    assert c.improvement.value == (1 + 2 / 2) / 4


def test_a_diverged_run_loses_to_one_that_finished_and_is_in_no_difference():
    first, second = [5.0, 5.0, 5.0, 5.0, None], [6.0, 6.0, None, None, None]
    (c,) = field([first, second]).comparisons()
    assert (c.better, c.worse, c.seeds) == ("c0", "c1", 2)
    assert c.difference.value == -1, "ranked by the seeds they lost, though worse where both finished"
    assert c.improvement.value == (2 + 1 / 2) / 5
    assert not c.significant


def test_a_contestant_ranked_first_for_its_seeds_alone_is_not_called_better():
    rng = np.random.default_rng(0)
    better, worse = rivals(rng, [1.0, 0.0], seeds=12)
    (c,) = field([worse.tolist(), [*better[:11].tolist(), None]]).comparisons()
    assert (c.better, c.p < 0.01, c.significant) == ("c0", True, False)


def test_the_effect_is_the_mean_difference_in_standard_deviations():
    a, b = np.random.default_rng(0).normal(size=(2, 10))
    (c,) = field([a, b]).comparisons()
    assert c.effect == pytest.approx(abs((a - b).mean()) / (a - b).std(ddof=1), rel=1e-12)
    assert field([[2.0, 3.0], [1.0, 2.0]]).comparisons()[0].effect == math.inf
    assert field([[0.3, 0.2], [0.2, 0.1]]).comparisons()[0].effect == math.inf, "rounding is no scatter"
    assert field([[1.0, 2.0], [1.0, 2.0]]).comparisons()[0].effect == 0


def test_every_pair_is_there_once_in_ranking_order():
    comparisons = field(rivals(np.random.default_rng(0), [0.1, 0.4, 0.2, 0.3], noise=0.001)).comparisons()
    assert [(c.better, c.worse) for c in comparisons] == list(itertools.combinations(["c1", "c3", "c2", "c0"], 2))
    assert all(c.difference.value > 0 for c in comparisons)
    np.testing.assert_allclose([c.p_holm for c in comparisons], paired.holm([c.p for c in comparisons]))


STUDIES = st.tuples(st.integers(2, 5), st.integers(2, 8)).flatmap(
    lambda size: st.lists(st.lists(st.integers(0, 100), min_size=size[1], max_size=size[1]), min_size=size[0], max_size=size[0])
)


def told(found, names=None):
    """What pairs say, whoever is named first."""
    told = {}
    for c in found.comparisons():
        key = frozenset((names or {}).get(name, name) for name in (c.better, c.worse))
        fields = (
            c.p,
            c.p_holm,
            abs(c.difference.value),
            c.difference.high - c.difference.low,
            abs(c.improvement.value - 0.5),
            abs(c.effect),
        )
        told[key] = (*fields, c.detectable)
    return told


def same(left, right):
    assert left.keys() == right.keys()
    for key in left:
        np.testing.assert_allclose(left[key], right[key], rtol=1e-7, atol=1e-9)


@quick
@given(STUDIES, st.randoms(use_true_random=False))
def test_the_order_of_contestants_does_not_matter(values, random):
    order = random.sample(range(len(values)), len(values))
    names = {f"c{place}": f"c{i}" for place, i in enumerate(order)}
    same(told(field([values[i] for i in order]), names), told(field(values)))


@quick
@given(STUDIES, st.integers(-1000, 1000))
def test_a_shift_of_all_values_does_not_matter(values, shift):
    same(told(field([[v + shift for v in row] for row in values])), told(field(values)))


@quick
@given(STUDIES)
def test_a_loss_is_judged_as_its_negative_is(values):
    negative = field([[-v for v in row] for row in values], maximise=False)
    assert [r.contestant for r in negative.results()] == [r.contestant for r in field(values).results()]
    same(told(negative), told(field(values)))


@quick
@given(STUDIES, st.integers(1, 50))
def test_better_values_never_rank_a_contestant_lower(values, gain):
    rank = lambda rows: [r.contestant for r in field(rows).results()].index("c0")
    assert rank([[v + gain for v in values[0]], *values[1:]]) <= rank(values)
