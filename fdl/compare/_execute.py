"""Runs a study's jobs by anything that has `submit`: threads, processes, a cluster."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from threading import Event
from typing import Any, Protocol

from fdl.compare._checkpoints import Pending
from fdl.compare._plan import Job
from fdl.compare._work import Worker, family
from fdl.core import FdlError

PATIENCE = 600.0  # seconds without any chunk's end after which workers count as hung, and ten times the longest wait before
ATTEMPTS = 5  # losses of workers in a row, without a chunk's end between, that end a study

Segment = Callable[[int], None]


class Backend(Protocol):
    """Where chunks are trained."""

    lost: tuple[type[BaseException], ...]
    """What a chunk's future raises where the chunk's worker was lost, and the chunk itself is not to blame."""

    def submit(self, chunk: Sequence[Pending], until: int | None, segment: Segment) -> Future[list[Pending]]: ...

    def costs(self, jobs: Sequence[Job]) -> dict[str, dict[str, float]]:
        """`Worker.costs`, where chunks are trained."""

    def renew(self, hung: bool) -> None:
        """Replaces workers that died, or that hang. What they were at is submitted again by the caller."""

    def close(self) -> None:
        """Ends the workers; what they are at is lost."""


class Threads:
    """Threads of this process, which share data and programs; each ends at its next segment once closed."""

    lost: tuple[type[BaseException], ...] = ()

    def __init__(self, worker: Worker, workers: int) -> None:
        self.worker, self._pool, self._stop, self._hung = worker, ThreadPoolExecutor(workers), Event(), False

    def submit(self, chunk: Sequence[Pending], until: int | None, segment: Segment) -> Future[list[Pending]]:
        return self._pool.submit(self.worker.run, chunk, until, segment, self._stop.is_set)

    def costs(self, jobs: Sequence[Job]) -> dict[str, dict[str, float]]:
        return self.worker.costs(jobs)

    def missing(self, pending: Iterable[Pending]) -> list[Job]:
        """A job of each family that has no program yet."""
        first = {family(p.job): p.job for p in pending}
        return [job for job in first.values() if not self.worker.has(job)]

    def compile(self, jobs: Iterable[Job], done: Callable[[], None]) -> None:
        """Their programs, side by side; `done` is called after each."""
        shared = [self._pool.submit(call) for call in self.worker.prepare()]
        futures = [self._pool.submit(self.worker.program, job) for job in jobs]
        for future in futures:
            future.add_done_callback(lambda _: done())
        wait(futures, return_when="FIRST_EXCEPTION")
        for future in (*futures, *shared):
            future.result()

    def renew(self, hung: bool) -> None:
        self._hung = hung
        raise FdlError(
            "study", "no chunk that ended in time", "threads that go on", "More --patience, or --how processes: they can be ended."
        )

    def close(self) -> None:
        self._stop.set()
        self._pool.shutdown(wait=not self._hung, cancel_futures=True)


def execute(
    backend: Backend, chunk: int, pending: Sequence[Pending], until: int | None, segment: Segment, patience: float | None = None
) -> Iterator[list[Pending]]:
    """Trains everything that is pending and yields it chunk by chunk, as chunks end.

    A worker that dies or hangs costs the chunks that it was at: they are trained again.
    """
    families: dict[Any, list[Pending]] = {}
    for one in pending:
        families.setdefault((family(one.job), one.step), []).append(one)
    rows = [[members[i : i + chunk] for i in range(0, len(members), chunk)] for members in families.values()]
    # one of each family in turn: workers that compile for themselves do it side by side
    chunks = [row[i] for i in range(max(map(len, rows), default=0)) for row in rows if i < len(row)]
    submit = lambda one: backend.submit(one, until, segment)
    waiting = {submit(one): one for one in chunks}
    lost = lambda future: future.cancelled() or isinstance(future.exception(), backend.lost)
    losses, longest, last = 0, 0.0, time.monotonic()
    while waiting:
        ended, _ = wait(waiting, patience or max(PATIENCE, 10 * longest), FIRST_COMPLETED)
        for future in ended:
            if not lost(future):
                longest, last, losses = max(longest, time.monotonic() - last), time.monotonic(), 0
                del waiting[future]
                yield future.result()
        hung = not ended
        if hung or any(map(lost, ended)):
            losses += 1
            if losses > ATTEMPTS:
                found = "nothing ended in time" if hung else "workers were lost"
                fix = "More --patience." if hung else "Is there memory enough?"
                raise FdlError("study", f"{losses} times, one after another, {found}", "workers that finish a chunk", fix)
            for future in waiting if hung else ():
                future.cancel()
            backend.renew(hung)
            again = [future for future in waiting if future.done() and lost(future)]
            waiting |= {submit(one): one for one in [waiting.pop(future) for future in again]}
