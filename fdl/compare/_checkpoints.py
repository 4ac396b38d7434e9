"""Runs under way, written to a study's folder every so often: one that is killed goes on from there, with the same bits."""

import hashlib
import json
import shutil
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import jax

from fdl.compare._plan import Job
from fdl.compare._store import RunRecord
from fdl.core import FdlError
from fdl.core._io import load_arrays, save_arrays
from fdl.train import Progress, Trainable, start


@dataclass(frozen=True, eq=False)
class Pending:
    """A run that is planned or has been paused.

    Attributes:
        job: what it is.
        record: what is known so far, `None` before the first step.
        progress: where it stands, as arrays on the host.
    """

    job: Job
    record: RunRecord | None = None
    progress: Progress | None = None

    @property
    def step(self) -> int:
        return 0 if self.progress is None else int(self.progress.step)


class Checkpoints:
    """The folder `checkpoints` of a study: a safetensors file for each run under way, named by a hash of what the run is.

    Args:
        folder: the study's.
        seconds: of training between two checkpoints of a run; one that ends sooner leaves none.
    """

    def __init__(self, folder: Path, seconds: float = 30) -> None:
        self._folder, self._seconds = folder.resolve() / "checkpoints", seconds

    def due(self, seconds: float, last: bool) -> bool:
        """Whether a run is to be saved so many seconds after its start or its last checkpoint; sooner, if it can be for the last time."""
        return seconds > min(self._seconds, 1 if last else self._seconds)

    def save(self, paused: Iterable[Pending]) -> None:
        """Where these runs stand."""
        self._folder.mkdir(exist_ok=True)
        for run in paused:
            assert run.record is not None
            leaves = {str(i): leaf for i, leaf in enumerate(jax.tree.leaves(run.progress))}
            about = {**vars(run.record), "curves": [[*key, curve] for key, curve in run.record.curves.items()]}
            save_arrays(self._path(run.job), leaves, about)

    def load(self, job: Job, task: Trainable) -> Pending:
        """The run as it was saved last, or before its first step; a damaged file is named, and left out."""
        path = self._path(job)
        if not path.exists():
            return Pending(job)
        try:
            found, about = load_arrays(path)
            shapes = jax.eval_shape(partial(start, task), job.optimizer, jax.random.key(0))
            leaves = [found.get(str(i)) for i in range(len(found))]
            of = lambda arrays: [(a.shape, a.dtype) for a in arrays]
            if of(leaves) != of(jax.tree.leaves(shapes)):
                raise FdlError(str(path), "arrays of another kind of run", "those that the run's optimizer and model have")
        except FdlError as error:
            warnings.warn(f"{error} The run begins anew.", stacklevel=2)
            return Pending(job)
        curves = {(split, metric): list(map(tuple, curve)) for split, metric, curve in about["curves"]}
        return Pending(job, RunRecord(**{**about, "curves": curves}), jax.tree.unflatten(jax.tree.structure(shapes), leaves))

    def drop(self, runs: Iterable[RunRecord]) -> None:
        """Of runs that are finished and recorded."""
        if self._folder.exists():
            for run in runs:
                self._path(run).unlink(missing_ok=True)

    def clear(self) -> None:
        """All of them: the study is complete."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _path(self, run: Job | RunRecord) -> Path:
        return self._folder / f"{hashlib.sha256(json.dumps(run.id).encode()).hexdigest()[:32]}.safetensors"
