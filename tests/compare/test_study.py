"""Studies: whole, continued, refused, and equal to runs by hand."""

import math
import sqlite3
from contextlib import closing

import jax
import numpy as np
import pytest
from small import small_task

from fdl import FdlError, compare, optim, train
from fdl.compare import RunRecord, space
from fdl.compare._execute import Threads, execute
from fdl.compare._plan import Job
from fdl.compare._store import Store
from fdl.compare._work import Layout, Pending, Worker

CONTESTANTS = {"sgd": optim.SGD(lr=space.log(1e-2, 3e38)), "adam": optim.Adam(lr=space.log(1e-3, 1e-1))}


def make(folder, contestants=CONTESTANTS, **changes):
    return compare.study(small_task(), contestants, folder=folder, display=False, **{"trials": 3, "seeds": 2, "final_seeds": 3, **changes})


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return make(tmp_path_factory.mktemp("study"))


def test_every_planned_run_is_recorded_once(study):
    assert len(study.select("tune", "sgd")) == len(study.select("tune", "adam")) == 6
    assert len(study.select("final", "sgd")) == len(study.select("final", "adam")) == 3
    assert {step for step, _ in study.runs[0].curves["validation", "loss"]} == {4, 8, 12}


def test_only_final_runs_are_measured_on_test(study):
    assert {run.phase for run in study.runs if ("test", "accuracy") in run.curves} == {"final"}


def test_a_recorded_run_is_the_run_that_the_library_makes(study):
    run = study.select("final", "adam")[0]
    optimizer = optim.Adam(**{k: np.float32(v) for k, v in run.hyperparameters.items()})
    _, curves = train.run(small_task(), optimizer, jax.random.key(run.seed))
    recorded = [value for _, value in run.curves["validation", "loss"]]
    np.testing.assert_allclose(recorded, curves["validation"]["loss"], rtol=1e-6)  # measured 0


def test_diverged_runs_are_counted_and_their_trial_is_not_chosen(study):
    results = {r.contestant: r for r in study.results()}
    assert results["sgd"].diverged_tuning == 2  # the rate 3e38, with both seeds
    assert results["sgd"].chosen.trial < 2
    assert study.trials("sgd")[2].values == ()


def test_a_study_repeats_bit_for_bit(study, tmp_path):
    again = make(tmp_path)
    for a, b in zip(study.runs, again.runs):
        assert (a.contestant, a.trial, a.seed, a.diverged_at) == (b.contestant, b.trial, b.seed, b.diverged_at)
        for key, curve in a.curves.items():
            np.testing.assert_array_equal(curve, b.curves[key])


def test_an_interrupted_study_is_continued_to_the_same_records(study, tmp_path, monkeypatch):
    added = []
    whole = Store.add

    def interrupted(self, runs):
        if len(added) == 7:
            raise KeyboardInterrupt
        added.append(runs)
        whole(self, runs)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "add", interrupted)
        with pytest.raises(KeyboardInterrupt):
            make(tmp_path)
    assert len(compare.Study.load(tmp_path).runs) == 7
    compiled = []
    compile_before = train.Trainer.compile
    monkeypatch.setattr(train.Trainer, "compile", lambda self, optimizers: compiled.append(1) or compile_before(self, optimizers))
    continued = make(tmp_path)
    assert 1 <= len(compiled) <= 2
    assert [(r.contestant, r.seed) for r in continued.runs] == [(r.contestant, r.seed) for r in study.runs]
    assert continued.headline() == study.headline()
    compiled.clear()
    make(tmp_path)
    assert not compiled, "a finished study trains nothing"


def test_one_program_is_compiled_for_each_contestant(tmp_path, monkeypatch):
    compiled = []
    compile_before = train.Trainer.compile
    monkeypatch.setattr(train.Trainer, "compile", lambda self, optimizers: compiled.append(optimizers) or compile_before(self, optimizers))
    make(tmp_path)
    assert len(compiled) == 2


def test_a_folder_with_another_study_is_refused(study):
    with pytest.raises(FdlError, match="found another study"):
        make(study.folder, trials=4)


def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_compiled(tmp_path, monkeypatch):
    monkeypatch.setattr(train.Trainer, "compile", lambda *_: pytest.fail("compiled"))
    (tmp_path / "file").write_text("")
    with pytest.raises(FdlError, match="expected a folder that can be written to"):
        make(tmp_path / "file" / "study")


def test_a_bad_plan_leaves_no_folder(tmp_path):
    with pytest.raises(FdlError, match="trials"):
        make(tmp_path / "study", trials=1)
    assert not (tmp_path / "study").exists()


def test_a_folder_without_a_study_is_no_study(tmp_path):
    with pytest.raises(FdlError, match=r"found no study\.db"):
        compare.Study.load(tmp_path)
    (tmp_path / "study.db").write_bytes(b"this is no database, whatever its name may say of it")
    with pytest.raises(FdlError, match=r"study\.db: found file is not a database"):
        compare.Study.load(tmp_path)


def test_records_come_back_as_they_were_written(tmp_path):
    curves = {("validation", "loss"): [(4, 0.1), (8, math.nan), (12, math.inf)], ("train", "loss"): [(4, 1e-300), (8, -0.0)]}
    written = RunRecord("tune", "an 'optimizer'; DROP TABLE runs", 3, 7, {"lr": 0.1 + 0.2}, 8, curves)
    store = Store(tmp_path)
    store.add([written])
    (read,) = store.runs()
    assert (read.contestant, read.trial, read.seed, read.diverged_at) == (written.contestant, 3, 7, 8)
    assert read.hyperparameters == {"lr": 0.1 + 0.2}
    assert read.curves["train", "loss"] == [(4, 1e-300), (8, 0.0)]
    np.testing.assert_array_equal(read.curves["validation", "loss"], [(4, 0.1), (8, math.nan), (12, math.nan)])
    with pytest.raises(FdlError, match="UNIQUE"):
        store.add([RunRecord("tune", "other", 0, 0, {}), written])
    assert len(store.runs()) == 1, "a transaction is kept whole or not at all"
    store.close()
    with closing(sqlite3.connect(tmp_path / "study.db")) as database:
        tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert tables == {"manifest", "runs", "measurements"}


@pytest.mark.parametrize("chunk", [1, 4])
def test_mapped_and_single_execution_agree(study, chunk):
    jobs = [Job("tune", "adam", i, seed, o) for i, o in enumerate(space.trials(CONTESTANTS["adam"], 3)) for seed in range(2)]
    threads, steps = Threads(Worker({"adam": small_task()}, Layout(2, chunk, False)), 2), []
    done = [p.record for ended in execute(threads, chunk, list(map(Pending, jobs)), None, steps.append) for p in ended]
    threads.close()
    assert sum(steps) == len(jobs) * 12
    records = sorted(done, key=lambda r: r.id)
    assert [r.id for r in records] == [j.id for j in jobs]
    for found, known in zip(records, study.select("tune", "adam")):
        np.testing.assert_allclose(
            found.curves["validation", "loss"], known.curves["validation", "loss"], rtol=1e-5
        )  # measured 1.1e-7; another CPU may take another kernel
