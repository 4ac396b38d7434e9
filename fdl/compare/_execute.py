"""Runs a study's jobs by anything that has `submit`: threads, processes, a cluster."""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, Future, ThreadPoolExecutor, wait
from threading import Event
from typing import Any, Protocol

from fdl.compare._plan import Job
from fdl.compare._work import Pending, Worker, family
from fdl.core import FdlError

PATIENCE = 600.0  # seconds without any chunk's end after which workers count as hung, and at least ten times the longest chunk
ATTEMPTS = 5  # lost workers in a row, without a chunk's end between, that end a study

Segment = Callable[[int], None]


class Backend(Protocol):
    """Where chunks are trained."""

    def submit(self, chunk: Sequence[Pending], until: int | None, segment: Segment) -> Future[list[Pending]]: ...

    def renew(self) -> None:
        """Replaces workers that died or hang; what was submitted is submitted again."""

    def close(self) -> None:
        """Ends the workers; what they are at is lost."""


class Threads:
    """Threads of this process, which share data and programs; each ends at its next segment once closed."""

    def __init__(self, worker: Worker, workers: int) -> None:
        self.worker, self._pool, self._stop = worker, ThreadPoolExecutor(workers), Event()

    def submit(self, chunk: Sequence[Pending], until: int | None, segment: Segment) -> Future[list[Pending]]:
        return self._pool.submit(self.worker.run, chunk, until, segment, self._stop.is_set)

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

    def renew(self) -> None:
        raise FdlError("study", f"no chunk ended in {PATIENCE:.0f} s", "workers that go on", "Choose --how processes to survive hung runs.")

    def close(self) -> None:
        self._stop.set()
        self._pool.shutdown(cancel_futures=True)


def execute(
    backend: Backend, chunk: int, pending: Sequence[Pending], until: int | None, segment: Segment, patience: float = PATIENCE
) -> Iterator[list[Pending]]:
    """Trains everything that is pending and yields it chunk by chunk, as chunks end.

    A worker that dies, or all of them hanging, costs the chunks that were under way: they are trained again.
    """
    chunks: list[list[Pending]] = []
    families: dict[Any, list[Pending]] = {}
    for one in pending:
        families.setdefault((family(one.job), one.progress is None), []).append(one)
    rows = [[members[i : i + chunk] for i in range(0, len(members), chunk)] for members in families.values()]
    while any(rows):  # one of each family in turn: workers that compile for themselves do it side by side
        chunks += [row.pop(0) for row in rows if row]
    futures = {backend.submit(one, until, segment): one for one in chunks}
    lost, longest, last = 0, 0.0, time.monotonic()
    while futures:
        ended, _ = wait(futures, timeout=max(patience, 10 * longest), return_when=FIRST_COMPLETED)
        failed = not ended
        for future in ended:
            try:
                done = future.result()
            except (BrokenExecutor, CancelledError, ConnectionError):
                failed = True
                continue
            longest, last, lost = max(longest, time.monotonic() - last), time.monotonic(), 0
            del futures[future]
            yield done
        if failed:
            lost += 1
            if lost > ATTEMPTS:
                raise FdlError(
                    "study", f"workers lost {lost} times, one after another", "workers that finish a chunk", "Is there memory enough?"
                )
            backend.renew()
            futures = {backend.submit(one, until, segment): one for one in futures.values()}


def cores() -> int:
    """Of this machine, that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
