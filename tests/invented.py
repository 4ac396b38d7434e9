"""Records of studies that nobody trained, whose truth is known."""

import math
from pathlib import Path

import numpy as np

from fdl.compare import RunRecord, Study

FIRST_FRESH = 1000


def tuned(name, trials, hyperparameters=None, objective="accuracy", stopped=()):
    """Tuning runs from `[[value by seed] by trial]`; `None` is a run that diverged, trials in `stopped` were ended early."""
    runs = []
    for trial, values in enumerate(trials):
        settings = {"lr": 10.0**trial} if hyperparameters is None else hyperparameters[trial]
        for seed, value in enumerate(values):
            end = math.nan if value is None else value
            curves = {("validation", objective): [(5, 0.0), (10, end)], ("validation", "loss"): [(5, 9.0), (10, 1.0)]}
            lost, ended = (3 if value is None else None), (5 if trial in stopped else None)
            runs.append(RunRecord("tune", name, trial, seed, settings, lost, curves, ended))
    return runs


def judged(name, values, objective="accuracy", trial=0, validation=None):
    """Runs with fresh seeds from their test values (and validation values, by default the same); `None` is a run that diverged."""
    runs = []
    for i, value in enumerate(values):
        end = math.nan if value is None else value
        seen = end if validation is None else validation[i]
        curves = {("validation", objective): [(5, 0.0), (10, seen)], ("validation", "loss"): [(10, 1.0)], ("test", objective): [(10, end)]}
        runs.append(RunRecord("final", name, trial, FIRST_FRESH + i, {"lr": 1.0}, 3 if value is None else None, curves))
    return runs


def study(runs, objective="accuracy", maximise=True, prior="1 to 1000, log"):
    """A study of such records."""
    names = dict.fromkeys(run.contestant for run in runs)
    plan = {
        "task": {"objective": objective, "maximise": maximise},
        "contestants": {name: {"optimizer": "SGD", "hyperparameters": {"lr": prior}} for name in names},
    }
    return Study(Path("nowhere"), {"plan": plan}, runs)


def rivals(rng, gaps, seeds=10, noise=0.01, luck=0.05, draw=None):
    """Test values [contestants, seeds] of contestants with these true means: luck shared by seed, and noise of each run's own."""
    draw = rng.normal if draw is None else draw
    return np.asarray(gaps)[:, None] + luck * rng.normal(size=seeds) + noise * draw(size=(len(gaps), seeds))
