"""Chunks trained in other processes, on this machine or on a Dask cluster.

A chunk is a pure function of the study's tasks and layout and its own jobs, so a worker holds nothing that could be lost.
"""

import os
import zlib
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from fdl.compare._work import Layout, Pending, Worker
from fdl.core import FdlError
from fdl.train import Trainable

_workers: dict[int, Worker] = {}  # of this process, by the checksum of what they were made from


def train(setup: bytes, chunk: bytes, until: int | None) -> list[Pending]:
    """One chunk, in whatever process this is called."""
    import cloudpickle

    key = zlib.crc32(setup)
    if key not in _workers:
        _workers[key] = Worker(*cloudpickle.loads(setup))
    return _workers[key].run(cloudpickle.loads(chunk), until)


class Processes:
    """Processes of this machine with one core each: unlike threads they share no lock and no pool, but each compiles for itself.

    Args:
        tasks, layout: of the study.
    """

    def __init__(self, tasks: Mapping[str, Trainable], layout: Layout) -> None:
        import cloudpickle

        self._setup, self._count = cloudpickle.dumps((dict(tasks), layout)), layout.workers
        self._begin()

    def _begin(self) -> None:
        from joblib.externals.loky import ProcessPoolExecutor

        # XLA's pool of threads has NPROC threads
        self._pool = ProcessPoolExecutor(self._count, env={"NPROC": "1", "JAX_PLATFORMS": os.environ.get("JAX_PLATFORMS", "")})

    def submit(self, chunk: Sequence[Pending], until: int | None, segment: Any) -> Future[list[Pending]]:
        import cloudpickle

        future = self._pool.submit(train, self._setup, cloudpickle.dumps(list(chunk)), until)
        future.add_done_callback(lambda f: f.cancelled() or f.exception() or segment(_steps(f.result(), chunk)))
        return future

    def renew(self) -> None:
        self.close()
        self._begin()

    def close(self) -> None:
        self._pool.shutdown(kill_workers=True)


class Cluster:
    """A Dask cluster, whose own forms know SLURM, Kubernetes, SSH and hosts with several GPUs.

    Args:
        address: of its scheduler; `"local:4"` starts one with four worker processes here.
    """

    def __init__(self, address: str, tasks: Mapping[str, Trainable], layout: Layout) -> None:
        import cloudpickle

        self._client, self._own = connect(address)
        self._setup = self._client.scatter(cloudpickle.dumps((dict(tasks), layout)), broadcast=True, hash=False)
        self._pool = self._client.get_executor(pure=False, retries=3)

    def submit(self, chunk: Sequence[Pending], until: int | None, segment: Any) -> Future[list[Pending]]:
        import cloudpickle

        future = self._pool.submit(train, self._setup, cloudpickle.dumps(list(chunk)), until)
        future.add_done_callback(lambda f: f.cancelled() or f.exception() or segment(_steps(f.result(), chunk)))
        return future

    def renew(self) -> None:
        self._client.restart(wait_for_workers=False)

    def close(self) -> None:
        self._client.close()
        if self._own:
            self._own.close()


def connect(address: str) -> tuple[Any, Any]:
    """A client of the scheduler at `address`, and the cluster if it was started here."""
    try:
        from distributed import Client, LocalCluster
    except ImportError as error:
        raise FdlError("--cluster", "no distributed", "Dask", "pip install 'fdl[cluster]'") from error
    kind, _, count = address.partition(":")
    if kind == "local":
        if not count.isdecimal() or not int(count):
            raise FdlError("--cluster", repr(address), "local:N with N worker processes, or a scheduler's address")
        own = LocalCluster(n_workers=int(count), threads_per_worker=1, dashboard_address=None, env={"NPROC": "1"})
        return Client(own), own
    try:
        return Client(address, timeout=10), None
    except (OSError, ValueError) as error:
        raise FdlError("--cluster", repr(address), "the address of a scheduler that answers", str(error)) from error


def _steps(done: list[Pending], chunk: Sequence[Pending]) -> int:
    """Steps that a chunk has made."""
    before = sum(int(p.progress.step) if p.progress is not None else 0 for p in chunk)
    return sum(max(step for curve in p.record.curves.values() for step, _ in curve) for p in done if p.record) - before
