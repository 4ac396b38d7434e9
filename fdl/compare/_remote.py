"""Chunks trained in other processes, on this machine or on a Dask cluster.

A chunk is a pure function of the study's tasks and layout and its own jobs, so a worker holds nothing that could be lost.
"""

import contextlib
import logging
import os
import signal
import time
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import BrokenExecutor, CancelledError, Future
from pickle import PicklingError
from tempfile import TemporaryDirectory
from threading import Lock, Thread
from typing import Any
from uuid import uuid4

from fdl.compare._checkpoints import Checkpoints, Pending
from fdl.compare._execute import PATIENCE, Segment
from fdl.compare._plan import Job
from fdl.compare._work import Layout, Worker, check_pool
from fdl.core import FdlError
from fdl.train import Trainable

_worker: dict[str, Worker] = {}  # of this process: the one of the study that it works for, by the study's token
_lock = Lock()


def work(token: str, setup: bytes | None, call: bytes) -> Any:
    """What the `Worker` of whatever process this is called in gives.

    Args:
        token: of the study.
        setup: what its `Worker` is made from; `None` where `prepare` has been called.
        call: the method's name and arguments, pickled.
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
    method, args = cloudpickle.loads(call)
    return getattr(worker, method)(*args)


def prepare(token: str, setup: bytes) -> None:
    """Makes a process of this machine ready for a study; it ends with its parent."""
    import cloudpickle

    dask_setup(None)
    Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    _worker[token] = Worker(*cloudpickle.loads(setup))


def dask_setup(worker: Any) -> None:
    """Called in each worker process here, a cluster's included: its parent alone heeds Ctrl-C and tells of compilations."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache")  # by one that was killed at it


def _environment(pool: int, compiled: str) -> dict[str, str]:
    """Of worker processes here: threads of XLA's pool, and the folder, if any, where they share what each has compiled."""
    mine = {"NPROC": str(pool), "JAX_PLATFORMS": os.environ.get("JAX_PLATFORMS", "")}
    shared = {"JAX_COMPILATION_CACHE_DIR": compiled, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    return mine | shared if compiled and "JAX_COMPILATION_CACHE_DIR" not in os.environ else mine


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def pickled(value: Any) -> bytes:
    """For another process; raises `FdlError` where a part of it belongs to this one."""
    import cloudpickle

    try:
        return bytes(cloudpickle.dumps(value))
    except (PicklingError, TypeError, AttributeError, ValueError) as error:
        raise FdlError("study", f"what cannot be sent to another process ({error})", "tasks and contestants that can be pickled",
                       "Make open files, locks and the like where they are used, or train by threads.") from error  # fmt: skip


def can_be_imported(*values: Any) -> bool:
    """Whether another process finds all that they are made of: functions of a script travel, what it told JAX of its classes does not."""
    try:
        return b"__main__" not in pickled(values)
    except FdlError:
        return False


class _Remote:
    """Has a `Worker` elsewhere train chunks and measure costs."""

    _tasks: Mapping[str, Trainable]

    def submit(self, chunk: Sequence[Pending], until: int | None, segment: Segment) -> Future[list[Pending]]:
        return _counted(self._call("run", list(chunk), until), _steps(chunk, until, self._tasks), segment)

    def costs(self, jobs: Sequence[Job]) -> dict[str, dict[str, float]]:
        return self._call("costs", list(jobs)).result(PATIENCE)

    def _call(self, method: str, *args: Any) -> Future[Any]:
        raise NotImplementedError


class Processes(_Remote):
    """Processes of this machine with one core each: unlike threads they share no lock and no pool.

    Args:
        tasks, layout: of the study.
        checkpoints: as `Worker` takes them.
    """

    def __init__(self, tasks: Mapping[str, Trainable], layout: Layout, checkpoints: Checkpoints | None = None) -> None:
        from joblib.externals.loky.process_executor import ShutdownExecutorError

        self.lost: tuple[type[BaseException], ...] = (BrokenExecutor, ShutdownExecutorError)
        self._tasks, self._layout = tasks, layout
        self._token, self._setup = uuid4().hex, pickled((dict(tasks), layout, checkpoints))
        self._compiled = TemporaryDirectory(prefix="fdl-", ignore_cleanup_errors=True)
        self._begin()

    def _begin(self) -> None:
        from joblib.externals.loky import ProcessPoolExecutor

        made, env = (self._token, self._setup), _environment(self._layout.pool, self._compiled.name)
        self._pool = ProcessPoolExecutor(self._layout.workers, initializer=prepare, initargs=made, env=env)

    def _call(self, method: str, *args: Any) -> Future[Any]:
        return self._pool.submit(work, self._token, None, pickled((method, args)))

    def renew(self, hung: bool) -> None:
        self._end()
        self._begin()

    def close(self) -> None:
        self._end()
        self._compiled.cleanup()

    def _end(self) -> None:
        for pid in list(self._pool._processes):  # also those that hang; the pool's own way is not safe while chunks wait
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._pool.shutdown()


class Cluster(_Remote):
    """A Dask cluster, whose own forms know SLURM, Kubernetes, SSH and hosts with several GPUs.

    Args:
        address: of its scheduler; `"local:4"` starts one with four worker processes here.
        tasks, layout: of the study.
    """

    def __init__(self, address: str, tasks: Mapping[str, Trainable], layout: Layout) -> None:
        self._compiled = TemporaryDirectory(prefix="fdl-", ignore_cleanup_errors=True)
        self._client, self._own = connect(address, layout.pool, self._compiled.name)
        from distributed import KilledWorker
        from distributed.comm import CommClosedError

        self.lost: tuple[type[BaseException], ...] = (KilledWorker, CancelledError, CommClosedError)
        self._address, self._tasks, self._token = address, tasks, uuid4().hex
        # a task's result, unlike scattered data, is made again where the last worker that had it died
        self._setup = self._submit(self._client.submit, bytes, pickled((dict(tasks), layout)), pure=False)
        self._pool = self._client.get_executor(pure=False)

    def _call(self, method: str, *args: Any) -> Future[Any]:
        return self._submit(self._pool.submit, work, self._token, self._setup, pickled((method, args)))

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
        self._compiled.cleanup()


def connect(address: str, pool: int = 1, compiled: str = "") -> tuple[Any, Any]:
    """A client of the scheduler at `address`, and the cluster if it was started here, with this `_environment`."""
    try:
        from distributed import Client, LocalCluster
    except ImportError as error:
        raise FdlError("cluster", "no distributed", "Dask", "pip install 'fdl[cluster]'") from error
    kind, _, count = address.partition(":")
    if kind == "local":
        if not count.isdecimal() or not int(count):
            raise FdlError("cluster", repr(address), "local:N with N worker processes, or a scheduler's address")
        # dead workers are expected here, and told by what they cost alone
        options = {
            "dashboard_address": "127.0.0.1:0",
            "env": _environment(pool, compiled),
            "silence_logs": logging.CRITICAL,
            "preload": __name__,
        }
        own = LocalCluster(n_workers=int(count), threads_per_worker=1, **options)
        return Client(own, set_as_default=False), own
    try:
        return Client(address, timeout=10, set_as_default=False), None
    except (OSError, ValueError) as error:
        raise FdlError("cluster", repr(address), "the address of a scheduler that answers", str(error)) from error


def _counted(future: Future[list[Pending]], steps: int, segment: Segment) -> Future[list[Pending]]:
    """`future`, which tells `segment` the steps of its chunk once it has ended well."""

    def ended(future: Future[list[Pending]]) -> None:
        if not future.cancelled() and not future.exception():
            segment(steps)

    future.add_done_callback(ended)
    return future


def _steps(chunk: Sequence[Pending], until: int | None, tasks: Mapping[str, Trainable]) -> int:
    """Steps that a chunk will make."""
    return sum(max((until or tasks[p.job.contestant].steps) - p.step, 0) for p in chunk)
