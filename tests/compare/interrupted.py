"""Studies in processes of their own, for others to kill. A fork server imports once; compiled programs are shared on disk."""

import atexit
import multiprocessing
import os
import shutil
import signal
import tempfile
from functools import partial

from small import small_task

from fdl import compare, optim
from fdl.compare import space
from fdl.core import _io

CONTESTANTS = {"sgd": optim.SGD(lr=space.log(1e-2, 3e38)), "adam": optim.Adam(lr=space.log(1e-3, 1e-1))}
PLANS = {"whole": {}, "halved": {"halving": 2}, "mapped": {"chunk": 4}, "checkpointed": {"halving": 2, "chunk": 4}}


def make(folder, plan="whole", **changes):
    how = {"trials": 4, "seeds": 3, "final_seeds": 4, "display": False, **PLANS[plan], **changes}
    return compare.study(small_task(steps=32), CONTESTANTS, folder=folder, **how)


def rows(folder):
    """All that the study's records hold, in one order; row numbers, which depend on what ended first, are left out."""
    study = compare.Study.load(folder)
    return [(*run.id, run.hyperparameters, run.diverged_at, run.stopped_at, repr(sorted(run.curves.items()))) for run in study.runs]


def start(folder, plan="whole", kill_at=None):
    """The process that makes the study, and the end of a pipe on which it tells every run that is saved.

    `kill_at`: the number of the SQL statement that writes, counted from 0, at which it kills itself.
    """
    context = _server()
    told, tell = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(str(folder), plan, kill_at, tell))
    process.start()
    tell.close()
    return process, told


def _server():
    context = multiprocessing.get_context("forkserver")
    if "FDL_TEST_CACHE" not in os.environ:
        os.environ["FDL_TEST_CACHE"] = tempfile.mkdtemp()
        atexit.register(shutil.rmtree, os.environ["FDL_TEST_CACHE"], ignore_errors=True)
        context.set_forkserver_preload(["interrupted", "optax", "sklearn.datasets", "scipy.stats"])
    return context


def _child(folder, plan, kill_at, tell):
    import jax

    from fdl.compare._store import Store

    options = {"compilation_cache_dir": os.environ["FDL_TEST_CACHE"], "persistent_cache_min_compile_time_secs": 0}
    for name, value in options.items():
        jax.config.update(f"jax_{name}", value)
    add, opened = Store.add, _io.open_database
    count = iter(range(10**9))

    def told(self, runs):
        runs = list(runs)
        add(self, runs)
        tell.send([run.id for run in runs])

    def counted(statement):
        if not statement.startswith("SELECT") and next(count) == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def traced(path, schema):
        connection = opened(path, schema)
        connection.set_trace_callback(counted)
        return connection

    Store.add = told
    if plan == "checkpointed":  # after every segment
        import fdl.compare._conduct as conduct

        conduct.Checkpoints = partial(conduct.Checkpoints, seconds=-1)
    if kill_at is not None:
        import fdl.compare._store as store

        store.open_database = traced
    try:
        make(folder, plan)
    except KeyboardInterrupt:
        os._exit(130)
