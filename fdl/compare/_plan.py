"""What a study will do: every run of it, before the first is compiled."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from fdl.compare import space
from fdl.compare._contestants import Contestant
from fdl.core import FdlError, check_positive, choose
from fdl.train import Trainable

FIRST_FINAL_SEED = 1000  # tuning seeds count from 0: those that choose never judge
DEFAULT_TRIAL = -1  # the number of the trial in which nothing is searched


@dataclass(frozen=True)
class Job:
    """One run to be executed."""

    phase: str
    contestant: str
    trial: int
    seed: int
    optimizer: Any

    @property
    def id(self) -> tuple[str, str, int, int]:
        return self.phase, self.contestant, self.trial, self.seed


@dataclass(frozen=True, eq=False)
class Plan:
    """Contestants on a task, with equal budgets.

    Args:
        task: what they train.
        contestants: by name.
        trials: of each contestant that searches something.
        seeds: tuning runs of each trial, with seeds 0, 1, ...
        final_seeds: runs of each contestant's chosen trial, with seeds 1000, 1001, ...
        sampler: as `space.trials` takes it; so is `sampler_seed`.
        halving: successive halving's factor: at steps / halving, steps / halving^2, ... only so small a share of a
            contestant's trials goes on. `None`: every trial is trained to its end.
    """

    task: Trainable
    contestants: dict[str, Contestant]
    trials: int
    seeds: int
    final_seeds: int
    sampler: space.Sampler = "auto"
    sampler_seed: int = 0
    halving: int | None = None

    def __post_init__(self) -> None:
        for name in ("trials", "seeds", "final_seeds"):
            check_positive(name, getattr(self, name), int)
        if self.seeds > FIRST_FINAL_SEED:
            raise FdlError("seeds", str(self.seeds), f"at most {FIRST_FINAL_SEED}")
        if self.final_seeds < 2:
            raise FdlError("final_seeds", str(self.final_seeds), "at least 2, for an interval")
        choose("sampler", self.sampler, dict.fromkeys(("auto", "grid", "sobol", "halton")))
        if self.halving is not None and (not isinstance(self.halving, int) or self.halving < 2):
            raise FdlError("halving", repr(self.halving), "a whole number, at least 2")
        if not self.contestants:
            raise FdlError("contestants", "none", "at least one optimizer")
        _ = self.tasks
        given = {name: contestant.task or self.task for name, contestant in self.contestants.items()}
        budgets = {name: task.steps * task.batch_size for name, task in given.items()}
        if len(set(budgets.values())) > 1:
            found = ", ".join(f"{name} {count:,}" for name, count in budgets.items())
            raise FdlError("contestants", f"unequal gradient evaluations a run ({found} examples)", "equal budgets", "Change their steps.")
        _ = self.spaces

    @cached_property
    def spaces(self) -> dict[str, list[Any]]:
        """Each contestant's trials, by name; one that searches nothing has one."""
        make = lambda optimizer: space.trials(optimizer, self.trials, self.sampler, self.sampler_seed)
        return {name: make(contestant.optimizer) for name, contestant in self.contestants.items()}

    @cached_property
    def tasks(self) -> dict[str, Trainable]:
        """What each contestant trains: with `k` gradients a step it has a `k`-th of the steps, a few less at most."""
        return {name: self._task(name) for name in self.contestants}

    def _task(self, name: str) -> Trainable:
        task, k = self.contestants[name].task or self.task, self.gradients(name)
        for what in ("name", "objective", "maximise"):
            if getattr(task, what) != getattr(self.task, what):
                raise FdlError(
                    f"contestant {name}, its task's {what}", repr(getattr(task, what)), f"the study's, {getattr(self.task, what)!r}"
                )
        return task if k == 1 else _shortened(task, k)

    def gradients(self, name: str) -> float:
        """How many gradients the contestant's optimizer takes a step, on average; 1 where it does not say."""
        return getattr(self.contestants[name].optimizer, "gradients_per_step", 1)

    def tune(self) -> list[Job]:
        """Every trial with every tuning seed, and each optimizer's own default."""
        jobs = []
        for name, trials in self.spaces.items():
            jobs += [Job("tune", name, i, seed, optimizer) for i, optimizer in enumerate(trials) for seed in range(self.seeds)]
            default = space.defaults(self.contestants[name].optimizer)
            if default is not None:
                jobs += [Job("default", name, DEFAULT_TRIAL, seed, default) for seed in range(self.seeds)]
        return jobs

    def rungs(self, name: str) -> list[tuple[int, int]]:
        """`(step, trials that go on)` of successive halving, first to last; none where every trial is trained to its end."""
        task, count, eta, powers = self.tasks[name], len(self.spaces[name]), self.halving, [1]
        while eta and task.steps // (powers[-1] * eta) >= task.evaluate_every and powers[-1] * eta <= count:
            powers.append(powers[-1] * eta)
        measured = lambda step: step // task.evaluate_every * task.evaluate_every
        return [(measured(task.steps // p), -(-count * p // (powers[-1] * eta))) for p in reversed(powers[1:])] if eta else []

    def final(self, chosen: Mapping[str, int]) -> list[Job]:
        """Each contestant's chosen trial with fresh seeds."""
        seeds = range(FIRST_FINAL_SEED, FIRST_FINAL_SEED + self.final_seeds)
        return [Job("final", name, i, seed, self.spaces[name][i]) for name, i in chosen.items() for seed in seeds]

    def card(self) -> dict[str, Any]:
        """The plan as JSON: what two studies must agree in to be one."""
        task = _task_card(self.task)
        card = {
            "task": task,
            "contestants": {
                name: {
                    "optimizer": type(c.optimizer).__name__,
                    "hyperparameters": {k: _readable(v) for k, v in space.hyperparameters(c.optimizer).items()},
                    "trials": len(self.spaces[name]),
                    "gradients_per_step": self.gradients(name),
                    "task": _differing(self.tasks[name], self.task, task),
                }
                for name, c in self.contestants.items()
            },
            "trials": self.trials,
            "seeds": self.seeds,
            "final_seeds": self.final_seeds,
            "sampler": self.sampler,
            "sampler_seed": self.sampler_seed,
            "halving": self.halving,
        }
        return json.loads(json.dumps(card))


def _shortened(task: Trainable, k: float) -> Trainable:
    """A task with a `k`-th of the steps, down to the next number that can be measured about as often as the task is."""
    wanted = max(task.evaluate_every / k, 1)
    for steps in range(math.floor(task.steps / k + 1e-9), 0, -1):
        near = [n for n in range(1, math.ceil(2 * wanted)) if steps % n == 0 and n > wanted / 2]
        if near:
            every = min(near, key=lambda n: abs(math.log(n / wanted)))
            return replace(task, steps=steps, evaluate_every=every)  # type: ignore[type-var]
    raise FdlError(f"task {task.name}, steps", str(task.steps), f"{math.ceil(k)} at least, the gradients of one step")


def _task_card(task: Trainable) -> dict[str, Any]:
    budget = ("batch_size", "steps", "evaluate_every", "objective", "maximise")
    return {"name": task.name, **task.card(), **{name: getattr(task, name) for name in budget}}


def _differing(task: Trainable, base: Trainable, card: dict[str, Any]) -> dict[str, Any]:
    return {} if task is base else {name: value for name, value in _task_card(task).items() if value != card[name]}


def _readable(value: Any) -> str | float:
    return str(value) if space.is_distribution(value) or isinstance(value, str) else float(value)
