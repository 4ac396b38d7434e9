"""A study: all trials of all contestants on a task, then the winners again with fresh seeds."""

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from fdl.compare._budget import BudgetCurve, budget_curve
from fdl.compare._headline import headline
from fdl.compare._paired import Comparison
from fdl.compare._results import Result, compare_pairs, judge
from fdl.compare._sensitivity import Sensitivity, sensitivity
from fdl.compare._store import RunRecord, Store
from fdl.compare._targets import Profile, profiles, steps_to, targets
from fdl.compare._tuning import Trial, searched, summarise
from fdl.core import FdlError

Axis = Literal["steps", "gradient evaluations", "seconds"]
"""What progress is measured against."""


@dataclass(frozen=True, eq=False)
class Study:
    """The records of a study, as read from its folder.

    Attributes:
        folder: where `study.db` lies.
        manifest: `plan`, `environment` and `seconds`, as JSON values.
        runs: every finished run.
    """

    folder: Path
    manifest: dict[str, Any]
    runs: list[RunRecord]

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> "Study":
        """Reads a study; raises `FdlError` where there is none."""
        path = Path(folder)
        if not (path / "study.db").is_file():
            raise FdlError("study folder", f"no study.db in {str(folder)!r}", "the folder of a study")
        store = Store(path)
        try:
            manifest = store.manifest()
            if "plan" not in manifest:
                raise FdlError("study folder", f"a study.db without a plan in {str(folder)!r}", "the folder of a study that has begun")
            return cls(path, manifest, store.runs())
        finally:
            store.close()

    @property
    def task(self) -> dict[str, Any]:
        """The task's card."""
        return self.manifest["plan"]["task"]

    @property
    def contestants(self) -> list[str]:
        return list(self.manifest["plan"]["contestants"])

    def select(self, phase: str, contestant: str) -> list[RunRecord]:
        """The runs of one phase, "tune", "default" or "final", and contestant."""
        return [run for run in self.runs if run.phase == phase and run.contestant == contestant]

    def trials(self, contestant: str) -> list[Trial]:
        """A contestant's trials with what their tuning runs reached."""
        return list(self._trials[contestant])

    def default(self, contestant: str) -> Trial | None:
        """The optimizer's default hyperparameters with the tuning seeds; `None` where they were not run."""
        return next(iter(summarise(self.select("default", contestant), self.task["objective"])), None)

    def searched(self, contestant: str) -> tuple[str, ...]:
        """The hyperparameters that vary between a contestant's trials."""
        return searched(self.trials(contestant))

    def results(self) -> list[Result]:
        """What each contestant reached on the test split, best first."""
        return list(self._results)

    def comparisons(self) -> list[Comparison]:
        """Every pair of contestants, paired by fresh seed, in ranking order."""
        return list(self._comparisons)

    def headline(self) -> str:
        """The answer in one sentence."""
        return headline(self._results, self._comparisons, self.task["objective"], self.task["maximise"])

    def budget_curve(self, contestant: str) -> BudgetCurve:
        """Expected best validation objective against the number of trials."""
        pool = [trial for trials in self._trials.values() for trial in trials]
        return budget_curve(self._trials[contestant], pool, self.task["maximise"])

    def sensitivity(self, contestant: str, hyperparameter: str) -> Sensitivity:
        """How the validation objective depends on one searched hyperparameter."""
        prior = self.manifest["plan"]["contestants"][contestant]["hyperparameters"].get(hyperparameter)
        return sensitivity(self.trials(contestant), hyperparameter, self.task["maximise"], "log" in str(prior))

    def targets(self) -> tuple[float, ...]:
        """Validation objectives that the median contestant reaches, from easy to hard."""
        final = {name: self.select("final", name) for name in self.contestants}
        return targets(final, self.task["objective"], self.task["maximise"])

    def to_target(self, contestant: str, target: float) -> dict[int, float]:
        """Steps that each fresh seed's run needs to reach a target, by seed; infinite for a miss."""
        runs = self.select("final", contestant)
        return {run.seed: steps_to(run, self.task["objective"], target, self.task["maximise"]) for run in runs}

    def per_step(self, contestant: str, axis: Axis) -> float | None:
        """How much of an axis one step of a contestant is: 1, its gradients, or its seconds with the device for itself.

        `None` where it was not measured.
        """
        if axis == "steps":
            return 1.0
        key = {"gradient evaluations": "gradients_per_step", "seconds": "seconds_per_step"}[axis]
        return self.manifest.get("costs", {}).get(contestant, {}).get(key)

    def profiles(self, axis: Axis = "steps") -> Profile:
        """Performance profiles over the targets, by the median over seeds of the steps to each, or of what they cost.

        Raises:
            FdlError: for an axis that was not measured.
        """
        found = {name: self.per_step(name, axis) for name in self.contestants}
        unit = {name: value for name, value in found.items() if value is not None}
        if missing := found.keys() - unit.keys():
            raise FdlError("profiles, axis", f"no {axis} of {', '.join(sorted(missing))}", "a study that ran to its end, or another axis")
        median = lambda name, target: float(np.median(list(self.to_target(name, target).values()) or [np.inf]))
        return profiles({name: [median(name, target) * unit[name] for target in self.targets()] for name in self.contestants})

    @cached_property
    def _trials(self) -> dict[str, list[Trial]]:
        return {name: summarise(self.select("tune", name), self.task["objective"]) for name in self.contestants}

    @cached_property
    def _results(self) -> list[Result]:
        return judge(self.runs, self.contestants, self.task["objective"], self.task["maximise"])

    @cached_property
    def _comparisons(self) -> list[Comparison]:
        return compare_pairs(self._results, self.task["maximise"])
