"""How a study is executed: halving, layouts, costs, lost workers."""

from concurrent.futures import BrokenExecutor, Future
from threading import Lock

import jax.numpy as jnp
import numpy as np
import pytest
from small import small_task

from fdl import FdlError, compare, optim, tasks
from fdl.compare import RunRecord, _conduct, _layout, space
from fdl.compare._checkpoints import Pending
from fdl.compare._execute import ATTEMPTS, Threads, execute
from fdl.compare._halving import survivors
from fdl.compare._layout import decide, prefers_processes, probe
from fdl.compare._plan import Job
from fdl.compare._remote import can_be_imported
from fdl.compare._work import Layout, Worker, cores

TASK = small_task(steps=32)
ADAM = optim.Adam(lr=space.log(1e-3, 3e38))  # its last rates diverge


def make(folder, **changes):
    how = {"trials": 8, "seeds": 2, "final_seeds": 2, "chunk": 1, "display": False, **changes}
    return compare.study(TASK, {"adam": ADAM, "sgd": optim.SGD(lr=space.log(1e-3, 1))}, folder=folder, **how)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return make(tmp_path_factory.mktemp("whole"))


@pytest.mark.parametrize("chunk", [1, 4])
def test_halved_trials_are_the_whole_ones_cut_short(whole, tmp_path, chunk):
    halved = make(tmp_path, halving=2, chunk=chunk)
    plain = {run.id: run for run in whole.runs}
    ends = {"adam": [], "sgd": []}
    for run in halved.runs:
        if run.phase != "tune":
            continue
        ends[run.contestant].append(run.stopped_at or TASK.steps)
        known = dict(plain[run.id].curves["validation", "loss"])
        for step, value in run.curves["validation", "loss"]:
            np.testing.assert_allclose(value, known.get(step, np.nan), rtol=1e-5)  # measured 0 with chunk 1
    for name in ends:
        assert sorted(ends[name]) == [4] * 8 + [8] * 4 + [16] * 2 + [32] * 2  # trials x 2 seeds, of 8, 4, 2, 1 trials
    assert not [run for run in halved.runs if run.phase == "default" and run.stopped_at]


def test_the_best_at_a_rung_survive_and_diverged_trials_come_last():
    record = lambda trial, value, diverged=None: RunRecord("tune", "a", trial, 0, {}, diverged, {("validation", "loss"): [(4, value)]})
    runs = {0: [record(0, 3.0)], 1: [record(1, 1.0)], 2: [record(2, 0.1, diverged=4)], 3: [record(3, 2.0)], 4: [record(4, np.nan)]}
    assert survivors(runs, 4, 2, "loss", maximise=False) == {1, 3}
    assert survivors(runs, 4, 2, "loss", maximise=True) == {0, 3}
    assert survivors(runs, 4, 4, "loss", maximise=False) == {0, 1, 2, 3}


def test_a_given_layout_is_taken_and_small_work_is_not_probed():
    assert decide(TASK, optim.Adam(), 2, 5, workers=3, chunk=5, memory=1e9)[:2] == (3, 5)
    assert decide(TASK, optim.Adam(), 2, 15, workers=2, chunk=None, memory=1e9)[:3] == (2, 1, False)
    assert decide(TASK, optim.Adam(), 2, 16, workers=2, chunk=None, memory=1e9)[:3] == (2, 16, False)
    assert decide(TASK, optim.Adam(), 2, 24, workers=2, chunk=None, memory=1e9).chunk == 12, "two full chunks"


def test_much_tiny_work_is_laid_out_by_a_timed_probe(monkeypatch):
    tried = []

    def timed(task, optimizer, layout):
        tried.append(layout.chunk)
        return {1: 1.0, 16: 3.0, 64: 2.0}[layout.chunk], 1000 * layout.chunk

    monkeypatch.setattr("fdl.compare._layout.probe", timed)
    assert decide(TASK, optim.Adam(), 100, 640, 2, None, memory=1e9).chunk == 16
    assert tried == [1, 16, 64]
    assert decide(TASK, optim.Adam(), 100, 640, 2, None, memory=2 * 16_000 - 1).chunk == 1, "what does not fit is not taken"


def test_a_probe_runs_what_it_says():
    rate, size = probe(TASK, optim.Adam(), Layout(2, 4, False))
    assert rate > 0
    assert size > probe(TASK, optim.Adam(), Layout(2, 1, False))[1]


def test_long_studies_of_small_models_are_for_processes():
    small = Layout(2, 1, False)
    assert not prefers_processes(TASK, small, 10)
    assert prefers_processes(TASK, small, 10**9)
    assert not prefers_processes(TASK, small._replace(fast=True), 10**9)
    assert not prefers_processes(TASK, small._replace(workers=1), 10**9)


def test_a_study_begun_by_processes_goes_on_by_processes(tmp_path, monkeypatch):
    if cores() == 1:
        pytest.skip("one core alone: threads and processes are the same")
    with monkeypatch.context() as patch:
        patch.setattr(_layout, "LONG", 0)
        patch.setattr(_conduct._Conductor, "judge", lambda self: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            make(tmp_path / "parts", trials=2)
        whole = compare.Study.load(tmp_path / "parts").manifest["environment"]["layout"]
    parts = make(tmp_path / "parts", trials=2)  # threads would be refused
    assert parts.manifest["environment"]["layout"] == whole
    assert whole["pool"] == 1
    assert str([run.curves for run in parts.runs]) == str([run.curves for run in make(tmp_path / "whole", trials=2, how="processes").runs])


def test_threads_go_on_with_an_accelerator_whatever_the_pool(monkeypatch):
    before = {"environment": {"layout": Layout(1, 8, True, pool=cores() + 1)._asdict()}}
    by = lambda: _conduct._layout(before, None, "auto", None, None, 1e9)[0]
    assert by() == "processes"
    monkeypatch.setattr(_conduct.jax, "default_backend", lambda: "gpu")
    assert by() == "threads", "processes would each take the device for themselves"


def test_what_cannot_be_sent_to_another_process_is_told_or_stays_here(tmp_path, monkeypatch):
    lock = Lock()

    def loss(params, batch):
        with lock:
            return jnp.mean((batch @ params - 1) ** 2)

    task = tasks.from_loss("locked", loss, jnp.zeros(3), np.ones((40, 3), np.float32), batch_size=4, steps=4)
    how = {"trials": 2, "seeds": 1, "final_seeds": 2, "display": False}
    with pytest.raises(FdlError, match="study: found what cannot be sent to another process"):
        compare.study(task, {"adam": ADAM}, folder=tmp_path / "processes", how="processes", **how)
    monkeypatch.setattr(_layout, "LONG", 0)
    assert compare.study(task, {"adam": ADAM}, folder=tmp_path / "auto", **how).runs


def test_what_a_script_told_jax_is_missed_elsewhere():
    class Mine:
        """As a class of a script, unknown to JAX in a worker's process."""

        __module__ = "__main__"
        init = update = None

    assert can_be_imported(TASK, ADAM)
    assert not can_be_imported(TASK, Mine())
    with pytest.raises(FdlError, match=r"contestant mine: found Mine, which JAX does not know as a pytree in this process"):
        Worker({"mine": TASK}, Layout(1, 1, False)).program(Job("tune", "mine", 0, 0, Mine()))


def test_costs_are_of_one_run_alone(whole):
    found = whole.manifest["costs"]
    assert found["adam"]["state_bytes_per_parameter"] == pytest.approx(8, abs=0.2)  # two float32 slots and a step count
    assert found["sgd"]["state_bytes_per_parameter"] == pytest.approx(0, abs=0.2)
    assert {cost["gradients_per_step"] for cost in found.values()} == {1}
    worker = Worker({"adam": TASK}, Layout(1, 1, False))
    job = Job("tune", "adam", 0, 0, optim.Adam())
    (cost,) = worker.costs([job]).values()
    assert cost["seconds_per_step"] > 0


class Flaky(Threads):
    """Loses the workers of its first chunks, as a broken pool does."""

    lost = (BrokenExecutor,)

    def __init__(self, worker, losses):
        super().__init__(worker, 2)
        self.losses, self.renewed = losses, 0

    def submit(self, chunk, until, segment):
        if self.losses:
            self.losses -= 1
            failed: Future = Future()
            failed.set_exception(BrokenExecutor("a worker died"))
            return failed
        return super().submit(chunk, until, segment)

    def renew(self, hung):
        self.renewed += 1

    def costs(self, jobs):
        raise BrokenExecutor("a worker died")


def test_lost_workers_cost_their_chunks_alone(whole):
    jobs = [Job("tune", "adam", i, seed, o) for i, o in enumerate(space.trials(ADAM, 8)) for seed in range(2)]
    backend = Flaky(Worker({"adam": TASK}, Layout(2, 1, False)), 3)
    done = [p.record for ended in execute(backend, 1, list(map(Pending, jobs)), None, lambda steps: None) for p in ended]
    backend.close()
    assert backend.renewed >= 1
    assert sorted(r.id for r in done) == sorted(job.id for job in jobs)
    known = {run.id: run for run in whole.runs}
    assert all(str(r.curves) == str(known[r.id].curves) for r in done), "bit for bit; text, for NaN equals itself in it"


def test_workers_that_are_always_lost_end_the_study():
    backend = Flaky(Worker({"adam": TASK}, Layout(2, 1, False)), 10**6)
    with pytest.raises(FdlError, match=f"found {ATTEMPTS + 1} times, one after another, workers were lost"):
        list(execute(backend, 1, [Pending(Job("tune", "adam", 0, 0, optim.Adam()))], None, lambda steps: None))
    backend.close()


def test_costs_are_measured_here_where_the_workers_are_lost(tmp_path, monkeypatch):
    monkeypatch.setattr(_conduct, "_backend", lambda plan, layout, *_: Flaky(Worker(plan.tasks, layout), 0))
    study = make(tmp_path, trials=2)
    assert all(study.manifest["costs"][name]["seconds_per_step"] > 0 for name in study.contestants)


def test_a_study_that_is_continued_keeps_its_layout(tmp_path):
    first = make(tmp_path, trials=2, chunk=4)
    again = make(tmp_path, trials=2, chunk=2)
    assert first.manifest["environment"]["layout"] == again.manifest["environment"]["layout"]


def test_other_versions_are_told_and_the_first_ones_stay_on_record(tmp_path, monkeypatch):
    version = _conduct.metadata.version
    with monkeypatch.context() as patch:
        patch.setattr(_conduct.metadata, "version", lambda name: "0.1" if name == "jax" else version(name))
        make(tmp_path, trials=2)
    with pytest.warns(UserWarning, match=r"begun with jax 0\.1; runs with jax \d"):
        again = make(tmp_path, trials=2)
    assert again.manifest["environment"]["versions"]["jax"] == "0.1"


def test_a_folder_in_use_is_refused(tmp_path):
    from fdl.core._io import locked

    with locked(tmp_path / ".lock", "study folder"), pytest.raises(FdlError, match=r"in use by process \d+ on .* since "):
        make(tmp_path)


def test_records_are_exported_whole(whole, tmp_path):
    import csv
    import json

    table, lines = compare.export(whole, tmp_path)
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert len(rows) == sum(len(curve) for run in whole.runs for curve in run.curves.values())
    runs = list(map(json.loads, lines.read_text().splitlines()))
    assert len(runs) == len(whole.runs)
    for run, known in zip(runs, whole.runs):
        assert (run["phase"], run["contestant"], run["trial"], run["seed"]) == known.id
        assert run["hyperparameters"] == known.hyperparameters
        values = {(m["split"], m["metric"], m["step"]): m["value"] for m in run["measurements"]}
        for (split, metric), curve in known.curves.items():
            for step, value in curve:
                assert values[split, metric, step] == (value if np.isfinite(value) else None)


def test_a_spreadsheet_sees_no_formula(tmp_path):
    curves = {("validation", "loss"): [(1, 1.0)]}
    study = compare.Study(tmp_path, {}, [RunRecord("tune", "=HYPERLINK(1)", 0, 0, {"lr": 1.0}, None, curves)])
    table, _ = compare.export(study)
    assert "'=HYPERLINK(1)" in table.read_text()
