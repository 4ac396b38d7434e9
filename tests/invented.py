"""Records of studies that nobody trained, whose truth is known."""

import math
from pathlib import Path

import numpy as np

from fdl.compare import RunRecord, Study

FIRST_FRESH = 1000


def tuned(name, trials, hyperparameters=None, *, objective="accuracy", losses=None, stopped=(), phase="tune"):
    """Tuning runs from `[[value by seed] by trial]`; `None` is a run that diverged, trials in `stopped` were ended early."""
    runs = []
    for trial, values in enumerate(trials):
        settings = {"lr": 10.0**trial} if hyperparameters is None else hyperparameters[trial]
        for seed, value in enumerate(values):
            end = math.nan if value is None else value
            curves = {("validation", "loss"): [(5, 9.0), (10, losses[trial] if losses else 1.0)]}
            curves["validation", objective] = [(5, 0.0), (10, end)]
            lost, ended = (3 if value is None else None), (5 if trial in stopped else None)
            runs.append(RunRecord(phase, name, trial, seed, settings, lost, curves, ended))
    return runs


def judged(name, values, validation=None, *, objective="accuracy", trial=0):
    """Runs with fresh seeds from their test values; `None` is a run that diverged. `validation`: the same unless given."""
    runs = []
    for i, value in enumerate(values):
        end = math.nan if value is None else value
        curves = {("validation", objective): [(5, 0.0), (10, end if validation is None else validation[i])]}
        curves["test", objective] = [(10, end)]
        runs.append(RunRecord("final", name, trial, FIRST_FRESH + i, {"lr": 1.0}, 3 if value is None else None, curves))
    return runs


def raced(name, curves, *, objective="accuracy"):
    """Runs with fresh seeds from `[[(step, validation value), ...] by seed]`; `None` is a run that diverged."""
    runs = []
    for seed, curve in enumerate(curves):
        seen = {("validation", objective): curve or [(1, math.nan)], ("test", objective): [(curve or [(1, math.nan)])[-1]]}
        runs.append(RunRecord("final", name, 0, FIRST_FRESH + seed, {"lr": 1.0}, None if curve else 1, seen))
    return runs


def study(runs, *, objective="accuracy", maximise=True, prior="1 to 1000, log"):
    """A study of such records."""
    names = dict.fromkeys(run.contestant for run in runs)
    plan = {
        "task": {"objective": objective, "maximise": maximise},
        "contestants": {name: {"optimizer": "SGD", "hyperparameters": {"lr": prior}} for name in names},
    }
    return Study(Path("nowhere"), {"plan": plan}, runs)


def field(values, **task):
    """A study of contestants "c0", "c1", ... from their test values, [contestants][seeds], each with one trial."""
    return study([run for i, v in enumerate(values) for run in tuned(f"c{i}", [[0.5]]) + judged(f"c{i}", list(v))], **task)


def rivals(rng, gaps, *, seeds=10, noise=0.01, luck=0.05, draw=None):
    """Test values [contestants, seeds] around these true means: luck shared by seed, and noise of each run's own."""
    own = (draw or rng.normal)(size=(len(gaps), seeds))
    return np.asarray(gaps)[:, None] + luck * rng.normal(size=seeds) + noise * own
