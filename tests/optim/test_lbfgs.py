"""L-BFGS where it is at home, on smooth losses without noise: beside its reference, optax and SciPy, with its line searches."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.optimize

from fdl import optim
from fdl.optim._line_search import wolfe
from fdl.testing._cases import Told
from fdl.testing.rules import quasi_newton

CURVATURE = np.logspace(-2, 2, 8)
START = np.linspace(-1.0, 2.0, 8)


def convex(x):
    """Badly scaled, and not quadratic."""
    return (CURVATURE * x**2).sum() / 2 + (x**4).sum() / 4


def rosenbrock(x):
    return ((1 - x[:-1]) ** 2 + 100 * (x[1:] - x[:-1] ** 2) ** 2).sum()


def run(optimizer, loss, x, steps):
    """Losses and parameters after each step."""

    def step(carry, _):
        x, state = carry
        value, g = jax.value_and_grad(loss)(x)
        x, state = optim.step(optimizer, g, state, x, value=value, objective=loss)
        return (x, state), x

    with jax.numpy_dtype_promotion("standard"):
        return np.asarray(jax.jit(lambda x: jax.lax.scan(step, (x, optimizer.init(x)), length=steps)[1])(jnp.asarray(x)))


SETTINGS = {
    "wolfe": optim.LBFGS(memory=4),
    "strict": optim.LBFGS(0.3, 0.01, 0.1, memory=4),
    "backtracking": optim.LBFGS(4.0, 0.1, shrink=0.4, memory=4, search="backtracking"),
    "plain": optim.LBFGS(0.9, memory=4, search=None),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_it_equals_the_reference_where_every_pair_counts(name, float64):
    o, steps = SETTINGS[name], 15
    gradient = jax.jit(jax.value_and_grad(convex))

    def told(point):
        value, g = gradient(point[0])
        return float(value), [np.asarray(g)]

    reference = quasi_newton.lbfgs(o, [START])
    point, expected = next(reference), []
    for _ in range(steps):
        value, g = told(point)
        point = reference.send(Told(g, value, told))
        expected.append(point[0])
    worst = np.abs(run(o, convex, START, steps) - expected).max()
    print(worst)
    assert convex(expected[-1]) < 1e-3 * convex(START)
    assert worst < 1e-11  # measured 9e-13


@pytest.mark.parametrize("search", [None, "backtracking"])
def test_it_equals_optax(search, float64):
    ours = optim.LBFGS(0.8, 0.1, shrink=0.4, memory=4, search=search, keep_all=True)
    a, b = (run(o, convex, START, 15) for o in (ours, optim.to_optax(ours)))
    assert np.abs(a - b).max() < 1e-10
    assert convex(a[-1]) < 1e-3 * convex(START)


@pytest.mark.parametrize("search", ["wolfe", "backtracking"])
def test_rosenbrock_in_ten_dimensions_as_fast_as_scipy(search, float64):
    x = np.full(10, -1.2)
    iterations = scipy.optimize.minimize(
        lambda x: tuple(map(np.asarray, jax.value_and_grad(rosenbrock)(jnp.asarray(x)))), x, jac=True, method="L-BFGS-B"
    ).nit
    path = run(optim.LBFGS(search=search), rosenbrock, x, 2 * iterations)
    arrived = [i for i, x in enumerate(path) if rosenbrock(x) < 1e-8]
    print(iterations, arrived[:1])
    assert arrived
    assert arrived[0] <= 1.5 * iterations


def test_optax_with_its_zoom_comes_to_the_same_minimum(float64):
    ours, theirs = run(optim.LBFGS(), convex, START, 120), run(optax.lbfgs(), convex, START, 120)
    print(convex(ours[-1]), convex(theirs[-1]))
    assert convex(ours[-1]) < 1e-12
    assert convex(theirs[-1]) < 1e-12


def wavy(a):
    return 0.3 * jnp.cos(3 * a) * jnp.exp(-a) + 0.1 * (a - 2) ** 2


@jax.jit
def searched(first, c1, c2):
    both = jax.value_and_grad(wavy)
    return wolfe(both, *both(0.0), first, c1, c2, 40)


@pytest.mark.parametrize("first", [1e-4, 0.1, 1.0, 30.0, 1e4])
@pytest.mark.parametrize(("c1", "c2"), [(1e-4, 0.9), (0.1, 0.2), (1e-3, 1e-2)])
def test_the_length_fulfils_wolfes_conditions(first, c1, c2, float64):
    both = jax.value_and_grad(wavy)
    value, slope = both(0.0)
    a = searched(first, c1, c2)
    f, s = both(a)
    assert a > 0
    assert f <= value + c1 * a * slope
    assert abs(s) <= -c2 * slope


def test_a_loss_that_is_not_finite_far_away_is_backed_off_from(float64):
    barrier = lambda x: -jnp.log(1 - x**2).sum() + x.sum()
    for search in ("wolfe", "backtracking"):
        path = run(optim.LBFGS(100.0, search=search), barrier, np.zeros(2), 20)
        np.testing.assert_allclose(path[-1], 1 - np.sqrt(2), rtol=1e-6)


def test_what_a_step_costs():
    assert [optim.LBFGS(search=search).gradients_per_step for search in (None, "backtracking", "wolfe")] == [1, 4 / 3, 2]


def test_it_says_what_it_misses():
    with pytest.raises(Exception, match=r"LBFGS\.update: found no value"):
        optim.LBFGS().update(jnp.ones(2), optim.LBFGS().init(jnp.ones(2)), jnp.ones(2))
