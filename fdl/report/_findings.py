"""What a report needs of a study, every statistic computed once, when it is first asked for."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from fdl.compare import BudgetCurve, Comparison, Profile, Result, Sensitivity, Study, Trial


@dataclass(frozen=True)
class Scale:
    """How an axis shows a metric.

    Attributes:
        metric: its name.
        kind: "log"; "error" for a share such as accuracy, whose distance from 1 is shown on a logarithmic axis; or "linear".
        floor: the least error that is shown: half an example of the split.
    """

    metric: str
    kind: str
    floor: float = 0.0

    @property
    def label(self) -> str:
        return f"1 - {self.metric}" if self.kind == "error" else self.metric

    def __call__(self, values: Any) -> np.ndarray:
        """`values` as they stand on the axis."""
        array = np.asarray(values, float)
        return np.maximum(1 - array, self.floor) if self.kind == "error" else array


@dataclass(frozen=True)
class Findings:
    """A study and what its records say.

    Args:
        study: the records.
        label: what the study is called beside others.
    """

    study: Study
    label: str = ""

    @property
    def task(self) -> dict[str, Any]:
        return self.study.task

    @property
    def plan(self) -> dict[str, Any]:
        return self.study.manifest["plan"]

    @property
    def costs(self) -> dict[str, dict[str, float]]:
        """Seconds, gradients and bytes of each contestant, measured apart from the study; empty where they were not."""
        return self.study.manifest.get("costs") or {}

    @cached_property
    def headline(self) -> str:
        return self.study.headline()

    @cached_property
    def results(self) -> list[Result]:
        return self.study.results()

    @cached_property
    def chosen(self) -> dict[str, Trial | None]:
        return {result.contestant: result.chosen for result in self.results}

    @cached_property
    def comparisons(self) -> list[Comparison]:
        return self.study.comparisons()

    @cached_property
    def trials(self) -> dict[str, list[Trial]]:
        return {name: self.study.trials(name) for name in self.study.contestants}

    @cached_property
    def defaults(self) -> dict[str, Trial | None]:
        return {name: self.study.default(name) for name in self.study.contestants}

    @cached_property
    def searched(self) -> dict[str, tuple[str, ...]]:
        return {name: self.study.searched(name) for name in self.study.contestants}

    @cached_property
    def hyperparameters(self) -> list[str]:
        """Every hyperparameter that some contestant searches."""
        return list(dict.fromkeys(h for names in self.searched.values() for h in names))

    @cached_property
    def sensitivity(self) -> dict[tuple[str, str], Sensitivity]:
        return {(name, h): self.study.sensitivity(name, h) for name, searched in self.searched.items() for h in searched}

    @cached_property
    def budget(self) -> dict[str, BudgetCurve]:
        return {name: self.study.budget_curve(name) for name, trials in self.trials.items() if trials}

    @cached_property
    def targets(self) -> tuple[float, ...]:
        return self.study.targets()

    @cached_property
    def reached(self) -> dict[str, list[dict[int, float]]]:
        """Of each contestant, for each target, the steps to it by seed."""
        return {r.contestant: [self.study.to_target(r.contestant, t) for t in self.targets] for r in self.results if r.final_runs}

    @cached_property
    def profiles(self) -> Profile:
        return self.study.profiles()

    def per_step(self, contestant: str, axis: str) -> float | None:
        """How much of an axis, "steps", "gradient evaluations" or "seconds", one step is; None where it was not measured."""
        if axis == "steps":
            return 1.0
        key = {"gradient evaluations": "gradients_per_step", "seconds": "seconds_per_step"}[axis]
        return self.costs.get(contestant, {}).get(key)

    def scale(self, metric: str, split: str = "validation") -> Scale:
        """How `metric` is best shown: over decades where it can be."""
        values = [v for run in self.study.runs for _, v in run.curves.get((split, metric), ()) if np.isfinite(v)]
        low, high = (min(values), max(values)) if values else (0.0, 0.0)
        share = metric == "accuracy" or (metric == self.task["objective"] and self.task["maximise"])
        if share and low >= 0 and high <= 1:
            return Scale(metric, "error", 0.5 / max(self.task["examples"][split], 1))
        less_is_better = metric == "loss" or (metric == self.task["objective"] and not self.task["maximise"])
        return Scale(metric, "log" if less_is_better and low > 0 else "linear")
