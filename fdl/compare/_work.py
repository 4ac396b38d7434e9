"""What a worker does, be it a thread, a process or a machine: it trains chunks of runs to records."""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Lock
from typing import Any, NamedTuple

import jax
import numpy as np

from fdl import optim
from fdl.compare import space
from fdl.compare._checkpoints import Checkpoints, Pending
from fdl.compare._plan import Job
from fdl.compare._store import RunRecord
from fdl.core import FdlError
from fdl.train import Progress, Trainable, Trainer


class Layout(NamedTuple):
    """How a study's runs are laid out: fixed before the first, for another layout gives other bits."""

    workers: int
    """How many chunks are trained at the same time."""
    chunk: int
    """How many runs one program maps."""
    fast: bool
    """Whether programs are compiled with the backend's fast options, as `fdl.jit` takes it."""
    devices: int = 1
    """Among how many devices each chunk is divided."""
    pool: int = 1
    """Threads of XLA's own pool in each process that trains: on CPU convolutions part their sums by it."""


class Worker:
    """Trains chunks; every family's program is compiled once, by whoever needs it first.

    Args:
        tasks: what each contestant trains.
        layout: of the study.
        checkpoints: where runs that take long are kept on their way; `None`: nowhere.
    """

    def __init__(self, tasks: Mapping[str, Trainable], layout: Layout, checkpoints: Checkpoints | None = None) -> None:
        self._tasks, self._layout, self._checkpoints = tasks, layout, checkpoints
        made = {id(task): Trainer(task, layout.chunk, layout.fast, layout.devices) for task in tasks.values()}
        self.trainers = {name: made[id(task)] for name, task in tasks.items()}
        self._unprepared = list(made.values())
        self._programs: dict[Any, Any] = {}
        self._locks: dict[Any, Lock] = {}
        self._lock = Lock()

    def prepare(self) -> list[Callable[[], Any]]:
        """What compiles the programs that families share; nothing the second time."""
        trainers, self._unprepared = self._unprepared, []
        return [call for trainer in trainers for call in trainer.prepare()]

    def has(self, job: Job) -> bool:
        """Whether the job's family is compiled."""
        return family(job) in self._programs

    def program(self, job: Job) -> Any:
        """The compiled training steps of the job's family: its contestant and the structure of its optimizer."""
        if any(leaf is job.optimizer for leaf in jax.tree.leaves(job.optimizer)):  # the plan holds pytrees alone
            found = f"{type(job.optimizer).__name__}, which JAX does not know as a pytree in this process"
            fix = "Move the class and its registration from the script to a module that is imported, or train by threads."
            raise FdlError(f"contestant {job.contestant}", found, "a class that is registered wherever runs are trained", fix)
        key = family(job)
        with self._lock:
            lock = self._locks.setdefault(key, Lock())
        with lock:
            if key not in self._programs:
                trainer = self.trainers[job.contestant]
                self._programs[key] = trainer.compile([job.optimizer] * trainer.chunk)
            return self._programs[key]

    def run(
        self,
        chunk: Sequence[Pending],
        until: int | None = None,
        segment: Callable[[int], None] = lambda steps: None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> list[Pending]:
        """Trains runs of one family, at most `layout.chunk` many, to step `until` or their end.

        Args:
            chunk: all at the same step.
            segment: told the steps that have been done, after every segment.
            stopped: asked after every segment; where true, nothing is returned.
        """
        jobs, trainer = [pending.job for pending in chunk], self.trainers[chunk[0].job.contestant]
        task, end = trainer.task, until or trainer.task.steps
        whole = [*chunk, *[chunk[-1]] * (trainer.chunk - len(chunk))]  # a chunk of another size would be another program
        curves = [{key: list(curve) for key, curve in p.record.curves.items()} if p.record else {} for p in chunk]

        def note(step: int, split: str, measured: Mapping[str, np.ndarray], frozen: np.ndarray) -> None:
            for metric, values in measured.items():
                for curve, value, done in zip(curves, values, frozen):
                    if not done:  # else what is recorded of a run would depend on the runs beside it
                        curve.setdefault((split, metric), []).append((step, float(value)))

        def stand(progress: Progress, kept: bool) -> list[Pending]:
            """The runs as they are after this step, with all that their next one needs or without."""
            records = [_record(job, int(at) or None, c) for job, at, c in zip(jobs, np.asarray(progress.diverged_at), curves)]
            host = jax.tree.map(np.asarray, progress) if kept else None
            pick = lambda i: None if host is None else jax.tree.map(lambda a: a[i], host)
            return [Pending(job, record, pick(i)) for i, (job, record) in enumerate(zip(jobs, records))]

        optimizers, seeds = [p.job.optimizer for p in whole], [p.job.seed for p in whole]
        paused, step, saved = [p.progress for p in whole], chunk[0].step, time.monotonic()
        begin = None if paused[0] is None else jax.tree.map(lambda *leaves: np.stack(leaves), *paused)
        progress, frozen = begin, np.zeros(len(whole), bool) if begin is None else begin.diverged_at > 0
        for progress, measured in trainer.run(self.program(jobs[0]), optimizers, seeds, begin, end):
            step += task.evaluate_every
            for split, values in measured.items():
                note(step, split, values, frozen)
            frozen = np.asarray(progress.diverged_at) > 0
            ended = stopped()
            if self._checkpoints and step < end and self._checkpoints.due(time.monotonic() - saved, last=ended):
                self._checkpoints.save(stand(progress, kept=True))
                saved = time.monotonic()
            if ended:
                return []
            if frozen.all():  # no step would change anything
                segment((end - step + task.evaluate_every) * len(jobs))
                break
            segment(task.evaluate_every * len(jobs))
        assert progress is not None
        if jobs[0].phase == "final":
            note(task.steps, "test", trainer.test(optimizers, progress), np.zeros(len(whole), bool))
        return stand(progress, kept=end < task.steps)

    def costs(self, jobs: Sequence[Job]) -> dict[str, dict[str, float]]:
        """What a step of one run alone costs, by contestant: seconds, without compilation and evaluation, and bytes of state."""
        alone = self if self._layout.chunk == 1 else Worker(self._tasks, self._layout._replace(chunk=1, devices=1))
        with ThreadPoolExecutor(self._layout.workers) as threads:  # compiles side by side
            programs = list(threads.map(alone.program, jobs))
        return {job.contestant: _cost(alone.trainers[job.contestant], job.optimizer, program) for job, program in zip(jobs, programs)}


def cores() -> int:
    """Of this machine, that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def pool() -> int:
    """Threads of this process's XLA pool on CPU: read from the environment, as XLA does, when it starts."""
    named = os.environ.get("PJRT_NPROC") or os.environ.get("NPROC") or ""
    return int(named) if named.isdecimal() else cores()


def check_pool(layout: Layout) -> None:
    """Raises `FdlError` where this process would give other bits."""
    if jax.default_backend() == "cpu" and pool() != layout.pool:
        fix = f"Another number gives other bits: set NPROC={layout.pool} where this process is started."
        raise FdlError("threads of XLA's pool", str(pool()), f"{layout.pool}, as the study's layout has it", fix)


def family(job: Job) -> Any:
    """What runs must share to be mapped in one program."""
    return job.contestant, jax.tree.structure(optim.as_pytree(job.optimizer))


def _record(job: Job, diverged_at: int | None, curves: dict[tuple[str, str], list[tuple[int, float]]]) -> RunRecord:
    values = {name: value if isinstance(value, str) else float(value) for name, value in space.hyperparameters(job.optimizer).items()}
    return RunRecord(*job.id, values, diverged_at, curves)


def _cost(trainer: Trainer, optimizer: Any, program: Any) -> dict[str, float]:
    params = jax.eval_shape(trainer.task.init, jax.random.key(0))[0]
    state = jax.tree.leaves(jax.eval_shape(optimizer.init, params))
    count = sum(leaf.size for leaf in jax.tree.leaves(params))
    return {
        "seconds_per_step": trainer.seconds_per_step(program, optimizer),
        "state_bytes_per_parameter": sum(leaf.size * leaf.dtype.itemsize for leaf in state) / max(count, 1),
    }


def stop_at(pending: Pending, step: int) -> RunRecord:
    """The record of a paused run that is not taken up again."""
    assert pending.record is not None
    return replace(pending.record, stopped_at=step)
