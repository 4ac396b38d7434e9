"""Records of studies that nobody trained."""

import json
import math

import numpy as np

from fdl.compare import RunRecord, Study


def made_up(
    names, folder, *, space=("lr",), trials=5, seeds=2, final_seeds=5, steps=100, every=10, objective="accuracy",
    diverged=(), defaults=True, costs=True, stop=False, values=lambda h, u: 10 ** (4 * u - 4), prior="0.0001 to 1, log",
):  # fmt: skip
    """A study in `folder`: contestants get worse in the order of `names`; the middle trial is best.

    Args:
        space: hyperparameters that are searched.
        diverged: pairs (name, trial) whose runs all diverge.
        stop: whether successive halving ended half of the tuning runs.
        values: a hyperparameter's value at a quantile.
        prior: the text of it in the plan.
    """
    runs, maximise = [], objective == "accuracy"
    for i, name in enumerate(names):
        rng = np.random.default_rng(i)
        points = rng.uniform(size=(trials, len(space))) if len(space) > 1 else np.linspace(0, 1, trials)[:, None].repeat(len(space), 1)
        badness = ((points - 0.5) ** 2).sum(1) + 0.01 * i
        best = int(np.argmin(badness))
        phases = [("tune", range(trials), range(seeds)), ("default", [0] if defaults else [], range(seeds))]
        for phase, tried, its_seeds in [*phases, ("final", [best], range(1000, 1000 + final_seeds))]:
            for trial in tried:
                for seed in its_seeds:
                    hyperparameters = {h: values(h, points[trial, k]) for k, h in enumerate(space)}
                    hyperparameters["eps"] = 1e-8
                    lost = (name, trial) in diverged
                    stopped = steps // 2 if stop and phase == "tune" and trial != best and trial % 2 else None
                    at = np.arange(every, (stopped or steps) + 1, every)
                    floor = 0.02 + 0.3 * badness[trial] + 0.02 * (phase == "default") + 0.003 * np.random.default_rng(seed).normal()
                    error = np.clip(floor + 0.7 * np.exp(-6 * at / steps) + 0.002 * rng.normal(size=len(at)), 1e-3, 1)
                    error[at >= 0.6 * steps] = np.where(lost, np.nan, error[at >= 0.6 * steps])
                    curves = {
                        (split, "loss"): list(zip(at.tolist(), (2 * error * scale).tolist()))
                        for split, scale in (("train", 0.8), ("validation", 1))
                    }
                    curves["validation", "accuracy"] = list(zip(at.tolist(), (1 - error).tolist()))
                    if phase == "final":
                        curves["test", "loss"], curves["test", "accuracy"] = curves["validation", "loss"][-1:], [(steps, 1 - error[-1])]
                    record = (phase, name, trial, seed, hyperparameters, math.ceil(0.6 * steps) if lost else None, curves, stopped)
                    runs.append(RunRecord(*record))
    priors = dict.fromkeys(space, prior)
    plan = {
        "task": {
            "name": "invented", "dataset": "none", "source": "nowhere", "licence": "", "examples": {"train": 1000, "validation": 500, "test": 500},
            "model": ["/dense_0 Dense [8, 2]"], "parameters": 1234, "batch_size": 8, "steps": steps, "evaluate_every": every,
            "objective": objective, "maximise": maximise,
        },
        "contestants": {name: {"optimizer": "SGD", "hyperparameters": {**priors, "eps": 1e-8}} for name in names},
        "trials": trials, "seeds": seeds, "final_seeds": final_seeds, "sampler": "sobol" if len(space) > 1 else "grid", "sampler_seed": 0,
        "halving": 2 if stop else None,
    }  # fmt: skip
    manifest = {
        "plan": plan,
        "environment": {"versions": {"jax": "0"}, "platform": "p", "device": "d", "cores": 2, "layout": {"threads": 2, "chunk": 1}},
        "seconds": 12.3,
    }
    if costs:
        manifest["costs"] = {
            name: {"seconds_per_step": 2e-4 * (1 + i), "gradients_per_step": 1 + i % 2, "state_bytes_per_parameter": 4.0 * (i % 3)}
            for i, name in enumerate(names)
        }
    return Study(folder, json.loads(json.dumps(manifest)), runs)
