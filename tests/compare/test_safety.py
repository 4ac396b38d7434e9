"""No way to lose a study: killed, shared or stopped, it goes on to the same records, and runs do not touch each other."""

import contextlib
import os
import random
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

from fdl import FdlError, optim
from fdl.compare import _conduct
from fdl.compare._checkpoints import Pending
from fdl.compare._plan import Job
from fdl.compare._work import Layout, Worker
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
    assert said.endswith("fdl: interrupted; what was done is saved, and `fdl compare --folder` continues a study.\n")
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
        make(tmp_path, trials=2, seeds=1, final_seeds=2, how="threads")
    monkeypatch.undo()
    assert make(tmp_path, trials=2, seeds=1, final_seeds=2).manifest["environment"]["layout"]["pool"] == 3, "by processes"


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
