"""Runs under way are kept, and go on from where they were with the same bits."""

from dataclasses import replace
from functools import partial

import jax
import numpy as np
import pytest
from small import small_task

from fdl import compare, optim
from fdl.compare import _conduct, space
from fdl.compare._checkpoints import Checkpoints, Pending
from fdl.compare._plan import Job
from fdl.compare._remote import Processes
from fdl.compare._work import Layout, Worker
from fdl.core._io import load_arrays

TASK = small_task(steps=32)  # measured every 4
SGD = optim.SGD(lr=space.log(1e-3, 3e38))  # its last rates diverge
JOBS = [Job("tune", "adam", i, seed, optim.Adam(lr=np.float32(lr))) for i, lr in enumerate((1e-3, 1e-1)) for seed in range(2)]


def stopped_after(worker, chunk, segments):
    """Trains a chunk, and stops it after so many segments: nothing of it is returned."""
    left = iter(range(segments - 1))
    assert worker.run(chunk, stopped=lambda: next(left, None) is None) == []


@pytest.mark.parametrize("chunk", [1, 4, 6], ids="{} runs a program".format)
def test_a_run_goes_on_from_its_checkpoint_with_the_same_bits(tmp_path, chunk):
    jobs = JOBS[: min(chunk, len(JOBS))]
    unbroken = Worker({"adam": TASK}, Layout(1, chunk, False)).run(list(map(Pending, jobs)))
    kept = Checkpoints(tmp_path, seconds=-1)
    worker = Worker({"adam": TASK}, Layout(1, chunk, False), kept)
    stopped_after(worker, list(map(Pending, jobs)), 3)
    loaded = [kept.load(job, TASK) for job in jobs]
    assert [run.step for run in loaded] == [12] * len(jobs)
    assert loaded[0].record.curves["validation", "loss"] == unbroken[0].record.curves["validation", "loss"][:3]
    stopped_after(worker, loaded, 2)
    again = [kept.load(job, TASK) for job in jobs]
    assert [run.step for run in again] == [20] * len(jobs)
    assert [run.record for run in worker.run(again)] == [run.record for run in unbroken]


def test_every_kind_of_state_is_kept(tmp_path):
    """Bits of every array: counts, flags, two-byte numbers, empty ones."""
    optimizer = optim.named["soap"]()
    job, task = Job("tune", "a", 0, 7, optimizer), TASK
    progress = jax.tree.map(np.asarray, _conduct.Worker({"a": task}, Layout(1, 1, False)).trainers["a"].start(*_one(optimizer)))
    alone = jax.tree.map(lambda a: a[0], progress)
    kept = Checkpoints(tmp_path)
    record = compare.RunRecord(*job.id, {"lr": 0.1, "mode": "x"}, 3, {("train", "loss"): [(4, float("nan")), (8, -0.0)]})
    kept.save([Pending(job, record, alone)])
    loaded = kept.load(job, task)
    assert repr(loaded.record) == repr(record)
    jax.tree.map(np.testing.assert_array_equal, loaded.progress, alone)


def _one(optimizer):
    return jax.tree.map(lambda a: np.asarray(a, np.float32)[None], optimizer), jax.numpy.stack([jax.random.key(7)])


def make(folder, **changes):
    how = {"trials": 4, "seeds": 2, "final_seeds": 2, "chunk": 1, "workers": 1, "display": False, **changes}
    return compare.study(TASK, {"adam": optim.Adam(lr=space.log(1e-3, 1e-1)), "sgd": SGD}, folder=folder, **how)


def records(study):
    return [(*run.id, run.hyperparameters, run.diverged_at, run.stopped_at, repr(sorted(run.curves.items()))) for run in study.runs]


@pytest.mark.parametrize("plan", [{}, {"halving": 2}, {"chunk": 3, "halving": 2}], ids=str)
def test_an_interrupted_study_goes_on_from_its_checkpoints(tmp_path, monkeypatch, plan):
    whole, done, advance = make(tmp_path / "whole", **plan), [], _conduct.Display.advance

    def interrupted(self, steps):
        advance(self, steps)
        if self._unit == "steps":
            done.append(steps)
            if len(done) == 3:
                raise KeyboardInterrupt

    monkeypatch.setattr(_conduct, "Checkpoints", partial(Checkpoints, seconds=-1))
    monkeypatch.setattr(_conduct.Display, "advance", interrupted)
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path / "parts", **plan)
    kept = [load_arrays(path)[1]["curves"][0][2][-1][0] for path in (tmp_path / "parts" / "checkpoints").iterdir()]
    assert len(kept) >= plan.get("chunk", 1)
    before = len(done)
    parts = make(tmp_path / "parts", **plan)
    assert records(parts) == records(whole)
    counted = sum(run.stopped_at or TASK.steps for run in parts.runs)
    assert sum(done[before:]) == counted - sum(kept), "no step that had been kept was done again"
    assert not (tmp_path / "parts" / "checkpoints").exists(), "a study that is complete keeps none"


def test_processes_keep_checkpoints_too(tmp_path):
    backend = Processes({"adam": TASK}, Layout(1, 1, False), Checkpoints(tmp_path, seconds=-1))
    (paused,) = backend.submit([Pending(JOBS[0])], 16, lambda steps: None).result(120)
    backend.close()
    assert paused.step == 16
    assert Checkpoints(tmp_path).load(JOBS[0], TASK).step == 12, "the last before it was handed back"


def test_short_runs_leave_none(tmp_path):
    Worker({"adam": TASK}, Layout(1, 1, False), Checkpoints(tmp_path)).run([Pending(JOBS[0])])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("harm", ["torn", "flipped", "of another run"])
def test_a_damaged_checkpoint_is_named_and_left_out(tmp_path, harm):
    kept = Checkpoints(tmp_path, seconds=-1)
    worker = Worker({"adam": TASK}, Layout(1, 1, False), kept)
    (whole,) = worker.run([Pending(JOBS[0])])
    (path,) = (tmp_path / "checkpoints").iterdir()
    content = bytearray(path.read_bytes())
    if harm == "torn":
        content = content[: len(content) // 2]
    elif harm == "flipped":
        content[-5] ^= 1
    path.write_bytes(content)
    job = replace(JOBS[0], optimizer=optim.SGD()) if harm == "of another run" else JOBS[0]
    with pytest.warns(UserWarning, match=rf"{path.name}: found .* The run begins anew."):
        found = kept.load(job, TASK)
    assert found.step == 0
    if job is JOBS[0]:
        assert worker.run([found])[0].record == whole.record


@pytest.mark.slow
def test_a_study_interrupted_every_seven_segments_is_the_unbroken_one_whatever_its_optimizers(tmp_path, monkeypatch):
    names = ("soap", "lbfgs", "prodigy", "psgd", "schedulefreeadamw", "lookahead(adam)", "sam(sgd)")
    contestants = {name: compare.by_name(name) for name in names}
    how = {"trials": 2, "seeds": 1, "final_seeds": 2, "chunk": 1, "display": False}
    whole = compare.study(TASK, contestants, folder=tmp_path / "whole", **how)
    count, interrupts, advance = iter(range(1, 10**6)), 0, _conduct.Display.advance

    def interrupted(self, steps):
        advance(self, steps)
        if self._unit == "steps" and next(count) % 7 == 0:
            raise KeyboardInterrupt

    monkeypatch.setattr(_conduct, "Checkpoints", partial(Checkpoints, seconds=-1))
    monkeypatch.setattr(_conduct.Display, "advance", interrupted)
    parts = None
    while parts is None:
        try:
            parts = compare.study(TASK, contestants, folder=tmp_path / "parts", **how)
        except KeyboardInterrupt:
            interrupts += 1
    assert records(parts) == records(whole)
    assert interrupts > 20
