"""Runs a list of jobs, on every core of a CPU or mapped on an accelerator."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from threading import Event
from typing import Any, NamedTuple

import jax
import numpy as np

from fdl.compare import space
from fdl.compare._plan import Job
from fdl.compare._store import RunRecord
from fdl.train import Trainable, Trainer

ACCELERATOR_CHUNK = 32  # runs mapped into one program
SMALL = 1e8  # FLOPs of a batch's forward pass; digits-cnn has 1e7 and runs 1.4 times as fast without the fast options


class Layout(NamedTuple):
    """How a study's runs are laid out: fixed before the first, for another layout gives other bits."""

    threads: int
    """How many programs run at the same time."""
    chunk: int
    """How many runs each maps."""
    fast: bool
    """Whether they are compiled with the backend's fast options, as `fdl.jit` takes it."""


def layout(task: Trainable) -> Layout:
    """On CPU unmapped programs from a thread a core, on an accelerator one program that maps many runs.

    Mapping gains nothing on CPU for convolutions, and without it a run's bits do not depend on what runs beside it.
    """
    if jax.default_backend() != "cpu":
        return Layout(1, ACCELERATOR_CHUNK, True)
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Layout(threads, 1, threads == 1 or task.flops() > SMALL)


class Executor:
    """Threads that compile and run; leaving it by an exception, Ctrl-C included, ends them at their next segment.

    Args:
        trainer: the task made ready.
        threads: how many programs run at the same time.
    """

    def __init__(self, trainer: Trainer, threads: int) -> None:
        self._trainer, self._pool, self._stop = trainer, ThreadPoolExecutor(threads), Event()
        self.programs: dict[str, Any] = {}

    def __enter__(self) -> "Executor":
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        self._stop.set()
        self._pool.shutdown(cancel_futures=True)

    def compile(self, families: dict[str, Any], done: Callable[[str], None]) -> None:
        """One program for each family, given by any member of it; `done` is told each name."""
        futures = {self._pool.submit(self._trainer.compile, [o] * self._trainer.chunk): name for name, o in families.items()}
        for future in as_completed(futures):
            self.programs[futures[future]] = future.result()
            done(futures[future])

    def run(self, jobs: Sequence[Job], segment: Callable[[int], None]) -> Iterator[RunRecord]:
        """Yields each job's record as it ends; `segment` is told the steps done, from several threads."""
        chunks: list[list[Job]] = []
        for name in dict.fromkeys(job.contestant for job in jobs):
            family, size = [job for job in jobs if job.contestant == name], self._trainer.chunk
            chunks += [family[i : i + size] for i in range(0, len(family), size)]
        futures: list[Future[list[RunRecord]]] = [self._pool.submit(self._chunk, chunk, segment) for chunk in chunks]
        for future in as_completed(futures):
            yield from future.result()

    def _chunk(self, jobs: list[Job], segment: Callable[[int], None]) -> list[RunRecord]:
        padded = jobs + [jobs[-1]] * (self._trainer.chunk - len(jobs))  # a chunk of another size would be another program
        curves: list[dict[tuple[str, str], list[tuple[int, float]]]] = [{} for _ in jobs]

        def note(step: int, split: str, measured: dict[str, np.ndarray]) -> None:
            for metric, values in measured.items():
                for curve, value in zip(curves, values):
                    curve.setdefault((split, metric), []).append((step, float(value)))

        task, program = self._trainer.task, self.programs[jobs[0].contestant]
        step = 0
        for progress, measured in self._trainer.run(program, [j.optimizer for j in padded], [j.seed for j in padded]):
            if self._stop.is_set():
                return []
            step += task.evaluate_every
            for split, values in measured.items():
                note(step, split, values)
            segment(task.evaluate_every * len(jobs))
        if jobs[0].phase == "final":
            note(step, "test", self._trainer.test(progress))
        at = [int(n) or None for n in np.asarray(progress.diverged_at)]
        return [
            RunRecord(j.phase, j.contestant, j.trial, j.seed, {k: float(v) for k, v in space.hyperparameters(j.optimizer).items()}, d, c)
            for j, d, c in zip(jobs, at, curves)
        ]
