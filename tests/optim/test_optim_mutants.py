"""The test of the test: the comparison with references rejects every wrong rule, and accepts the right ones reworded."""

import pytest
from mutants import MUTANTS, SAME_RULES, mutate

from fdl.testing import equivalence
from fdl.testing.rules import CASES

DTYPES = [pytest.param(dtype, marks=[] if dtype == "float64" else pytest.mark.slow) for dtype in equivalence.TOLERANCE]


def names(mutants):
    return [f"{case}: {what}" for case, what, _, _ in mutants]


def deviation(case, ours, dtype):
    """From optax after one step, or from the paper's rule over given gradients where optax lacks it."""
    return max(equivalence.one_step(case, dtype, ours).values()) if case.optax else equivalence.open_loop(case, dtype, ours)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "what", "old", "new"), MUTANTS, ids=names(MUTANTS))
def test_a_wrong_rule_is_rejected(name, what, old, new, dtype):
    case = CASES[name]
    worst = deviation(case, mutate(case.ours, old, new), dtype)
    assert worst > equivalence.TOLERANCE[dtype], worst


@pytest.mark.parametrize("dtype", equivalence.TOLERANCE)
@pytest.mark.parametrize(("name", "what", "old", "new"), SAME_RULES, ids=names(SAME_RULES))
def test_the_same_rule_in_other_words_is_accepted(name, what, old, new, dtype):
    case = CASES[name]
    assert deviation(case, mutate(case.ours, old, new), dtype) <= equivalence.TOLERANCE[dtype]
