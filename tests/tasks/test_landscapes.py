"""Landscapes: values against the literature, minima in float64, and runs that repeat by seed."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fdl import FdlError, optim, tasks, train
from fdl.core import fold

LANDSCAPES = tasks.landscapes

# The functions as the literature states them, and their least values there.
TEXTBOOK = {
    "rosenbrock": (lambda x, y: 100 * (y - x * x) ** 2 + (1 - x) ** 2, 0),
    "beale": (lambda x, y: (1.5 - x + x * y) ** 2 + (2.25 - x + x * y * y) ** 2 + (2.625 - x + x * y * y * y) ** 2, 0),
    "branin": (
        lambda x, y: (y - 5.1 / (4 * np.pi**2) * x * x + 5 / np.pi * x - 6) ** 2 + 10 * (1 - 1 / (8 * np.pi)) * np.cos(x) + 10,
        0.39788735772973816,
    ),
    "himmelblau": (lambda x, y: (x * x + y - 11) ** 2 + (x + y * y - 7) ** 2, 0),
    "camel": (lambda x, y: (4 - 2.1 * x**2 + x**4 / 3) * x**2 + x * y + (-4 + 4 * y**2) * y**2, -1.0316284534898774),
    "rastrigin": (lambda x, y: 20 + x**2 - 10 * np.cos(2 * np.pi * x) + y**2 - 10 * np.cos(2 * np.pi * y), 0),
    "saddle": (lambda x, y: (x**2 - y**2) / 2 + y**4 / 4, -0.25),
    "monkey-saddle": (lambda x, y: abs((x + 1j * y) ** 3 + 1) ** 2 / 2, 0),
}
STATED = {  # points of which the literature gives the value
    "rosenbrock": ((-1.2, 1), 24.2),
    "beale": ((1, 1), 14.203125),
    "himmelblau": ((-0.270845, -0.923039), 181.617),
    "rastrigin": ((0.5, 0.5), 40.5),
}
every = pytest.mark.parametrize("name", LANDSCAPES)


def height(name):
    return lambda point: LANDSCAPES[name].function(point[0], point[1])


@every
@pytest.mark.usefixtures("float64")
def test_values_are_those_of_the_literature_less_the_least(name):
    rng = np.random.default_rng(0)
    x, y = rng.uniform(*np.array(LANDSCAPES[name].domain).T[:, :, None], size=(2, 200))
    textbook, least = TEXTBOOK[name]
    want = textbook(x, y) - least
    np.testing.assert_allclose(LANDSCAPES[name].function(jnp.asarray(x), jnp.asarray(y)), want, rtol=1e-12, atol=1e-12)  # measured 1e-14


@pytest.mark.parametrize("name", STATED)
def test_stated_values(name):
    point, value = STATED[name]
    np.testing.assert_allclose(TEXTBOOK[name][0](*point), value, rtol=3e-6)


@every
@pytest.mark.usefixtures("float64")
def test_minima_are_minima_and_the_least_values(name):
    land = LANDSCAPES[name]
    for minimum in land.minima:
        point = jnp.array(minimum, jnp.float64)
        assert abs(height(name)(point)) < 1e-15  # measured 2e-29
        assert jnp.abs(jax.grad(height(name))(point)).max() < 1e-12  # measured 2e-13
        assert np.linalg.eigvalsh(jax.hessian(height(name))(point)).min() > 0.1
    grid = np.stack(np.meshgrid(*(np.linspace(low, high, 401) for low, high in land.domain)))
    values = np.asarray(land.function(*grid))
    assert values.min() > -1e-12
    lowest = np.sort(values.ravel())[: 3 * len(land.minima)]
    near = grid[:, values <= lowest[-1]].T
    for minimum in land.minima:  # each basin of the lowest places holds a stated minimum, and the other way round
        assert np.linalg.norm(near - minimum, axis=1).min() < 0.2
    assert all(min(math.dist(place, minimum) for minimum in land.minima) < 0.2 for place in near)


@every
def test_a_landscape_is_seen_from_its_start_to_its_minima(name):
    land = LANDSCAPES[name]
    for point in (land.start, *land.minima):
        assert all(low <= z <= high for z, (low, high) in zip(point, land.domain))


@every
def test_a_run_measures_its_trajectory_from_a_start_of_its_seed(name):
    task = tasks.get(name)
    assert task.name == name
    run = jax.jit(lambda key: train.run(task, optim.SGD(lr=1e-4), key))
    start, first, again, other = (f(jax.random.key(seed)) for f, seed in ((task.init, 5), (run, 0), (run, 0), (run, 1)))
    measured = first[1]["validation"]
    assert {name: values.shape for name, values in measured.items()} == dict.fromkeys(("loss", "x", "y"), (task.steps,))
    assert first[0].params.tolist() == [measured["x"][-1], measured["y"][-1]]
    assert np.array_equal(first[0].params, again[0].params)
    assert not np.array_equal(first[0].params, other[0].params)
    land = LANDSCAPES[name]
    sides = np.diff(land.domain)[:, 0]
    assert (abs(np.asarray(start[0]) - land.start) < 0.1 * sides).all()  # four standard deviations
    assert np.array_equal(train.start(task, optim.SGD(), jax.random.key(3)).params, land.begin(fold(jax.random.key(3), "init")))


@pytest.mark.usefixtures("float64")
def test_gradient_descent_on_rosenbrock_equals_numpy():
    _, measured = train.run(tasks.get("rosenbrock"), optim.SGD(lr=1e-3), jax.random.key(0))
    x, y = np.asarray(train.start(tasks.get("rosenbrock"), optim.SGD(), jax.random.key(0)).params)
    for step in range(300):
        slope = np.array([-2 * (1 - x) - 400 * x * (y - x * x), 200 * (y - x * x)])
        x, y = (x, y) - 1e-3 * slope
        got = [measured["validation"][name][step] for name in ("x", "y")]
        np.testing.assert_allclose(got, [x, y], rtol=1e-10)


def test_noise_is_in_the_gradient_has_mean_zero_and_is_not_measured():
    calm, noisy = LANDSCAPES["saddle"].task(), LANDSCAPES["saddle"].task(noise=2.0)
    point, key = jnp.array([0.3, 0.4]), jax.random.key(0)
    assert calm.measure(point, {}, jnp.zeros((1, 2)))[0]["loss"] == noisy.measure(point, {}, jnp.zeros((1, 2)))[0]["loss"]
    gradient = jax.vmap(jax.grad(lambda p, batch: noisy.loss(p, {}, batch, key)[0]), (None, 0))
    rows = jnp.asarray(noisy.dataset.train, jnp.float32)[:, None]
    drawn = np.asarray(gradient(point, rows)) - np.asarray(jax.grad(lambda p: calm.loss(p, {}, jnp.zeros((1, 2)), key)[0])(point))
    np.testing.assert_allclose(drawn.mean(0), 0, atol=1e-5)  # measured 2e-7
    np.testing.assert_allclose(drawn.std(0), 2, rtol=0.05)  # 1000 draws
    assert noisy.dataset.source != calm.dataset.source
    with pytest.raises(FdlError, match="landscape saddle, noise: found -1; expected a positive, finite number"):
        LANDSCAPES["saddle"].task(noise=-1)
