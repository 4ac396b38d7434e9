"""Conducts a study: tunes every contestant, judges the winners with fresh seeds, and keeps a record of every run."""

import os
import platform
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import jax

from fdl.compare import space
from fdl.compare._checkpoints import Checkpoints, Pending
from fdl.compare._contestants import classics, name_contestants
from fdl.compare._display import Display
from fdl.compare._execute import Backend, Threads, execute
from fdl.compare._halving import eliminated
from fdl.compare._layout import decide, default_memory, prefers_processes
from fdl.compare._paired import least_seeds
from fdl.compare._plan import Job, Plan
from fdl.compare._remote import Cluster, Processes, can_be_imported
from fdl.compare._store import RunRecord, Store
from fdl.compare._study import Study
from fdl.compare._tuning import choose_trial, summarise
from fdl.compare._work import Layout, Worker, check_pool, pool, stop_at
from fdl.core import FdlError, choose
from fdl.core._io import locked, writable_folder
from fdl.train import Trainable

How = Literal["auto", "threads", "processes"]


def study(
    task: Trainable,
    contestants: Sequence[Any] | Mapping[str, Any] | None = None,
    *,
    folder: str | os.PathLike[str],
    trials: int = 9,
    seeds: int = 3,
    final_seeds: int | None = None,
    sampler: space.Sampler = "auto",
    sampler_seed: int = 0,
    halving: int | None = None,
    how: How = "auto",
    workers: int | None = None,
    chunk: int | None = None,
    memory: float | None = None,
    cluster: str | None = None,
    patience: float | None = None,
    display: bool = True,
) -> Study:
    """Compares optimizers on a task.

    Every contestant gets `trials` points of its search space, each trained with the same `seeds`: equal seeds mean equal
    initial parameters and batches. The trial with the best mean objective on the validation split is trained again with
    `final_seeds` other seeds and judged on the test split. Where every searched hyperparameter has a default, that setting is
    trained as well, out of competition. One program is compiled for each contestant.

    Args:
        task: what to train.
        contestants: optimizers (any with `init` and `update`) with `space` distributions among their hyperparameters, as a
            list or by name, each alone or as a `Contestant`. Default: the six classics over four decades of rates.
        folder: where records and report are kept. A folder that holds a part of the same study is continued.
        trials: of each contestant that searches something, at least 2.
        seeds: tuning runs of each trial.
        final_seeds: at least 2. Default: 10, or as many as it takes to find a difference among so many contestants.
        sampler: as `space.trials` takes it; so is `sampler_seed`.
        halving: successive halving's factor: after a `1 / halving^k` of the steps only so small a share of a contestant's
            trials goes on. Budgets stay equal, but fast starters are favoured. `None`: no halving.
        how: whether chunks of runs are trained by threads or by processes with one core each, which take a few seconds to
            start, are a tenth to a fifth faster where programs are small, and survive a run that hangs. Default: processes
            for long studies of small models on CPU, else threads.
        workers: how many; default: a core each on CPU, 1 on an accelerator.
        chunk: runs mapped in one program; default: by size of the task and a timed probe.
        memory: bytes that programs may take together; default: half of what the machine or the device has.
        cluster: address of a Dask scheduler, or `"local:N"` for N worker processes here.
        patience: seconds without the end of any chunk after which workers count as hung, compilation included; default: 600,
            and ten times the longest wait so far.
        display: whether progress is shown in the terminal.

    Raises:
        FdlError: before anything is compiled, for a plan that makes no sense, for a folder that cannot be written to, that
            holds another study or that another process is at.
    """
    begun = time.perf_counter()
    choose("how", how, dict.fromkeys(("auto", "threads", "processes")))
    named = name_contestants(classics if contestants is None else contestants)
    if final_seeds is None:
        final_seeds = max(10, least_seeds(len(named) * (len(named) - 1) // 2))
    plan = Plan(task, named, trials, seeds, final_seeds, sampler, sampler_seed, halving)
    path = writable_folder(folder, "study folder")
    with locked(path / ".lock", "study folder"):
        store = Store(path)
        try:
            before = _resumed(store.manifest(), plan, path)
            with Display(display) as shown:
                how, layout = _layout(before, plan, "processes" if cluster else how, workers, chunk, memory or default_memory())
                store.write_manifest({"plan": plan.card(), "environment": before.get("environment", environment(layout))})
                checkpoints = Checkpoints(path)
                make: Callable[[], Backend] = lambda: _backend(plan, layout, how, cluster, checkpoints)
                conductor = _Conductor(plan, store, layout, checkpoints, make, shown, patience)
                try:
                    conductor.tune()
                    conductor.judge()
                    if "costs" not in before:
                        store.write_manifest({"costs": conductor.costs()})
                finally:
                    conductor.close()
            checkpoints.clear()
            store.write_manifest({"seconds": before.get("seconds", 0) + time.perf_counter() - begun})
        finally:
            store.close()
    return Study.load(path)


class _Conductor:
    """Runs what is not yet recorded, phase by phase."""

    def __init__(
        self, plan: Plan, store: Store, layout: Layout, checkpoints: Checkpoints, make: Callable[[], Backend], shown: Display,
        patience: float | None,
    ) -> None:  # fmt: skip
        self._plan, self._store, self._layout, self._shown, self._patience = plan, store, layout, shown, patience
        self._checkpoints = checkpoints
        self._make = make
        self._backend: Backend | None = None
        self._records = {record.id: record for record in store.runs()}

    def tune(self) -> None:
        """Every trial with the tuning seeds, rung by rung where trials are halved."""
        pending = {one.job.id: one for one in self._begin("Tuning", self._plan.tune())}
        stages = sorted({step for name in self._plan.contestants for step, _ in self._plan.rungs(name)})
        for step in stages:
            racing = [p for p in pending.values() if p.job.phase == "tune" and step in dict(self._plan.rungs(p.job.contestant))]
            for paused in self._run(racing, step):
                pending[paused.job.id] = paused
            known = {**{key: p.record for key, p in pending.items() if p.record}, **self._records}
            lost = [pending.pop(job.id) for job in eliminated(self._plan, step, known) if job.id in pending]
            self._keep([stop_at(p, step) for p in lost])
        self._run(list(pending.values()), None)

    def judge(self) -> None:
        """Each contestant's chosen trial with the fresh seeds."""
        task, chosen = self._plan.task, {}
        for name in self._plan.contestants:
            runs = [r for r in self._records.values() if r.phase == "tune" and r.contestant == name]
            best = choose_trial(summarise(runs, task.objective), task.maximise)
            if best:
                chosen[name] = best.trial
        self._run(self._begin("Judging", self._plan.final(chosen)), None)

    def costs(self) -> dict[str, dict[str, float]]:
        """What a step of each contestant costs, one run alone where the others were trained."""
        jobs = [Job("tune", name, 0, 0, trials[0]) for name, trials in self._plan.spaces.items()]
        self._backend = self._backend or self._make()
        lost: tuple[type[BaseException], ...] = (*self._backend.lost, TimeoutError)
        try:
            measured = self._backend.costs(jobs)
        except lost:
            measured = Worker(self._plan.tasks, self._layout).costs(jobs)
        return {name: {**cost, "gradients_per_step": self._plan.gradients(name)} for name, cost in measured.items()}

    def close(self) -> None:
        if self._backend is not None:
            self._backend.close()

    def _begin(self, title: str, jobs: Sequence[Job]) -> list[Pending]:
        """What is left of these runs; workers for it, their programs where they share them, and a bar."""
        tasks = self._plan.tasks
        left = [self._checkpoints.load(job, tasks[job.contestant]) for job in jobs if job.id not in self._records]
        if not left:
            return left
        self._backend = self._backend or self._make()
        if isinstance(self._backend, Threads):
            families = self._backend.missing(left)
            if families:
                self._shown.begin("Compiling", len(families), len(families), "programs")
                self._backend.compile(families, lambda: self._shown.advance(1))
        self._shown.begin(title, len(left), sum(tasks[one.job.contestant].steps - one.step for one in left), "steps")
        return left

    def _run(self, pending: Sequence[Pending], until: int | None) -> list[Pending]:
        """Trains to step `until`, or to the end; keeps the records of what is finished and returns what is not."""
        paused: list[Pending] = []
        if not pending:
            return paused
        assert self._backend is not None
        for done in execute(self._backend, self._layout.chunk, pending, until, self._shown.advance, self._patience):
            if until is None:
                self._keep([p.record for p in done if p.record])
            else:
                paused += done
        return paused

    def _keep(self, records: Sequence[RunRecord]) -> None:
        records = [record for record in records if record.id not in self._records]
        self._store.add(records)
        self._checkpoints.drop(records)
        for record in records:
            self._records[record.id] = record
            self._shown.ended(record, self._plan.task.objective, self._plan.task.maximise)


def _resumed(before: dict[str, Any], plan: Plan, path: Path) -> dict[str, Any]:
    """The manifest of a study that is continued; raises `FdlError` where it is another one, or made elsewhere."""
    if before.get("plan", plan.card()) != plan.card():
        expected = "the same task, contestants, trials and seeds"
        raise FdlError("study folder", f"another study in {str(path)!r}", expected, "Choose another folder.")
    known, now = before.get("environment"), environment(Layout(1, 1, True))
    if known and known["device"].rpartition("(")[2] != now["device"].rpartition("(")[2]:
        raise FdlError("study folder", f"runs made on {known['device']}, this is {now['device']}", "one kind of device for a study")
    if known:
        other = {name: version for name, version in known["versions"].items() if version != now["versions"][name]}
        if other:
            made, here = (", ".join(f"{name} {versions[name]}" for name in other) for versions in (known["versions"], now["versions"]))
            warnings.warn(f"the study was begun with {made}; runs with {here} may differ from it in bits", stacklevel=3)
    return before


def _layout(before: dict[str, Any], plan: Plan, how: How, workers: int | None, chunk: int | None, memory: float) -> tuple[How, Layout]:
    """By whom, and the layout: that of the study which is continued, for another gives other bits; else the best for this machine."""
    if "environment" in before:
        known = Layout(**before["environment"]["layout"])
        fitting: How = "threads" if jax.default_backend() != "cpu" or known.pool == pool() else "processes"
        return fitting if how == "auto" else how, known._replace(workers=workers or known.workers)
    families, each = len(plan.contestants), max(map(len, plan.spaces.values())) * plan.seeds
    first = next(iter(plan.spaces.values()))[0]
    task = next(iter(plan.tasks.values()))
    layout = decide(task, first, families, each, workers, chunk, memory)
    if how == "auto":
        how = "processes" if prefers_processes(task, layout, len(plan.tune())) and can_be_imported(plan.tasks, plan.spaces) else "threads"
    return how, layout._replace(pool=pool() if how == "threads" else 1)


def _backend(plan: Plan, layout: Layout, how: How, cluster: str | None, checkpoints: Checkpoints) -> Backend:
    if cluster:
        return Cluster(cluster, plan.tasks, layout)
    if how == "processes":
        return Processes(plan.tasks, layout, checkpoints)
    check_pool(layout)
    return Threads(Worker(plan.tasks, layout, checkpoints), layout.workers)


def environment(layout: Layout) -> dict[str, Any]:
    """Software and hardware that a study's numbers depend on, and how its runs were laid out."""
    device = jax.devices()[0]
    versions = {name: metadata.version(name) for name in ("fdl", "jax", "jaxlib", "numpy", "optax")}
    return {
        "versions": {"python": platform.python_version(), **versions},
        "platform": platform.platform(),
        "device": f"{len(jax.devices())} x {device.device_kind} ({device.platform})",
        "cores": os.cpu_count(),
        "precision": str(jax.config.jax_default_matmul_precision or "default"),  # type: ignore[attr-defined]
        "layout": layout._asdict(),
    }
