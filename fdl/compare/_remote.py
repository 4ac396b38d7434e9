"""Chunks trained in other processes, on this machine or on a Dask cluster.

A chunk is a pure function of the study's tasks and layout and its own jobs, so a worker holds nothing that could be lost.
"""

import contextlib
import logging
import os
import signal
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import BrokenExecutor, CancelledError, Future
from threading import Lock, Thread
from typing import Any
from uuid import uuid4

from fdl.compare._execute import Segment
from fdl.compare._work import Layout, Pending, Worker, check_pool
from fdl.core import FdlError
from fdl.train import Trainable

_worker: dict[str, Worker] = {}  # of this process: the one of the study that it works for, by the study's token
_lock = Lock()


def train(token: str, setup: bytes | None, chunk: bytes, until: int | None) -> list[Pending]:
    """One chunk, in whatever process this is called.

    Args:
        token: of the study.
        setup: what its `Worker` is made from; `None` where `prepare` has been called.
        chunk: pending runs.
    """
    import cloudpickle

    with _lock:
        if token not in _worker:
            assert setup is not None
            tasks, layout = cloudpickle.loads(setup)
            check_pool(layout)
            _worker.clear()  # what another study left
            _worker[token] = Worker(tasks, layout)
        worker = _worker[token]
    return worker.run(cloudpickle.loads(chunk), until)


def prepare(token: str, setup: bytes) -> None:
    """Makes a process of this machine ready for a study; its parent alone heeds Ctrl-C, and it ends with its parent."""
    import cloudpickle

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    _worker[token] = Worker(*cloudpickle.loads(setup))


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


class Processes:
    """Processes of this machine with one core each: unlike threads they share no lock and no pool, but each compiles for itself.

    Args:
        tasks, layout: of the study.
    """

    def __init__(self, tasks: Mapping[str, Trainable], layout: Layout) -> None:
        import cloudpickle
        from joblib.externals.loky.process_executor import ShutdownExecutorError

        self.lost: tuple[type[BaseException], ...] = (BrokenExecutor, ShutdownExecutorError)
        self._tasks, self._layout = tasks, layout
        self._token, self._setup = uuid4().hex, cloudpickle.dumps((dict(tasks), layout))
        self._begin()

    def _begin(self) -> None:
        from joblib.externals.loky import ProcessPoolExecutor

        environment = {"NPROC": str(self._layout.pool), "JAX_PLATFORMS": os.environ.get("JAX_PLATFORMS", "")}
        made = self._token, self._setup
        self._pool = ProcessPoolExecutor(self._layout.workers, initializer=prepare, initargs=made, env=environment)

    def submit(self, chunk: Sequence[Pending], until: int | None, segment: Segment) -> Future[list[Pending]]:
        import cloudpickle

        future = self._pool.submit(train, self._token, None, cloudpickle.dumps(list(chunk)), until)
        return _counted(future, _steps(chunk, until, self._tasks), segment)

    def renew(self, hung: bool) -> None:
        self.close()
        self._begin()

    def close(self) -> None:
        for pid in list(self._pool._processes):  # also those that hang; the pool's own way is not safe while chunks wait
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._pool.shutdown()


class Cluster:
    """A Dask cluster, whose own forms know SLURM, Kubernetes, SSH and hosts with several GPUs.

    Args:
        address: of its scheduler; `"local:4"` starts one with four worker processes here.
        tasks, layout: of the study.
    """

    def __init__(self, address: str, tasks: Mapping[str, Trainable], layout: Layout) -> None:
        import cloudpickle

        self._client, self._own = connect(address, layout.pool)
        from distributed import KilledWorker
        from distributed.comm import CommClosedError

        self.lost: tuple[type[BaseException], ...] = (KilledWorker, CancelledError, CommClosedError)
        self._address, self._tasks, self._token = address, tasks, uuid4().hex
        # a task's result, unlike scattered data, is made again where the last worker that had it died
        self._setup = self._submit(self._client.submit, bytes, cloudpickle.dumps((dict(tasks), layout)), pure=False)
        self._pool = self._client.get_executor(pure=False)

    def submit(self, chunk: Sequence[Pending], until: int | None, segment: Segment) -> Future[list[Pending]]:
        import cloudpickle

        future = self._submit(self._pool.submit, train, self._token, self._setup, cloudpickle.dumps(list(chunk)), until)
        return _counted(future, _steps(chunk, until, self._tasks), segment)

    def _submit(self, submit: Any, *args: Any, **options: Any) -> Any:
        import dask

        try:
            with dask.config.set({"distributed.admin.large-graph-warning-threshold": "1 TiB"}):  # data is sent once
                return submit(*args, **options)
        except (OSError, RuntimeError) as error:
            raise self._gone(error) from error

    def _gone(self, why: Any) -> FdlError:
        fix = "Its records so far are safe: start another cluster, and the same command goes on."
        return FdlError("cluster", f"no scheduler at {self._address} any more ({why})", "one that lives as long as the study", fix)

    def renew(self, hung: bool) -> None:
        """Dead workers are the cluster's to replace; those that hang are ended, for another to take their place."""
        if self._client.status != "running":
            raise self._gone(self._client.status)
        if hung:
            with contextlib.suppress(OSError, RuntimeError, ValueError):  # those without a nanny end by the scheduler's own patience
                busy = [worker for worker, keys in self._client.processing().items() if keys]
                self._client.restart_workers(busy, timeout=30, raise_for_error=False)

    def close(self) -> None:
        self._client.close()
        if self._own:
            self._own.close()


def connect(address: str, pool: int = 1) -> tuple[Any, Any]:
    """A client of the scheduler at `address`, and the cluster if it was started here: its processes' XLA gets `pool` threads."""
    try:
        from distributed import Client, LocalCluster
    except ImportError as error:
        raise FdlError("cluster", "no distributed", "Dask", "pip install 'fdl[cluster]'") from error
    kind, _, count = address.partition(":")
    if kind == "local":
        if not count.isdecimal() or not int(count):
            raise FdlError("cluster", repr(address), "local:N with N worker processes, or a scheduler's address")
        # dead workers are expected here, and told by what they cost alone
        options = {"dashboard_address": "127.0.0.1:0", "env": {"NPROC": str(pool)}, "silence_logs": logging.CRITICAL, "preload": __name__}
        own = LocalCluster(n_workers=int(count), threads_per_worker=1, **options)
        return Client(own, set_as_default=False), own
    try:
        return Client(address, timeout=10, set_as_default=False), None
    except (OSError, ValueError) as error:
        raise FdlError("cluster", repr(address), "the address of a scheduler that answers", str(error)) from error


def dask_setup(worker: Any) -> None:
    """Called in each worker process of a cluster started here: as with `prepare`, Ctrl-C is not for it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _counted(future: Future[list[Pending]], steps: int, segment: Segment) -> Future[list[Pending]]:
    """`future`, which tells `segment` the steps of its chunk once it has ended well."""

    def ended(future: Future[list[Pending]]) -> None:
        if not future.cancelled() and not future.exception():
            segment(steps)

    future.add_done_callback(ended)
    return future


def _steps(chunk: Sequence[Pending], until: int | None, tasks: Mapping[str, Trainable]) -> int:
    """Steps that a chunk will make."""
    before = [int(p.progress.step) if p.progress is not None else 0 for p in chunk]
    return sum((until or tasks[p.job.contestant].steps) - step for p, step in zip(chunk, before))
