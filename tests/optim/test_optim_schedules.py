"""A schedule is a hyperparameter that is a function of the step: a pytree, so it is an argument like any number."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fdl import optim
from fdl.testing.equivalence import relative
from fdl.testing.rules import classics


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Warmup:
    """From 0 linearly to `peak` in `steps` steps."""

    peak: Any
    steps: Any

    def __call__(self, step):
        return self.peak * jnp.minimum(step.astype(jnp.result_type(float)) / self.steps, 1)


def scheduled(case, peak=0.1, steps=4.0):
    return dataclasses.replace(case.ours, lr=Warmup(peak, steps))


def updates_of(transform, length=8):
    """Updates of steps whose gradients change size and sign, (steps, coordinates)."""
    grads = jnp.asarray(np.random.default_rng(1).normal(size=(length, 5)))

    def step(state, g):
        updates, state = transform.update(g, state, g)
        return state, updates

    return jax.lax.scan(step, transform.init(grads[0]), grads)[1]


def test_sgd_follows_the_schedule_counted_from_0():
    opt, state = optim.SGD(Warmup(0.5, 4.0)), optim.SGD().init(jnp.ones(1))
    seen = []
    for _ in range(6):
        updates, state = opt.update(jnp.ones(1), state)
        seen.append(-updates[0])
    assert seen == [0.0, 0.125, 0.25, 0.375, 0.5, 0.5]


@pytest.mark.parametrize("case", classics.CASES, ids=str)
def test_a_schedule_is_an_argument_of_jit_and_the_first_step_sees_its_0(case):
    updates = jax.jit(updates_of)(scheduled(case))
    assert (updates[0] == 0).all()
    assert (updates[1:] != 0).all()


@pytest.mark.parametrize("case", classics.CASES, ids=str)
def test_a_schedule_is_its_value_at_each_step(case):
    """The same bits as an optimizer with that number for its rate."""
    opt, g = scheduled(case), jnp.asarray([1.0, -2.0, 3e-4])
    state = opt.init(g)
    for step in range(1, 4):
        state = {**state, "step": jnp.asarray(step)}
        fixed = dataclasses.replace(opt, lr=0.1 * step / 4)
        (ours, after), (expected, _) = opt.update(g, state), fixed.update(g, state)
        np.testing.assert_allclose(ours, expected, rtol=5e-7)  # 0.1 * (3 / 4) and 0.1 * 3 / 4 differ by 1 ulp, 1.2e-7
        state = after


@pytest.mark.parametrize("case", classics.CASES, ids=str)
def test_another_schedule_of_its_kind_does_not_recompile(case):
    traces = []

    @jax.jit
    def final(opt):
        traces.append(opt)
        return updates_of(opt)[-1]

    seen = [final(scheduled(case, peak, steps)) for peak, steps in [(0.1, 4.0), (0.2, 4.0), (0.1, 100.0)]]
    assert len(traces) == 1
    assert (seen[0] != seen[1]).all()
    assert (seen[0] != seen[2]).all()


def test_vmap_over_a_schedules_parameters_is_a_loop():
    opt = optim.Adam(Warmup(jnp.asarray([0.1, 0.2, 0.3]), 4.0))
    axes = jax.tree.unflatten(jax.tree.structure(opt), [0, *[None] * (len(jax.tree.leaves(opt)) - 1)])
    swept = jax.vmap(updates_of, in_axes=(axes,))(opt)
    looped = [updates_of(optim.Adam(Warmup(peak, 4.0))) for peak in (0.1, 0.2, 0.3)]
    assert relative(swept, np.stack(looped)) <= 1e-6  # float32; measured 1.1e-7


def test_gradients_by_a_schedules_parameters_reach_it(float64):
    total = lambda opt: updates_of(opt).sum()
    gradient = jax.grad(total)(optim.SGD(Warmup(0.1, 4.0)))
    assert isinstance(gradient.lr, Warmup)
    # The updates are linear in the peak. Measured error 4.4e-16.
    np.testing.assert_allclose(gradient.lr.peak * 0.1, total(optim.SGD(Warmup(0.1, 4.0))), rtol=5e-15)


@pytest.mark.parametrize("case", [c for c in classics.CASES if c.optax], ids=str)
def test_it_equals_optax_with_a_schedule_of_the_same_values(case, float64):
    # optax evaluates its schedule in float32 even here: 0, 1/8, .. 1/2 are exact in both.
    theirs = dataclasses.replace(case.ours, lr=optax.linear_schedule(0.0, 0.5, 4)).in_optax(optax)
    with jax.numpy_dtype_promotion("standard"):  # optax mixes dtypes
        expected = updates_of(theirs)
    worst = relative(updates_of(scheduled(case, 0.5)), expected)
    print(case, worst)
    assert worst <= 1e-14  # worst measured 3.4e-16


@pytest.mark.parametrize("case", classics.CASES, ids=str)
def test_an_optax_schedule_works_as_it_is(case):
    """A plain function, no pytree: part of the program, so the optimizer is closed over."""
    opt = dataclasses.replace(case.ours, lr=optax.linear_schedule(0.0, 0.1, 4))
    with jax.numpy_dtype_promotion("standard"):  # optax mixes dtypes
        plain = jax.jit(lambda: updates_of(opt))()
    assert relative(plain, updates_of(scheduled(case))) <= 1e-6  # float32; measured 0


def test_every_hyperparameter_takes_a_schedule():
    rising = updates_of(optim.Momentum(0.1, momentum=Warmup(0.9, 4.0)))
    first, none = updates_of(optim.Momentum(0.1, momentum=0.0)), updates_of(optim.Momentum(0.1, momentum=0.9))
    assert (rising[0] == first[0]).all()  # both 0
    assert (rising[1:] != first[1:]).all()
    assert (rising[2:] != none[2:]).all()
    assert np.isfinite(updates_of(optim.Adam(b1=Warmup(0.9, 4.0), eps=Warmup(1e-3, 2.0)))).all()


def test_at_gives_the_optimizer_of_one_step():
    opt = optim.Momentum(Warmup(0.5, 4.0), momentum=0.5).at(jnp.asarray(2))
    assert (opt.lr, opt.momentum) == (0.25, 0.5)
    assert optim.SGD(lambda step: 0.0).at(jnp.asarray(0)).lr == 0  # a schedule may rest, a rate may not
    theirs = optim.from_optax(optax.sgd, learning_rate=Warmup(0.5, 4.0), momentum=0.5).at(jnp.asarray(2))
    assert theirs == optim.from_optax(optax.sgd, learning_rate=0.25, momentum=0.5)


@pytest.mark.parametrize("warmup", [0, 3])
def test_cosine_equals_optax(float64, warmup):
    ours = optim.Cosine(0.3, 12.0, float(warmup), 0.01)
    theirs = optax.warmup_cosine_decay_schedule(0, 0.3, warmup, 12, 0.01)
    for step in range(warmup == 0, 20):
        np.testing.assert_allclose(ours(jnp.int32(step)), theirs(step), rtol=1e-12)
    assert float(ours(jnp.int32(0))) == (0 if warmup else 0.3)


def test_linear_falls_in_equal_steps_after_warm_up(float64):
    values = [float(optim.Linear(1.0, 6.0, 2.0, 0.2)(jnp.int32(step))) for step in range(9)]
    np.testing.assert_allclose(values, [0, 0.5, 1, 0.8, 0.6, 0.4, 0.2, 0.2, 0.2], rtol=1e-12)


@pytest.mark.parametrize("schedule", [optim.Cosine, optim.Linear])
def test_a_schedules_numbers_are_traced_and_have_gradients(float64, schedule):
    traces = []

    @jax.jit
    def value(s):
        traces.append(1)
        return s(jnp.int32(5))

    slope = jax.grad(lambda peak: value(schedule(peak, 10.0, 2.0)))
    np.testing.assert_allclose(slope(0.1), value(schedule(1.0, 10.0, 2.0)), rtol=1e-12)
    value(schedule(0.7, 20.0, 3.0))
    assert len(traces) <= 2  # one for numbers, one for their derivative
