"""What a report needs of a study, every statistic computed once, when it is first asked for."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, get_args

import numpy as np

from fdl.compare import Axis, BudgetCurve, Comparison, Profile, Result, Sensitivity, Study, Trial


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

    def label(self, split: str) -> str:
        """What stands at the axis: `1 − validation accuracy`."""
        return ("1 − " if self.kind == "error" else "") + f"{split} {self.metric}"

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

    def profiled(self, contestant: str, hyperparameter: str) -> bool:
        """Whether the values of a hyperparameter may be joined by a line: on a grid, or where nothing else was searched."""
        points = len(self.sensitivity[contestant, hyperparameter].values)
        return len(self.searched[contestant]) == 1 or points < len(self.trials[contestant])

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
    def profiles(self) -> dict[str, Profile]:
        """By steps; where a step costs not all contestants the same gradients, also by them; by seconds where they were measured."""
        study = self.study
        per = {axis: [study.per_step(name, axis) for name in study.contestants] for axis in get_args(Axis)}
        return {axis: study.profiles(axis) for axis, units in per.items() if None not in units and (axis == "steps" or set(units) != {1})}

    @cached_property
    def scales(self) -> dict[tuple[str, str], Scale]:
        """How each measured (split, metric) is best shown: over decades where it can be."""
        ends: dict[tuple[str, str], tuple[float, float]] = {}
        for run in self.study.runs:
            for key, curve in run.curves.items():
                values = [value for _, value in curve if math.isfinite(value)]
                low, high = ends.get(key, (math.inf, -math.inf))
                ends[key] = min([low, *values]), max([high, *values])
        return {key: self._scale(*key, *range_) for key, range_ in ends.items()}

    def scale(self, split: str, metric: str | None = None) -> Scale:
        """How a metric is best shown, the objective where none is named."""
        metric = metric or self.task["objective"]
        return self.scales.get((split, metric)) or Scale(metric, "linear")

    def _scale(self, split: str, metric: str, low: float, high: float) -> Scale:
        judged = metric == self.task["objective"]
        if (metric == "accuracy" or (judged and self.task["maximise"])) and 0 <= low <= high <= 1:
            return Scale(metric, "error", 0.5 / self.task.get("examples", {}).get(split, 5000))
        return Scale(metric, "log" if (metric == "loss" or (judged and not self.task["maximise"])) and low > 0 else "linear")
