"""A task that trains in milliseconds, and models made by one program that compiles fast."""

import dataclasses

import jax
import numpy as np

from fdl import data, nn
from fdl.core import jit
from fdl.tasks import Task


def small_task(**changes):
    """Two overlapping clouds in three dimensions and a tiny perceptron."""
    rng = np.random.default_rng(0)
    y = np.tile([0, 1], 60).astype(np.int32)
    x = (rng.normal(size=(120, 3)) + y[:, None]).astype(np.float32)
    parts = [data.Split((x[i : i + 40],), y[i : i + 40]) for i in (0, 40, 80)]
    model = nn.Sequential(nn.Dense(4), nn.tanh, nn.Dense(2))
    task = Task("small", data.Dataset("clouds", *parts, classes=2), model, batch_size=16, steps=12, evaluate_every=4)
    return dataclasses.replace(task, **changes)


def begin(model, *inputs, seed=0):
    """The params and state that `model.init` makes."""
    return jit(model.init, rare=True)(jax.random.key(seed), *inputs)


def applier(model, **options):
    """`model.apply`, compiled."""
    return jit(lambda *args: model.apply(*args, **options), rare=True)
