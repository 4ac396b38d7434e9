"""No way to lose a study: killed, starved of disk, damaged, shared or stopped, it goes on to the same records or says what is wrong."""

import contextlib
import os
import random
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing

import numpy as np
import pytest
from interrupted import PLANS, make, rows, start
from small import small_task

from fdl import FdlError, compare, optim
from fdl.compare import RunRecord, _conduct, _store
from fdl.compare._plan import Job
from fdl.compare._store import Store
from fdl.compare._work import Layout, Pending, Worker
from fdl.core import _io


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """By plan, made when first asked for: the records of a study that nobody disturbs."""
    made = {}

    def get(plan):
        if plan not in made:
            folder = tmp_path_factory.mktemp(plan)
            process, told = start(folder, plan)
            list(_heard(told))
            process.join()
            assert process.exitcode == 0
            made[plan] = rows(folder)
        return made[plan]

    return get


def _heard(told):
    """What the process says until it ends."""
    try:
        while True:
            yield told.recv()
    except EOFError:
        return


# Killed.


def kill_again_and_again(folder, plan, kills, seed):
    """One study, killed so many times; returns every run that was ever told to be saved."""
    rng, saved = random.Random(seed), []
    done = 0
    while done < kills:
        if rng.random() < 0.5:  # between two statements
            process, told = start(folder, plan, kill_at=rng.randrange(600))
        else:  # anywhere, system calls included, once it has begun to train
            process, told = start(folder, plan)
            told.poll(30)
            time.sleep(rng.uniform(0, 0.15))
            process.kill()
        saved += [run for ids in _heard(told) for run in ids]
        process.join()
        done += process.exitcode == -signal.SIGKILL
        if (folder / "study.db").exists():
            with closing(sqlite3.connect(folder / "study.db")) as database:
                tables = database.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0]
                kept = database.execute("SELECT phase, contestant, trial, seed FROM runs").fetchall() if tables else []
            assert set(saved) <= set(kept), "a finished run is lost"
        if process.exitcode == 0:
            shutil.rmtree(folder)
            folder.mkdir()
            saved.clear()
    return saved


@pytest.mark.parametrize("plan", PLANS)
def test_a_killed_study_loses_no_finished_run_and_ends_with_the_same_bits(unbroken, tmp_path, plan):
    kill_again_and_again(tmp_path, plan, kills=4, seed=1)
    process, told = start(tmp_path, plan)
    list(_heard(told))
    process.join()
    assert process.exitcode == 0, "the lock of a killed process is free at once"
    assert rows(tmp_path) == unbroken(plan)


@pytest.mark.slow
@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("seed", range(17))
def test_two_hundred_kills(unbroken, tmp_path, plan, seed):
    kill_again_and_again(tmp_path, plan, kills=4, seed=100 + seed)
    process, told = start(tmp_path, plan)
    list(_heard(told))
    process.join()
    assert rows(tmp_path) == unbroken(plan)


def test_ctrl_c_ends_a_study_that_goes_on_later(unbroken, tmp_path):
    process, told = start(tmp_path)
    told.recv()
    os.kill(process.pid, signal.SIGINT)
    begun = time.perf_counter()
    list(_heard(told))
    process.join()
    print(f"ended {time.perf_counter() - begun:.2f} s after the signal")
    assert process.exitcode == 130
    assert 0 < len(rows(tmp_path)) < len(unbroken("whole"))
    process, told = start(tmp_path)
    list(_heard(told))
    process.join()
    assert rows(tmp_path) == unbroken("whole")


def test_the_command_ends_at_a_signal_with_one_message(tmp_path):
    how = ["digits-mlp", "--optimizers", "adam", "--trials", "99", "--folder", str(tmp_path)]
    environment = {**os.environ, "XLA_FLAGS": ""}
    process = subprocess.Popen([sys.executable, "-m", "fdl", "compare", *how], stderr=subprocess.PIPE, text=True, env=environment)
    query = "SELECT EXISTS (SELECT 1 FROM runs)"
    for _ in range(600):
        time.sleep(0.1)
        with contextlib.suppress(sqlite3.Error), closing(sqlite3.connect(f"file:{tmp_path}/study.db?mode=ro", uri=True)) as database:
            if database.execute(query).fetchone()[0]:
                break
    process.terminate()
    said = process.communicate()[1]
    assert process.returncode == 130
    assert said.endswith("fdl: interrupted; the runs that had ended are saved, and `fdl compare --folder` continues a study.\n")
    assert "Traceback" not in said


def test_a_second_process_is_told_who_is_at_the_folder(tmp_path):
    process, told = start(tmp_path)
    told.recv()
    with pytest.raises(FdlError, match=f"in use by process {process.pid} on .* since 20"):
        make(tmp_path)
    process.kill()
    process.join()
    with _io.locked(tmp_path / ".lock", "study folder"):
        pass


# Starved.

RECORDS = [
    RunRecord(
        "tune", f"c{i}", i, s, {"lr": 0.1 * i, "kind": "a"}, None, {("validation", "loss"): [(t, 0.1 + t / (i + 1)) for t in range(20)]}
    )
    for i in range(6)
    for s in range(2)
]
MANIFEST = {"plan": {"trials": 3}, "environment": {"layout": [1, 2, True]}}


def write(folder, records=RECORDS):
    """A small study as the engine writes it: a manifest, then run after run."""
    store = Store(folder)
    try:
        store.write_manifest(MANIFEST)
        known = {run.id for run in store.runs()}
        for record in records:
            if record.id not in known:
                store.add([record])
    finally:
        store.close()


def read(folder):
    store = Store(folder)
    try:
        return store.manifest(), store.runs()
    finally:
        store.close()


class Failing:
    """An SQLite connection of which the n-th statement fails."""

    def __init__(self, connection, countdown):
        self._connection, self._countdown = connection, countdown

    def __getattr__(self, name):
        return getattr(self._connection, name)

    def _count(self):
        self._countdown[0] -= 1
        if self._countdown[0] == 0:
            raise sqlite3.OperationalError("database or disk is full")

    def execute(self, *arguments):
        self._count()
        return self._connection.execute(*arguments)

    def executemany(self, *arguments):
        self._count()
        return self._connection.executemany(*arguments)


def test_whichever_statement_fails_is_one_error_and_nothing_is_lost(tmp_path, monkeypatch):
    opened, countdown, failures = _io.open_database, [0], 0
    monkeypatch.setattr(_store, "open_database", lambda *arguments: Failing(opened(*arguments), countdown))
    for n in range(1, 1000):
        folder = tmp_path / str(n)
        folder.mkdir()
        countdown[0] = n
        try:
            write(folder, RECORDS[:3])
        except FdlError as error:
            failures += "database or disk is full" in str(error)
            countdown[0] = 0
            write(folder, RECORDS[:3])
        else:
            break
        assert read(folder) == (MANIFEST, RECORDS[:3])
    assert failures == n - 1 > 15


@pytest.mark.parametrize("call", ["fsync", "replace", "open"])
def test_an_export_that_fails_is_one_error(tmp_path, monkeypatch, call):
    write(tmp_path)
    study = compare.Study.load(tmp_path)
    compare.export(study)
    before = (tmp_path / "records.csv").read_bytes()

    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(FdlError, match="No space left"):
            compare.export(study)
    assert (tmp_path / "records.csv").read_bytes() == before
    assert not [name for name in os.listdir(tmp_path) if name.endswith(".tmp")]


def test_a_limit_on_file_size_is_one_error_and_the_study_goes_on_without_it(tmp_path):
    limits, reached = resource.getrlimit(resource.RLIMIT_FSIZE), 0
    for size in range(0, 120_000, 9001):
        folder = tmp_path / str(size)
        folder.mkdir()
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
        try:
            write(folder)
        except FdlError:
            reached += 1
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        write(folder)
        assert read(folder) == (MANIFEST, RECORDS)
    assert reached > 3


def test_a_full_disk_is_one_error_and_the_study_goes_on_when_there_is_room(tmp_path):
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", tmp_path], capture_output=True).returncode:
        pytest.skip("only root can mount a small disk")
    try:
        store, ballast, refused = tmp_path / "study", tmp_path / "ballast", 0
        for left in range(0, 200_000, 20_000):
            shutil.rmtree(store, ignore_errors=True)
            ballast.unlink(missing_ok=True)
            store.mkdir()
            write(store, RECORDS[:2])
            free = os.statvfs(tmp_path)
            ballast.write_bytes(b"x" * max(free.f_bavail * free.f_bsize - left, 0))
            try:
                with _io.locked(store / ".lock", "study folder"):
                    write(store)
            except FdlError:
                refused += 1
            ballast.unlink()
            write(store)
            assert read(store) == (MANIFEST, RECORDS)
        assert refused > 2
    finally:
        subprocess.run(["umount", tmp_path], check=True)


# Damaged.


def outcome(folder):
    """What a reader gets: "refused", "equal", or what it should never be."""
    try:
        found = read(folder)
    except FdlError:
        return "refused"
    if found == (MANIFEST, RECORDS):
        return "equal"
    manifest, runs = found
    return "earlier" if runs == RECORDS[: len(runs)] and manifest in ({}, MANIFEST) else "other"


@pytest.fixture
def damaged(tmp_path):
    """Gives a study in which a file has another content."""
    good = tmp_path / "good"
    good.mkdir()
    store = Store(good)
    store.write_manifest(MANIFEST)
    for record in RECORDS:
        store.add([record])
    logged = {name: (good / name).read_bytes() for name in ("study.db", "study.db-wal")}  # as a killed process leaves it
    store.close()
    whole = {"study.db": (good / "study.db").read_bytes()}

    def get(kind, name, change, *arguments):
        folder = tmp_path / "bad"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for file, content in (whole if kind == "whole" else logged).items():
            (folder / file).write_bytes(change(content, *arguments) if file == name else content)
        return folder

    get.size = lambda kind, name: len((whole if kind == "whole" else logged)[name])
    return get


def cut(content, size):
    return content[:size]


def flipped(content, place):
    changed = bytearray(content)
    changed[place // 8] ^= 1 << place % 8
    return bytes(changed)


@pytest.mark.parametrize("flips", [200, pytest.param(5000, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("kind", "name"), [("whole", "study.db"), ("logged", "study.db"), ("logged", "study.db-wal")])
def test_a_flipped_bit_is_named_or_harmless(damaged, kind, name, flips):
    rng, found = random.Random(flips), {}
    for _ in range(flips):
        place = rng.randrange(8 * damaged.size(kind, name))
        result = outcome(damaged(kind, name, flipped, place))
        found.setdefault(result, []).append(place // 8)
    print({result: len(places) for result, places in found.items()})
    assert "other" not in found
    assert "earlier" not in found or name == "study.db-wal", "only what was not yet in the database itself may be told as not yet there"


def test_a_torn_database_is_named(damaged):
    sizes = random.Random(0).sample(range(1, damaged.size("whole", "study.db")), 100)
    assert {outcome(damaged("whole", "study.db", cut, size)) for size in sizes} == {"refused"}
    empty = damaged("whole", "study.db", cut, 0)
    with pytest.raises(FdlError, match=r"a study\.db without a plan"):
        compare.Study.load(empty)


def test_a_torn_log_is_a_state_that_was(damaged):
    sizes = random.Random(0).sample(range(damaged.size("logged", "study.db-wal")), 100)
    found = {outcome(damaged("logged", "study.db-wal", cut, size)) for size in sizes}
    assert found <= {"earlier", "equal"}


# Diverged.


@pytest.mark.parametrize("chunk", [1, 4])
def test_a_diverging_run_leaves_its_neighbours_and_its_own_record_as_they_are(chunk):
    worker = Worker({"sgd": small_task()}, Layout(1, chunk, False))
    job = lambda lr, seed: Pending(Job("tune", "sgd", 0, seed, optim.SGD(lr=np.float32(lr))))
    bits = lambda pending: (pending.record.diverged_at, repr(pending.record.curves))
    good, bad = [job(0.1, seed) for seed in range(4)], job(3e38, 5)
    alone = [bits(worker.run([one])[0]) for one in (*good, bad)]
    assert alone[4][0] is not None
    for place in range(chunk):
        row = (good[:place] + [bad] + good[place:])[:chunk]
        expected = (alone[:place] + [alone[4]] + alone[place:4])[:chunk]
        assert [bits(done) for done in worker.run(row)] == expected


# Continued.


def test_a_study_is_continued_with_the_threads_it_was_begun_with_or_not_at_all(tmp_path, monkeypatch):
    def interrupted(self):
        raise KeyboardInterrupt

    monkeypatch.setenv("NPROC", "3")
    with monkeypatch.context() as patch:
        patch.setattr(_conduct._Conductor, "judge", interrupted)
        with pytest.raises(KeyboardInterrupt):
            make(tmp_path, trials=2, seeds=1, final_seeds=2)
    monkeypatch.setenv("NPROC", "5")
    with pytest.raises(FdlError, match="threads of XLA's pool: found 5; expected 3"):
        make(tmp_path, trials=2, seeds=1, final_seeds=2)


CONVOLUTIONS = """
import sys
from dataclasses import replace
from fdl import compare, tasks
from fdl.compare import _conduct

def make(folder, how):
    task = replace(tasks.get("digits-cnn"), steps=4, evaluate_every=2)
    adam = {"adam": compare.classics["adam"]}
    return compare.study(task, adam, trials=2, seeds=1, final_seeds=2, folder=folder, how=how, workers=2, display=False)

def interrupted(self):
    raise KeyboardInterrupt

folder, judge = sys.argv[1], _conduct._Conductor.judge
whole = make(folder + "/whole", "threads")
_conduct._Conductor.judge = interrupted
try:
    make(folder + "/parts", "threads")
except KeyboardInterrupt:
    pass
_conduct._Conductor.judge = judge
parts = make(folder + "/parts", "processes")
assert whole.manifest["environment"]["layout"] == parts.manifest["environment"]["layout"]
assert len(whole.runs) == 5 and str(whole.runs) == str(parts.runs)
"""


@pytest.mark.slow
def test_processes_continue_what_threads_began_with_the_same_bits(tmp_path):
    """Convolutions part their sums by the threads of XLA's pool: digits-cnn with 1, 2 and 3 of them gives three results."""
    environment = {**os.environ, "XLA_FLAGS": "", "NPROC": "3"}
    done = subprocess.run([sys.executable, "-c", CONVOLUTIONS, str(tmp_path)], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
