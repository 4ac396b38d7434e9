"""What a study will do: every run of it, before the first is compiled."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fdl import optim
from fdl.compare import space
from fdl.core import FdlError, check_positive
from fdl.train import Trainable

FIRST_FINAL_SEED = 1000  # tuning seeds count from 0: those that choose never judge


@dataclass(frozen=True)
class Job:
    """One run to be executed."""

    phase: str
    contestant: str
    trial: int
    seed: int
    optimizer: Any


@dataclass(frozen=True, eq=False)
class Plan:
    """Contestants on a task, with equal budgets.

    Args:
        task: what they train.
        contestants: optimizers with distributions among their leaves, by name.
        trials: points in each searched dimension.
        seeds: tuning runs of each trial, with seeds 0, 1, ...
        final_seeds: runs of each contestant's chosen trial, with seeds 1000, 1001, ...
    """

    task: Trainable
    contestants: dict[str, Any]
    trials: int
    seeds: int
    final_seeds: int

    def __post_init__(self) -> None:
        for name in ("trials", "seeds", "final_seeds"):
            check_positive(name, getattr(self, name), int)
        if self.seeds > FIRST_FINAL_SEED:
            raise FdlError("seeds", str(self.seeds), f"at most {FIRST_FINAL_SEED}")
        if self.final_seeds < 2:
            raise FdlError("final_seeds", str(self.final_seeds), "at least 2, for an interval")
        if not self.contestants:
            raise FdlError("contestants", "none", "at least one optimizer")
        counts = {name: len(grid) for name, grid in self.grids.items()}
        if len(set(counts.values())) > 1:
            found = ", ".join(f"{name} {count}" for name, count in counts.items())
            raise FdlError("contestants", f"unequal numbers of trials ({found})", "equal budgets", "Search as many dimensions in each.")

    @property
    def grids(self) -> dict[str, list[Any]]:
        """Each contestant's trials, by name."""
        return {name: space.grid(optimizer, self.trials) for name, optimizer in self.contestants.items()}

    def tune(self) -> list[Job]:
        """Every trial with every tuning seed."""
        grids = self.grids.items()
        return [Job("tune", name, i, seed, o) for name, grid in grids for i, o in enumerate(grid) for seed in range(self.seeds)]

    def final(self, chosen: Mapping[str, int]) -> list[Job]:
        """Each contestant's chosen trial with fresh seeds."""
        seeds = range(FIRST_FINAL_SEED, FIRST_FINAL_SEED + self.final_seeds)
        return [Job("final", name, i, seed, self.grids[name][i]) for name, i in chosen.items() for seed in seeds]

    def card(self) -> dict[str, Any]:
        """The plan as JSON: what two studies must agree in to be one."""
        task = self.task
        card = {
            "task": {
                "name": task.name,
                **task.card(),
                "batch_size": task.batch_size,
                "steps": task.steps,
                "evaluate_every": task.evaluate_every,
                "objective": task.objective,
                "maximise": task.maximise,
            },
            "contestants": {
                name: {"optimizer": type(o).__name__, "hyperparameters": {k: _readable(v) for k, v in space.hyperparameters(o).items()}}
                for name, o in self.contestants.items()
            },
            "trials": self.trials,
            "seeds": self.seeds,
            "final_seeds": self.final_seeds,
        }
        return json.loads(json.dumps(card))


def name_contestants(contestants: Sequence[Any] | Mapping[str, Any]) -> dict[str, Any]:
    """Contestants by name: those given, or each optimizer's own."""
    if isinstance(contestants, Mapping):
        return {name: optim.as_pytree(optimizer) for name, optimizer in contestants.items()}
    contestants = [optim.as_pytree(optimizer) for optimizer in contestants]
    names = [optimizer.name for optimizer in contestants]
    double = sorted({name for name in names if names.count(name) > 1})
    if double:
        fix = 'Name them: {"adam": optim.Adam(...), "adam, b2 = 0.99": optim.Adam(b2=0.99, ...)}.'
        raise FdlError("contestants", "two called " + ", ".join(double), "a name of its own for each", fix)
    return dict(zip(names, contestants))


def _readable(value: Any) -> str | float:
    return str(value) if space.is_distribution(value) else float(value)
