"""Every optimizer reaches the minimum of two losses. A coarse net: most wrong rules pass it (test_optim_mutants.py)."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from optimizers_table import BY_NAME, KINDS

from fdl import optim

RATES = {
    # quadratic, Rosenbrock
    "sgd": (0.1, 0.001),
    "momentum": (0.05, 0.001),
    "nesterov": (0.05, 0.001),
    "adagrad": (0.3, 0.3),
    "adagrad-in-sqrt": (0.3, 0.3),
    "adadelta": (1.0, 0.03),
    "rmsprop": (0.003, 0.001),
    "rmsprop-in-sqrt": (0.003, 0.001),
    "adam": (0.03, 0.01),
}


def quadratic(x):
    """Ten curvatures from 0.1 to 10, least at 1."""
    return (jnp.logspace(-1, 1, 10) * (x - 1) ** 2).sum() / 2


def rosenbrock(x):
    """A bent valley, least at 1."""
    return (1 - x[0]) ** 2 + 100 * (x[1] - x[0] ** 2) ** 2


def distance(loss, opt, start, steps):
    """How far from 1 it ends."""

    def step(carry, _):
        x, state = carry
        updates, state = opt.update(jax.grad(loss)(x), state, x)
        return (optim.apply_updates(x, updates), state), None

    x, _ = jax.jit(lambda x: jax.lax.scan(step, (x, opt.init(x)), length=steps)[0])(start)
    return float(np.abs(x - 1).max())


def test_the_table_of_rates_is_complete():
    assert list(RATES) == [case.name for case in KINDS]


@pytest.mark.parametrize("name", RATES)
def test_a_quadratic_in_ten_dimensions(name):
    left = distance(quadratic, dataclasses.replace(BY_NAME[name].ours, lr=RATES[name][0]), jnp.zeros(10), 2000)
    print(name, left)
    assert left < 3e-5  # from 1; worst measured 2.9e-6 (SGD)


@pytest.mark.parametrize("name", RATES)
def test_rosenbrock(name):
    left = distance(rosenbrock, dataclasses.replace(BY_NAME[name].ours, lr=RATES[name][1]), jnp.asarray([-1.2, 1.0]), 20_000)
    print(name, left)
    # From 2.2. Adadelta's steps do not shrink and 0.03 leaves it 4.9e-3 away; the others' worst measured is 8.3e-4 (RMSProp).
    assert left < (5e-2 if name == "adadelta" else 8e-3)
