"""A study: all trials of all contestants on a task, then the winners again with fresh seeds."""

import os
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import numpy as np

from fdl.compare._budget import BudgetCurve, budget_curve
from fdl.compare._contestants import classics
from fdl.compare._display import Display
from fdl.compare._execute import Executor, Layout, layout
from fdl.compare._headline import headline
from fdl.compare._paired import Comparison
from fdl.compare._plan import Plan, name_contestants
from fdl.compare._results import Result, compare_pairs, judge
from fdl.compare._sensitivity import Sensitivity, sensitivity
from fdl.compare._store import RunRecord, Store
from fdl.compare._targets import Profile, profiles, steps_to, targets
from fdl.compare._tuning import Trial, choose_trial, searched, summarise
from fdl.core import FdlError
from fdl.core._io import writable_folder
from fdl.tasks import Task
from fdl.train import Trainer


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
            return cls(path, store.manifest(), store.runs())
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

    def profiles(self) -> Profile:
        """Performance profiles over the targets, by the median over seeds of the steps to each."""
        median = lambda name, target: float(np.median(list(self.to_target(name, target).values()) or [np.inf]))
        return profiles({name: [median(name, target) for target in self.targets()] for name in self.contestants})

    @cached_property
    def _trials(self) -> dict[str, list[Trial]]:
        return {name: summarise(self.select("tune", name), self.task["objective"]) for name in self.contestants}

    @cached_property
    def _results(self) -> list[Result]:
        return judge(self.runs, self.contestants, self.task["objective"], self.task["maximise"])

    @cached_property
    def _comparisons(self) -> list[Comparison]:
        return compare_pairs(self._results, self.task["maximise"])


def study(
    task: Task, contestants: Sequence[Any] | Mapping[str, Any] | None = None, *, folder: str | os.PathLike[str],
    trials: int = 9, seeds: int = 3, final_seeds: int = 10, display: bool = True,
) -> Study:  # fmt: skip
    """Compares optimizers on a task.

    Every contestant gets a grid of `trials` points in each of its distributions, each trained with the same `seeds`: equal
    seeds mean equal initial parameters and batches. The trial with the best mean objective on the validation split is
    trained again with `final_seeds` other seeds and judged on the test split. One program is compiled for each contestant.

    Args:
        task: what to train.
        contestants: optimizers (any with `init` and `update`) with `space` distributions among their leaves, as a list
            or by name. Default: the six classics over four decades of rates.
        folder: where records and report are kept. A folder that holds a part of the same study is continued.
        trials: points of the grid, at least 2.
        seeds: tuning runs of each trial.
        final_seeds: at least 2.
        display: whether progress is shown in the terminal.

    Raises:
        FdlError: before anything is compiled, for a plan that makes no sense, for a folder that cannot be written to or
            that holds another study.
    """
    begun = time.perf_counter()
    plan = Plan(task, name_contestants(classics if contestants is None else contestants), trials, seeds, final_seeds)
    path = writable_folder(folder, "study folder")
    store = Store(path)
    try:
        before = store.manifest()
        if before.get("plan", plan.card()) != plan.card():
            raise FdlError(
                "study folder",
                f"another study in {str(folder)!r}",
                "the same task, contestants, trials and seeds",
                "Choose another folder.",
            )
        laid = layout(task)
        store.write_manifest({"plan": plan.card(), "environment": environment(laid)})
        runs = store.runs()
        with Display(display) as shown, Executor(Trainer(task, laid.chunk, laid.fast), laid.threads) as executor:
            for phase, title in (("tune", "Tuning"), ("final", "Judging")):
                known = {(r.phase, r.contestant, r.trial, r.seed) for r in runs}
                planned = plan.tune() if phase == "tune" else plan.final(_chosen(runs, plan))
                jobs = [j for j in planned if (j.phase, j.contestant, j.trial, j.seed) not in known]
                if not jobs:
                    continue
                families = {job.contestant: job.optimizer for job in jobs if job.contestant not in executor.programs}
                if families:
                    shown.begin("Compiling", len(families), len(families), "programs")
                    executor.compile(families, lambda name: shown.advance(1))
                shown.begin(title, len(jobs), len(jobs) * task.steps, "steps")
                for record in executor.run(jobs, shown.advance):
                    store.add([record])
                    runs.append(record)
                    shown.ended(record, task.objective, task.maximise)
        seconds = before.get("seconds", 0) + time.perf_counter() - begun
        store.write_manifest({"seconds": seconds})
    finally:
        store.close()
    return Study.load(path)


def _chosen(runs: list[RunRecord], plan: Plan) -> dict[str, int]:
    """Each contestant's chosen trial; one that diverged everywhere has none."""
    tune = {name: [run for run in runs if (run.phase, run.contestant) == ("tune", name)] for name in plan.contestants}
    chosen = {name: choose_trial(summarise(mine, plan.task.objective), plan.task.maximise) for name, mine in tune.items()}
    return {name: trial.trial for name, trial in chosen.items() if trial}


def environment(laid: Layout) -> dict[str, Any]:
    """Software and hardware that a study's numbers depend on, and how its runs were laid out."""
    device = jax.devices()[0]
    versions = {name: metadata.version(name) for name in ("fdl", "jax", "jaxlib", "numpy", "optax")}
    return {
        "versions": {"python": platform.python_version(), **versions},
        "platform": platform.platform(),
        "device": f"{len(jax.devices())} x {device.device_kind} ({device.platform})",
        "cores": os.cpu_count(),
        "precision": str(jax.config.jax_default_matmul_precision or "default"),  # type: ignore[attr-defined]
        "layout": laid._asdict(),
    }
