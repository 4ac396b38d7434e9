"""A schedule is a hyperparameter that is a function of the step: a pytree, so it is an argument like any number."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fdl import FdlError, optim
from fdl.optim import schedules
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


def joined(*cycles):
    """optax's warm restarts without warm-up."""
    return optax.sgdr_schedule(
        [{"init_value": 0.3, "peak_value": 0.3, "warmup_steps": 0, "decay_steps": length, "end_value": 0.01} for length in cycles]
    )


def warmed(peak, warmup, after):
    return optax.join_schedules([optax.linear_schedule(0.0, peak, warmup), after], [warmup])


EQUAL = {
    # name: fdl's, optax's
    "constant": (optim.Constant(0.1), optax.constant_schedule(0.1)),
    "linear": (optim.Polynomial(0.3, 40), optax.linear_schedule(0.3, 0.0, 40)),
    "linear, warmed": (optim.Linear(0.3, 40, 10, 0.02), warmed(0.3, 10, optax.linear_schedule(0.3, 0.02, 30))),
    "polynomial": (optim.Polynomial(0.3, 40, 2.0, 0.01, 10), optax.polynomial_schedule(0.3, 0.01, 2.0, 40, 10)),
    "polynomial, root": (optim.Polynomial(0.3, 40, 0.5, 0.01), optax.polynomial_schedule(0.3, 0.01, 0.5, 40)),
    "exponential": (optim.Exponential(0.3, 20, 0.5, 10), optax.exponential_decay(0.3, 20, 0.5, 10)),
    "exponential, staircase": (
        optim.Exponential(0.3, 20, 0.5, 10, 0.05, staircase=True),
        optax.exponential_decay(0.3, 20, 0.5, 10, True, 0.05),
    ),
    "exponential, rising": (optim.Exponential(0.3, 20, 1.5, end=1.0), optax.exponential_decay(0.3, 20, 1.5, end_value=1.0)),
    "cosine": (optim.Cosine(0.3, 100), optax.cosine_decay_schedule(0.3, 100)),
    "cosine, warmed": (optim.Cosine(0.3, 100, 10, 0.01), optax.warmup_cosine_decay_schedule(0, 0.3, 10, 100, 0.01)),
    "restarts": (optim.Restarts(0.3, 13, end=0.01), joined(*[13] * 10)),
    "restarts, twice": (optim.Restarts(0.3, 7, 2.0, end=0.01), joined(7, 14, 28, 56, 112)),
    "restarts, by half": (optim.Restarts(0.3, 16, 1.5, end=0.01), joined(16, 24, 36, 54)),
    "one cycle": (optim.OneCycle(0.3, 100), optax.cosine_onecycle_schedule(100, 0.3)),
    "one cycle, linear": (optim.OneCycle(0.3, 100, linear=True), optax.linear_onecycle_schedule(100, 0.3)),
    "one cycle, other numbers": (optim.OneCycle(0.3, 90, 0.41, 5.0, 30.0), optax.cosine_onecycle_schedule(90, 0.3, 0.41, 5.0, 30.0)),
    "piecewise": (optim.Piecewise((1.0, 0.1, 0.05), (20, 60)), optax.piecewise_constant_schedule(1.0, {20: 0.1, 60: 0.5})),
    "piecewise, lines": (
        optim.Piecewise((1.0, 0.1, 0.05), (20, 60), "linear"),
        optax.piecewise_interpolate_schedule("linear", 1.0, {20: 0.1, 60: 0.5}),
    ),
    "piecewise, cosines": (
        optim.Piecewise((1.0, 0.1, 0.05), (20, 60), "cosine"),
        optax.piecewise_interpolate_schedule("cosine", 1.0, {20: 0.1, 60: 0.5}),
    ),
    "warm-up": (optim.Warmup(0.3, 20, 0.1), optax.warmup_constant_schedule(0.1, 0.3, 20)),
    "warm-up, exponential": (
        optim.Warmup(optim.Exponential(0.3, 20, 0.5), 10, 0.1),
        optax.warmup_exponential_decay_schedule(0.1, 0.3, 10, 20, 0.5),
    ),
    "warm-up of optax": (optim.Warmup(optax.cosine_decay_schedule(0.3, 90), 10), optax.warmup_cosine_decay_schedule(0, 0.3, 10, 100)),
    "join": (
        optim.Join((optim.Polynomial(0.1, 10), 0.3, optim.Cosine(0.2, 30)), (15, 50)),
        optax.join_schedules(
            [optax.linear_schedule(0.1, 0, 10), optax.constant_schedule(0.3), optax.cosine_decay_schedule(0.2, 30)], [15, 50]
        ),
    ),
}


def values(schedule, steps=120):
    return np.asarray(jax.vmap(schedule)(jnp.arange(steps)))


@pytest.mark.parametrize("name", EQUAL)
def test_a_schedule_equals_optax_at_every_step(name):
    ours, theirs = EQUAL[name]
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        expected = np.asarray([float(theirs(step)) for step in range(120)])
        np.testing.assert_allclose(values(ours), expected, rtol=1e-12, atol=1e-15)
    with jax.numpy_dtype_promotion("standard"):
        np.testing.assert_allclose(values(ours), expected, rtol=1e-5, atol=1e-7)  # float32; worst measured 1.2e-7


OWN = [optim.WarmupStableDecay(0.4, 60, 6, 0.01), optim.WarmupStableDecay(0.4, 60, cooldown=0.3, root=True), optim.InverseSqrt(0.4, 9)]
EVERY = {repr(s): s for s in [*OWN, *(ours for ours, _ in EQUAL.values() if not any(map(callable, jax.tree.leaves(ours))))]}


@pytest.mark.parametrize("name", EVERY)
def test_another_value_of_any_number_compiles_nothing_and_has_a_true_derivative(name, float64):
    traces = []

    @jax.jit
    def total(schedule):
        traces.append(1)
        return (jax.vmap(schedule)(jnp.arange(61)) * jnp.cos(jnp.arange(61.0))).sum()

    schedule = jax.tree.map(lambda x: float(x) + 0.0123, EVERY[name])  # no jump at a whole step
    found, first = jax.grad(total)(schedule), total(schedule)
    leaves, tree = jax.tree.flatten(schedule)
    traces.clear()
    for i, (slope, number) in enumerate(zip(jax.tree.leaves(found), leaves)):
        at = lambda x, i=i: float(total(tree.unflatten([*leaves[:i], x, *leaves[i + 1 :]])))
        h = 1e-6 * number
        # A jump's place has no derivative: the boundaries of steps, the whole steps of a cycle.
        assert np.isfinite(slope)
        assert abs(float(slope) - (at(number + h) - at(number - h)) / (2 * h)) <= 1e-5 * max(1, abs(float(slope)))
    assert not traces
    assert total(jax.tree.map(lambda x: 1.1 * x, schedule)) != first


def test_a_plateau_ends_in_a_decay_of_its_share(float64):
    plateau = optim.WarmupStableDecay(1.0, 20.0, 4.0, cooldown=0.25)
    np.testing.assert_allclose(values(plateau, 22), [0, 0.25, 0.5, 0.75, *[1] * 12, 0.8, 0.6, 0.4, 0.2, 0, 0][:22], rtol=1e-12, atol=1e-15)
    by_root = values(dataclasses.replace(plateau, root=True), 22)
    np.testing.assert_allclose(by_root[15:], 1 - np.sqrt([0, 0.2, 0.4, 0.6, 0.8, 1, 1]), rtol=1e-12, atol=1e-15)
    longer = values(optim.WarmupStableDecay(1.0, 40.0, 4.0, cooldown=0.25), 16)
    np.testing.assert_array_equal(longer, values(plateau, 16))


def test_transformers_schedule_is_the_papers(float64):
    d, w, step = 512, 40, np.arange(1, 200)
    paper = d**-0.5 * np.minimum(step**-0.5, step * w**-1.5)
    np.testing.assert_allclose(values(optim.InverseSqrt((d * w) ** -0.5, w), 200)[1:], paper, rtol=1e-12)


def test_cycles_begin_at_whole_steps_far_out():
    """In float32, where powers and logarithms are rounded: 15 cycles of doubled length, 28,000 of the same."""
    doubled = values(optim.Restarts(1.0, 10.0, 2.0), 200_000)
    starts = np.asarray([10 * (2**i - 1) for i in range(15)])
    assert (doubled[starts] > 0.999999).all()
    assert (doubled[starts[1:] - 1] < 0.03).all()
    assert (np.flatnonzero(np.diff(doubled) > 0.5) + 1 == starts[1:]).all()
    same = values(optim.Restarts(1.0, 7.0), 200_000)
    assert (same[::7] == 1).all()
    assert (same[6::7] < 0.05).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: optim.Join((0.1, 0.2), (5, 9)), r"Join\(boundaries\): found 2 for 2 schedules; expected 1: the steps between them"),
        (lambda: optim.Piecewise((0.1,), (5,)), r"Piecewise\(boundaries\): found 1 for 1 values; expected 0"),
        (lambda: optim.Piecewise((0.1, 0.2), (5,), "cosin"), r"Did you mean 'cosine'\?"),
    ],
)
def test_a_schedule_that_does_not_fit_together_is_told(make, message):
    with pytest.raises(FdlError, match=message):
        make()


def test_schedules_are_known_by_their_names():
    assert set(schedules.named.values()) == {type(schedule) for schedule in EVERY.values()} | {optim.Restarts}
    assert all(f"{name}" == made.__name__.lower() for name, made in schedules.named.items())
