"""Spaces become grids, grids become jobs with equal budgets, and what makes no sense is refused."""

import numpy as np
import optax
import pytest
from small import small_task

from fdl import FdlError, compare, optim
from fdl.compare import space
from fdl.compare._contestants import name_contestants
from fdl.compare._plan import Plan


def plan(contestants=None, trials=3, seeds=2, final_seeds=4, **changes):
    contestants = {"sgd": optim.SGD(lr=space.log(1e-2, 1))} if contestants is None else contestants
    return Plan(small_task(**changes), name_contestants(contestants), trials, seeds, final_seeds)


def test_a_logarithmic_grid_has_its_ends_and_equal_ratios():
    rates = [o.lr for o in space.trials(optim.Adam(lr=space.log(1e-4, 1e-1)), 7)]
    assert (rates[0], rates[-1]) == (pytest.approx(1e-4), pytest.approx(1e-1))
    np.testing.assert_allclose(np.diff(np.log(rates)), np.log(10) / 2)


def test_a_uniform_grid_has_equal_steps_and_other_hyperparameters_stay():
    grid = space.trials(optim.Momentum(lr=0.1, momentum=space.uniform(0, 0.9), nesterov=True), 4)
    np.testing.assert_allclose([o.momentum for o in grid], [0, 0.3, 0.6, 0.9])
    assert {(o.lr, o.nesterov) for o in grid} == {(0.1, True)}


def test_two_distributions_give_every_combination():
    grid = space.trials(optim.Adam(lr=space.log(1e-3, 1e-1), eps=space.log(1e-8, 1e-2)), 9, "grid")
    assert len({(o.lr, o.eps) for o in grid}) == 9


def test_hyperparameters_are_named_by_their_place():
    assert space.hyperparameters(optim.Adam(lr=0.1)) == {"lr": 0.1, "b1": 0.9, "b2": 0.999, "eps": 1e-8}
    assert space.hyperparameters(optim.from_optax(optax.adamw, learning_rate=0.1, b1=0.5)) == {"learning_rate": 0.1, "b1": 0.5}


@pytest.mark.parametrize("bad", [(0, 1), (-1, 1), (1, 1), (2, 1), (1, float("inf")), (float("nan"), 1)])
def test_a_distribution_that_is_none_is_refused(bad):
    with pytest.raises(FdlError):
        space.log(*bad)


def test_tuning_and_final_seeds_are_disjoint_and_all_contestants_share_them():
    made = plan([optim.SGD(lr=space.log(1e-2, 1)), optim.Adam(lr=space.log(1e-3, 1))])
    tune, final = made.tune(), made.final({"sgd": 0, "adam": 2})
    assert [len([j for j in tune if j.phase == phase]) for phase in ("tune", "default")] == [2 * 3 * 2, 2 * 2]
    assert len(final) == 2 * 4
    assert not {j.seed for j in tune} & {j.seed for j in final}
    for jobs in (tune, final):
        seeds = {name: {j.seed for j in jobs if j.contestant == name} for name in ("sgd", "adam")}
        assert seeds["sgd"] == seeds["adam"]
    np.testing.assert_allclose([j.optimizer.lr for j in final if j.contestant == "adam"], 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"trials": 1}, "trials: found 1; expected at least 2 points in a search space."),
        ({"seeds": 0}, "seeds: found 0; expected a positive whole number."),
        ({"seeds": True}, "seeds: found True; expected a positive whole number."),
        ({"final_seeds": 1}, "final_seeds: found 1; expected at least 2, for an interval."),
        ({"seeds": 1001}, "seeds: found 1001; expected at most 1000."),
        ({"contestants": {}}, "contestants: found none; expected at least one optimizer."),
        ({"contestants": [optim.SGD(), optim.SGD(lr=1.0)]}, "contestants: found two called sgd; expected a name of its own for each."),
        ({"contestants": ["sgd"]}, "optimizer: found 'sgd'; expected an object with init and update."),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(change, message):
    with pytest.raises(FdlError) as caught:
        plan(**change)
    assert str(caught.value).startswith(message)


def test_the_six_classics_have_equal_budgets():
    assert len(Plan(small_task(), name_contestants(compare.classics), 9, 3, 10).tune()) == 6 * (9 + 1) * 3
    assert set(compare.classics) <= set(optim.named)


def test_a_choice_takes_each_option_as_often():
    space_ = optim.Momentum(lr=space.log(1e-3, 1), nesterov=space.choice(False, True))
    grid = space.trials(space_, 6, "grid")
    assert sorted((round(np.log10(o.lr), 1), o.nesterov) for o in grid) == [(r, n) for r in (-3, -1.5, 0) for n in (False, True)]
    drawn = space.trials(space_, 16)
    assert sum(o.nesterov for o in drawn) == 8  # Sobol's points are balanced in every dimension


def test_schedules_are_a_dimension_and_hold_dimensions():
    cosine = optim.Cosine(peak=space.log(1e-3, 1), steps=100)
    drawn = space.trials(optim.SGD(lr=space.choice(0.1, cosine)), 8)
    kinds = [type(o.lr).__name__ for o in drawn]
    assert kinds.count("Cosine") == kinds.count("float") == 4
    named = space.hyperparameters(next(o for o in drawn if isinstance(o.lr, optim.Cosine)))
    assert named["lr"] == "Cosine"
    assert 1e-3 <= named["lr.peak"] <= 1


@pytest.mark.parametrize("sampler", ["sobol", "halton"])
def test_quasi_random_points_fill_the_space_more_evenly_than_chance(sampler):
    from scipy.stats import qmc

    drawn = space.trials(optim.Adam(lr=space.log(1e-4, 1e-1), b1=space.uniform(0, 1)), 32, sampler)
    points = np.array([[(np.log10(o.lr) + 4) / 3, o.b1] for o in drawn])
    chance = np.random.default_rng(0).random((20, 32, 2))
    assert qmc.discrepancy(points) < min(map(qmc.discrepancy, chance))
    again, other = (space.trials(optim.Adam(lr=space.log(1e-4, 1e-1), b1=space.uniform(0, 1)), 32, sampler, seed) for seed in (0, 1))
    assert again == drawn != other


def test_a_prefix_of_sobols_points_is_sobols():
    space_ = optim.Adam(lr=space.log(1e-4, 1e-1), b1=space.uniform(0, 1))
    assert space.trials(space_, 5) == space.trials(space_, 8)[:5]


def test_what_no_grid_can_be_is_refused():
    two = optim.Adam(lr=space.log(1e-4, 1e-1), b1=space.uniform(0, 1))
    with pytest.raises(FdlError, match="found 8; expected a number that a grid of n x n points can have"):
        space.trials(two, 8, "grid")
    with pytest.raises(FdlError, match=r"space\.choice: found 1 options"):
        space.choice(1)


def test_defaults_stand_where_something_is_searched():
    assert space.defaults(optim.Adam(lr=space.log(1e-4, 1), b1=0.5)) == optim.Adam(b1=0.5)
    assert space.defaults(optim.SGD(lr=optim.Cosine(space.log(1e-4, 1), 10))) == optim.SGD()
    assert space.defaults(optim.Adam()) is None
    assert space.defaults(optim.from_optax(optax.adam, learning_rate=space.log(1e-4, 1))) is None


def test_what_searches_nothing_is_one_trial_beside_the_others():
    made = plan([optim.SGD(lr=space.log(1e-2, 1)), optim.Adam()])
    assert [len(made.spaces[name]) for name in ("sgd", "adam")] == [3, 1]


def test_rungs_of_successive_halving_leave_at_least_one_trial():
    made = Plan(small_task(steps=64), name_contestants({"sgd": optim.SGD(lr=space.log(1e-2, 1))}), 9, 1, 2, halving=2)
    assert made.rungs("sgd") == [(8, 5), (16, 3), (32, 2)]  # of 9; 64 / 2^3 is the least that is measured
    assert Plan(small_task(), made.contestants, 9, 1, 2).rungs("sgd") == []
    with pytest.raises(FdlError, match="halving: found 1; expected a whole number, at least 2"):
        Plan(small_task(), made.contestants, 9, 1, 2, halving=1)
