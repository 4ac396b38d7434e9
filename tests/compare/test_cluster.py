"""Chunks on other processes: a real Dask cluster and processes of this machine, whose workers are killed and stopped while they work."""

import contextlib
import os
import signal
import time
from pathlib import Path

import jax
import pytest
from jax.experimental.compilation_cache.compilation_cache import reset_cache
from small import small_task

from fdl import FdlError, optim
from fdl.compare import space
from fdl.compare._checkpoints import Pending
from fdl.compare._execute import Threads, execute
from fdl.compare._plan import Job
from fdl.compare._remote import Cluster, Processes, connect
from fdl.compare._work import Layout, Worker

TASK = small_task(steps=3000, evaluate_every=1000)
ADAM = optim.Adam(lr=space.log(1e-3, 1e-1))
JOBS = [Job("tune", "adam", i, 0, optimizer) for i, optimizer in enumerate(space.trials(ADAM, 16))]
LAYOUT = Layout(2, 1, False)


def records(done):
    return sorted((r.id, r.diverged_at, repr(r.curves)) for r in done)


def trained(backend, harm=lambda ended: None, patience=None):
    """The jobs' records; `harm` is called after every chunk's end with the number that have ended."""
    done, counted = [], []
    for ended in execute(backend, 1, list(map(Pending, JOBS)), None, counted.append, patience):
        done += [p.record for p in ended]
        harm(len(done))
    assert sum(counted) == len(JOBS) * TASK.steps, "progress counts what has ended, and once"
    return records(done)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """What threads of one process make of the jobs; they leave compiled programs for the workers, whose starts are not what is tested."""
    options = {"jax_compilation_cache_dir": str(tmp_path_factory.mktemp("cache")), "jax_persistent_cache_min_compile_time_secs": 0}
    before = {name: getattr(jax.config, name) for name in options}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in options.items():
            patch.setenv(name.upper(), str(value))
            jax.config.update(name, value)
        reset_cache()
        backend = Threads(Worker({"adam": TASK}, LAYOUT), 2)
        found = trained(backend)
        backend.close()
        for name, value in before.items():
            jax.config.update(name, value)
        reset_cache()
        yield found


@pytest.fixture(scope="module")
def local(alone):
    """A scheduler and four worker processes here."""
    pytest.importorskip("distributed", reason="Dask, the cluster of this test, is not installed")
    client, own = connect("local:4")
    client.close()
    yield own
    own.close()


@pytest.fixture(scope="module")
def cluster(local):
    backend = Cluster(local.scheduler_address, {"adam": TASK}, LAYOUT)
    yield backend
    backend.close()


def pids(local):
    return [nanny.pid for nanny in local.workers.values() if nanny.pid]


def test_a_cluster_makes_the_records_of_one_process_though_workers_are_killed(cluster, local, alone):
    killed = []

    def harm(ended):
        if ended in (2, 5):
            killed.append(pids(local)[ended % 4])
        elif ended == 9:
            killed.extend(pids(local))  # all at once, with the data that only they had
        else:
            return
        for pid in killed[-1:] if ended < 9 else pids(local):
            with contextlib.suppress(ProcessLookupError):  # one killed before, of which its nanny does not know yet
                os.kill(pid, signal.SIGKILL)

    assert trained(cluster, harm) == alone
    assert len(killed) >= 5


def test_a_worker_that_hangs_is_ended_and_its_chunks_are_trained_by_others(cluster, local, alone):
    assert trained(cluster) == alone  # workers that still start or compile would count as hung
    stopped = []

    def harm(ended):
        if ended == 4:
            busy = {address for address, keys in cluster._client.processing().items() if keys}
            stopped.append(next(nanny.pid for nanny in local.workers.values() if nanny.worker_address in busy))
            stopped.append(time.perf_counter())
            os.kill(stopped[0], signal.SIGSTOP)

    assert trained(cluster, harm, patience=8) == alone
    print(f"all ended {time.perf_counter() - stopped[1]:.1f} s after a worker had been stopped")
    assert stopped[0] not in pids(local)


def test_processes_make_the_records_of_threads_though_they_are_killed_and_stopped(alone):
    backend, before = Processes({"adam": TASK}, LAYOUT), []

    def harm(ended):
        if ended in (3, 8):
            before.append(next(iter(backend._pool._processes)))
            os.kill(before[-1], signal.SIGKILL if ended == 3 else signal.SIGSTOP)

    assert trained(backend, harm, patience=15) == alone
    backend.close()
    assert len(before) == 2
    assert not any(Path(f"/proc/{pid}").exists() for pid in before), "no zombies"


def test_processes_share_what_they_have_compiled(alone, monkeypatch):
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    backend = Processes({"adam": TASK}, LAYOUT)
    compiled = lambda: {path.name for path in Path(backend._compiled.name).glob("*-cache")}
    assert trained(backend) == alone
    first = compiled()
    assert len(first) >= 3, "initial parameters, batches, training steps"
    backend.renew(hung=False)
    assert trained(backend) == alone
    assert compiled() == first, "the new workers compiled nothing"
    backend.close()
    assert not Path(backend._compiled.name).exists()


@pytest.mark.parametrize("address", ["local:", "local:0", "local:many", "nowhere://1"])
def test_an_address_without_a_scheduler_is_refused(address):
    pytest.importorskip("distributed", reason="Dask, the cluster of this test, is not installed")
    with pytest.raises(FdlError, match="cluster: found"):
        connect(address)


def test_a_scheduler_that_is_gone_is_told(cluster, local):  # the last test: it ends the cluster
    with pytest.raises(FdlError, match=r"cluster: found no scheduler at .* any more"):
        trained(cluster, lambda ended: local.close() if ended == 2 else None, patience=60)
