"""A whole study on this machine: fdl's engine beside PyTorch and Flax with optax, where installed.

    python experiments/bench_study.py [--task digits-cnn|digits-mlp|vowels-lstm] [--how threads|processes|both] [--rounds 3]
    python experiments/bench_study.py --scale               # cost of a trial in studies of 1 to 1,000
    NPROC=1 python experiments/bench_study.py --profile     # what a run's step spends its time on, one core alone
    python experiments/bench_study.py --big                 # 10,000 trials of 300 steps of digits-mlp: seconds and memory

Five optimizers, eight rates over four decades, three seeds; 200 steps, the validation split measured every 20 by everyone.
fdl trains every run with its engine; `compare.study` as a user calls it gives the seconds with compilation, planning, judging
and writing included, in a process that has compiled nothing yet. The others start from the same weights, see the same batches
(laid out beforehand, untimed; fdl draws its own within its time) and must find the same curves; each is timed in its fastest
form, which a probe chooses and the table names, on a share of the runs, and its seconds for the study are what its first
calls took longer (compilation) plus the study's steps at its rate. Steps that fdl leaves out, because a run's loss is no
longer finite, count for nobody. Rows are timed in turn, round after round; printed are medians.

Measured on two cores with AVX-512, nothing else running, jax 0.10.2 and PyTorch 2.13: trial-steps a second, and times PyTorch, the
JAX loop and the vmapped form, without and with compilation:

    digits-cnn, threads              2,330       3.7    3.3   7.8      2.0   2.1   4.6
    digits-cnn, processes            2,750       4.4    3.9   9.1      2.1   2.2   4.7
    digits-mlp, threads, 12 mapped  44,800      15.8    3.8   2.0      2.6   1.3   1.0
    digits-mlp, processes           49,950      17.6    4.3   2.2      1.7   0.8   0.6
    vowels-lstm, threads             1,095       1.8    2.2   2.1      1.3   1.7   1.7     (PyTorch packed 5.5 and 3.9)
    vowels-lstm, processes           1,206       2.0    2.4   2.3      1.3   1.7   1.7     (packed 6.1 and 4.0)

A trial of digits-cnn takes 0.11 s in a study of 10 as of 1,000; 10,000 runs of digits-mlp take 70 to 78 s and 0.8 GiB.

What bounds it, by `--profile`: of a step's core time products and sums are 0.47 of 0.63 ms on digits-cnn, 0.023 of 0.033 on
digits-mlp, 1.2 of 1.7 on vowels-lstm. Were all else free, they would be 6.8, 31 and 2.8 times as fast as PyTorch (padded). A study
compiles as much as it can side by side, and 24,000 steps of digits-cnn take 12 s: hence the figures with compilation. Processes
lose nothing beside each other, threads that share XLA's pool a tenth to a fifth.

Run it on a quiet machine: other processes slow PyTorch's threads more than JAX's and flatter fdl.
"""

import itertools
import os
import resource
import sys
import tempfile
import time
from collections import namedtuple
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Annotated, Literal

import _bench as bench
import jax
import numpy as np
import tyro
from _peers import flax_optax, torch_runs

from fdl import compare, tasks
from fdl.compare._checkpoints import Pending
from fdl.compare._contestants import name_contestants
from fdl.compare._execute import Threads, execute
from fdl.compare._layout import decide, default_memory
from fdl.compare._plan import Plan
from fdl.compare._remote import Processes
from fdl.compare._work import Layout, Worker
from fdl.train import Trainer
from fdl.train._run import advance

STEPS, EVERY, TRIALS, SEEDS = 200, 20, 8, 3
NAMES = "sgd", "momentum", "adagrad", "rmsprop", "adam"
FORMS = [dict(zip(("layout", "update", "threads"), form)) for form in itertools.product(
    ("contiguous_format", "channels_last"), ("plain", "foreach", "fused"), sorted({1, os.cpu_count()}))]  # fmt: skip

Row = namedtuple("Row", "form trains steps first rates")
"""A competitor in its fastest form: functions that train, each so many steps; the seconds of their first calls; rates by round."""


def engine(plan, jobs, layout, how):
    """fdl's own engine: a function that trains every job, gives the steps done, and is compiled once called."""
    backend = Processes(plan.tasks, layout) if how == "processes" else Threads(Worker(plan.tasks, layout), layout.workers)

    def run():
        if how == "threads":
            backend.compile(backend.missing(map(Pending, jobs)), lambda: None)
        done = [p.record for chunk in execute(backend, layout.chunk, list(map(Pending, jobs)), None, lambda _: None) for p in chunk]
        return steps_of(done)

    return run, backend.close


def steps_of(records):
    return sum(record.curves["train", "loss"][-1][0] for record in records)


def timed(function, *args):
    begun = time.perf_counter()
    return function(*args), time.perf_counter() - begun


def check(name, jobs, found, records):
    """Curves of the middle rate must be the engine's: rounding grows along a run, hence the wider bound at its end."""
    for job, curve in zip(jobs, found):
        if job.trial != TRIALS // 2 - 1:
            continue
        ours = records[job.id].curves
        ours = np.array([[v for _, v in ours[key]] for key in (("train", "loss"), ("validation", "loss"), ("validation", "accuracy"))]).T
        apart = abs(curve - ours[: len(curve)])
        if apart[0, 0] > 2e-3 or apart[:, :2].max() > 0.05 or apart[:, 2].max() > 0.03:
            raise SystemExit(f"{name} trains something else with {job.contestant}, apart by {apart.max(0)} (first {apart[0]})")


def peer(name, forms, families, records):
    """The fastest of `forms`, its curves checked."""
    share, rates = next(iter(families.values())), {}
    for form, make in forms.items():
        train = make(share)
        train(1)
        rates[form] = 1 / timed(train, 1)[1]
    form = max(rates, key=rates.get)
    segments = STEPS // EVERY if rates[form] > 1 else 1  # a run, or, where a segment takes a second, one of those
    trains, first = [], 0.0
    for jobs in families.values():
        train = forms[form](jobs)
        found, seconds = timed(train, segments)
        check(name, jobs, found, records)
        trains.append(partial(train, segments))
        first += seconds
    return Row(form, trains, segments * EVERY * len(share), first, [])


def peers(task, jobs):
    """By name: every form to be tried, and the runs of each optimizer that are timed."""
    maps = [form for form in FORMS if task.name == "digits-cnn" or form["layout"] == "contiguous_format"]
    family = lambda name, count: [job for job in jobs if job.contestant == name and (count > 1 or job.id[2:] == (TRIALS // 2 - 1, 0))]
    one, every = ({name: family(name, count) for name in NAMES} for count in (1, TRIALS * SEEDS))
    rows = {}
    for kind, packed in {", packed": True, ", padded": False}.items() if task.name == "vowels-lstm" else [("", False)]:
        forms = {", ".join(map(str, form.values())): partial(torch_runs, task, packed=packed, **form) for form in maps}
        rows[f"PyTorch{kind}"] = forms, one
    flax = {how: partial(flax_optax, task, scan=how == "scan") for how in ("loop", "scan")}
    rows["JAX loop"] = {"loop": partial(flax["loop"], vmapped=False)}, one
    rows["vmapped"] = {how: partial(make, vmapped=True) for how, make in flax.items()}, every
    return rows


def versus(name: str, hows: list[str], rounds: int) -> None:
    task = replace(tasks.get(name), steps=STEPS, evaluate_every=EVERY)
    contestants = {name: compare.classics[name] for name in NAMES}
    plan = Plan(task, name_contestants(contestants), TRIALS, SEEDS, 2)
    jobs, whole, rows, ends = [job for job in plan.tune() if job.phase == "tune"], {}, {}, []
    for how in hows:
        with tempfile.TemporaryDirectory() as folder:
            budget = {"trials": TRIALS, "seeds": SEEDS, "final_seeds": 2, "how": how, "display": False}
            study, whole[f"fdl, {how}"] = timed(partial(compare.study, task, contestants, folder=folder, **budget))
        layout = Layout(**study.manifest["environment"]["layout"])
        probed = decide(task, jobs[0].optimizer, 10**6, TRIALS * SEEDS, None, None, default_memory())
        for kind in [layout, *[probed][: probed.chunk != layout.chunk]]:
            run, end = engine(plan, jobs, kind, how)
            steps, first = timed(run)
            rows[f"fdl, {how}" + (f", {kind.chunk} mapped" if kind.chunk > 1 else "")] = Row(
                f"{kind.workers} workers", [run], steps, first, []
            )
            ends.append(end)
    records = {record.id: record for record in study.runs}
    for name, (forms, families) in peers(task, jobs).items():
        try:
            rows[name] = peer(name, forms, families, records)
        except ImportError as error:
            print(f"{name}: skipped ({error})")
        else:
            print(f"{name}: trains the same, {rows[name].first:.0f} s", file=sys.stderr)
    for turn in range(rounds):
        for row in rows.values():
            time.sleep(0.1)  # lets the threads of the one before fall asleep
            begun = time.perf_counter()
            done = 0
            for train in [*row.trains[turn % len(row.trains) :], *row.trains[: turn % len(row.trains)]]:
                if done and time.perf_counter() - begun > 5:
                    break
                train()
                done += row.steps
            row.rates.append(done / (time.perf_counter() - begun))
    for end in ends:
        end()
    report(rows, whole, steps_of(study.runs), len(study.runs))


def report(rows, whole, steps, runs):
    print(f"\n{'trial-steps a second':28}  median     min - max    compiling  study of {runs} runs")
    speed = {name: median(row.rates) for name, row in rows.items()}
    for name, row in rows.items():
        compiling = max(row.first - len(row.trains) * row.steps / speed[name], 0)
        whole.setdefault(name, compiling + steps / speed[name])
        scope = f"{speed[name]:10,.0f}  {min(row.rates):8,.0f} - {max(row.rates):<8,.0f}"
        print(f"{name:26}{scope}{compiling:9.1f} s{whole[name]:11.1f} s   {row.form}")
    for ours, theirs in itertools.product([name for name in rows if name.startswith("fdl")], rows):
        if not theirs.startswith("fdl"):
            print(f"{ours} / {theirs}: {speed[ours] / speed[theirs]:.1f}, compilation included {whole[theirs] / whole[ours]:.1f}")


def profile(name: str) -> None:
    """What a step of Adam's takes, in the study's programs; with NPROC=1 on one core."""
    task = replace(tasks.get(name), steps=STEPS, evaluate_every=EVERY)
    adam = Plan(task, name_contestants({"adam": compare.classics["adam"]}), TRIALS, SEEDS, 2).spaces["adam"][0]
    layout = decide(task, adam, len(NAMES), TRIALS * SEEDS, 2, None, default_memory())
    trainer, seeds = Trainer(task, layout.chunk, layout.fast), tuple(range(layout.chunk))
    optimizers, keys = trainer._stack([adam] * layout.chunk, seeds)
    progress, indices = trainer.start(optimizers, keys), trainer._drawn(seeds, 0)
    body = trainer._mapped(partial(advance, task), (0, 0, 0, None, 0))
    flops = 3 * task.flops()  # a little too many: the first layer's input has no gradient
    bench.profile(name, body, (optimizers, keys, indices, trainer.arrays["train"], progress), EVERY * layout.chunk, flops, layout.fast)


def scale(name: str) -> None:
    """Studies of one contestant and one seed, of 1 to 1,000 trials."""
    task, adam = tasks.get(name), {"adam": compare.classics["adam"]}
    print(f"\n{name}, {task.steps} steps\ntrials  workers x mapped   compiling   training   a trial")
    for count in (1, 3, 10, 30, 100, 300, 1000):
        plan = Plan(task, name_contestants(adam), max(count, 2), 1, 2)
        jobs = plan.tune()[:count]
        layout = decide(task, jobs[0].optimizer, 1, count, None, None, default_memory())
        run, end = engine(plan, jobs, layout, "threads")
        _, first = timed(run)
        _, seconds = timed(run)
        end()
        print(f"{count:6}{layout.workers:9} x {layout.chunk:<8}{first - seconds:9.1f} s{seconds:9.1f} s{1e3 * seconds / count:9.2f} ms")


def big() -> None:
    """10,000 trials in all, each with one seed."""
    task = replace(tasks.get("digits-mlp"), steps=300, evaluate_every=20)
    contestants = {name: compare.classics[name] for name in NAMES}
    with tempfile.TemporaryDirectory() as folder:
        budget = {"trials": 2000, "seeds": 1, "final_seeds": 2, "display": False}
        study, seconds = timed(partial(compare.study, task, contestants, folder=folder, **budget))
        size = sum(file.stat().st_size for file in Path(folder).iterdir())
    unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    print(f"{len(study.runs):,} runs of 300 steps of digits-mlp in {seconds:.1f} s, {steps_of(study.runs) / seconds:,.0f} steps a second")
    print(f"layout {study.manifest['environment']['layout']}, peak memory {peak / 2**30:.2f} GiB, on disk {size / 2**20:.0f} MiB")


def main(
    task: Literal["digits-cnn", "digits-mlp", "vowels-lstm"] = "digits-cnn",
    how: Literal["threads", "processes", "both"] = "both",
    rounds: int = 3,
    scale_trials: tyro.conf.FlagCreatePairsOff[Annotated[bool, tyro.conf.arg(name="scale")]] = False,
    spent: tyro.conf.FlagCreatePairsOff[Annotated[bool, tyro.conf.arg(name="profile")]] = False,
    big_study: tyro.conf.FlagCreatePairsOff[Annotated[bool, tyro.conf.arg(name="big")]] = False,
) -> None:
    if spent:
        print(bench.header())
        return profile(task)
    load = lambda: f"load average {os.getloadavg()[0]:.1f}"
    print(f"{len(os.sched_getaffinity(0))} cores, {jax.devices()[0].device_kind}, jax {jax.__version__}, {load()}")
    if big_study:
        big()
    elif scale_trials:
        scale(task)
    else:
        versus(task, ["threads", "processes"] if how == "both" else [how], rounds)
    print(f"{load()} at the end")


if __name__ == "__main__":
    tyro.cli(main)
