"""One run that a person watches, and its files."""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from fdl.core._io import save_arrays, write_bytes
from fdl.train._run import Progress, Trainable
from fdl.train._trainer import Trainer

Curves = dict[tuple[str, str], list[tuple[int, float]]]


@dataclass(frozen=True, eq=False)
class Fit:
    """A finished run.

    Attributes:
        progress: where it ended: parameters, state, optimizer state, and the step at which it diverged, 0 if it did not.
        params: the parameters to keep, by `optim.evaluation_params`.
        curves: `curves[split, metric]` is `[(step, value), ...]`.
        test: loss and metrics on the test split.
        seconds: what training took, without compilation.
    """

    progress: Progress
    params: Any
    curves: Curves
    test: dict[str, float]
    seconds: float

    @property
    def diverged(self) -> bool:
        return int(self.progress.diverged_at) > 0

    def last(self, split: str, metric: str) -> float:
        return self.curves[split, metric][-1][1]


def fit(task: Trainable, optimizer: Any, seed: int = 0, *, title: str = "Training", display: bool = True) -> Fit:
    """Trains once from the host: compiles one program, runs it segment by segment, tests at the end.

    Args:
        task: what to train.
        optimizer: anything with `init` and `update`.
        seed: of the run's `jax.random.key`.
        title: what stands before the progress bar.
        display: whether progress is shown, on standard error.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    left = TimeRemainingColumn(compact=True, elapsed_when_finished=True)
    columns = (TextColumn("{task.description}"), BarColumn(24), MofNCompleteColumn(), TextColumn("steps{task.fields[note]}"), left)
    trainer = Trainer(task)
    curves: Curves = {}
    with Bars(*columns, console=Console(stderr=True), disable=not display) as bars:
        bar = bars.add_task(title, total=task.steps, note=", compiling")
        program = trainer.compile([optimizer])
        bars.update(bar, note="")
        begun, step = time.perf_counter(), 0
        for progress, measured in trainer.run(program, [optimizer], [seed]):
            step += task.evaluate_every
            for split, values in measured.items():
                for metric, value in values.items():
                    curves.setdefault((split, metric), []).append((step, float(value[0])))
            note = "".join(f", {metric} {float(value[0]):.4f}" for metric, value in measured["validation"].items())
            bars.update(bar, completed=step, note=note)
        seconds = time.perf_counter() - begun
    test = {metric: float(value[0]) for metric, value in trainer.test([optimizer], progress).items()}
    progress, params = jax.tree.map(lambda a: a[0], (progress, trainer.evaluation_params([optimizer], progress)))
    return Fit(progress, params, curves, test, seconds)


def save(fit: Fit, folder: Path, about: dict[str, Any]) -> None:
    """Writes `params.safetensors` (parameters and state) and `run.json` (curves, test figures, what was run).

    Args:
        fit: the run; `folder` exists.
        about: task, optimizer and seed, as JSON values; kept in both files.
    """
    arrays = jax.tree.map(np.asarray, {"params": fit.params, "state": fit.progress.state})
    save_arrays(folder / "params.safetensors", arrays, about)
    curves = [{"split": split, "metric": metric, "values": curve} for (split, metric), curve in fit.curves.items()]
    record = {**about, "diverged_at": int(fit.progress.diverged_at) or None, "test": fit.test, "seconds": fit.seconds, "curves": curves}
    write_bytes(folder / "run.json", json.dumps(record, indent=1).encode())
