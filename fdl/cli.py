"""The commands: they read options, call the floors below and print."""

import dataclasses
import signal
import sys
import time
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from fdl.core import FdlError, check_positive, choose
from fdl.core._io import writable_folder, write_bytes

Task = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="TASK")]
Rate = Annotated[float | None, tyro.conf.arg(metavar="RATE", help_behavior_hint="(default: the optimizer's own)")]
Schedule = Annotated[str | None, tyro.conf.arg(metavar="NAME", help_behavior_hint="(default: a constant rate)")]
Steps = Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="(default: the task's own)")]
Optimizers = Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME ...", help_behavior_hint="(default: the six classics)")]
RunFolder = Annotated[Path | None, tyro.conf.arg(metavar="PATH", help_behavior_hint="(default: a new one under runs/)")]
Contestants = Annotated[Path | None, tyro.conf.arg(metavar="PATH", help_behavior_hint="(default: --optimizers)")]
FinalSeeds = Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="(default: 10, more for many contestants)")]
Halving = Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="(default: every trial to its end)")]
Workers = Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="(default: one a core)")]
Chunk = Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="(default: by size and a timed probe)")]
Memory = Annotated[float | None, tyro.conf.arg(metavar="GIB", help_behavior_hint="(default: half of what there is)")]
Cluster = Annotated[str | None, tyro.conf.arg(metavar="ADDRESS", help_behavior_hint="(default: this machine alone)")]
Patience = Annotated[float | None, tyro.conf.arg(metavar="SECONDS", help_behavior_hint="(default: 600, and ten times the longest wait)")]
DataFolder = Annotated[Path | None, tyro.conf.arg(metavar="PATH", help_behavior_hint="(default: downloaded once into a cache)")]
Cases = Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="NAME ...", help_behavior_hint="(default: all)")]
CheckFolder = Annotated[Path | None, tyro.conf.arg(metavar="PATH", help_behavior_hint="(default: nothing is written)")]
StudyFolder = Annotated[Path | None, tyro.conf.arg(metavar="PATH", help_behavior_hint="(default: a new one under studies/)")]


def train(
    task: Task,
    optimizer: str = "adam",
    lr: Rate = None,
    schedule: Schedule = None,
    warmup: int = 0,
    steps: Steps = None,
    seed: int = 0,
    folder: RunFolder = None,
    data_dir: DataFolder = None,
) -> None:
    """Train a task once; show its progress, save curves and parameters.

    Args:
        task: a task's name; `fdl tasks` lists them
        optimizer: a name as sgd, momentum or adam, optax.NAME, WRAPPER(NAME) as "lookahead(adam)", or MODULE:NAME
        lr: learning rate; with a schedule its peak
        schedule: how the rate goes over the run: cosine, linear, onecycle, ...
        warmup: steps of a linear warm-up to the rate
        steps: optimizer steps
        seed: decides initial parameters, batches and dropout
        folder: where to save
        data_dir: folder of the data set's files, where the task's data does not come with fdl
    """
    from fdl import report
    from fdl.train import fit, save

    if lr is not None:
        check_positive("--lr", lr, fix="Try --lr 1e-3.")
    problem = _task(task, steps, data_dir)
    chosen = _optimizer(optimizer, lr, schedule, warmup, problem.steps)
    place = writable_folder(folder or _fresh("runs", f"{task}-{optimizer}"), "--folder")
    result = fit(problem, chosen, seed, title=f"{task}, {optimizer}")
    save(result, place, {"task": task, "optimizer": repr(chosen), "seed": seed})
    report.write_run(result, place)
    if result.diverged:
        print(f"The loss stopped being finite at step {int(result.progress.diverged_at)}: a smaller --lr may train.")
    for split, figures in (("validation", {m: result.last(s, m) for s, m in result.curves if s == "validation"}), ("test", result.test)):
        print(f"{split:10}  " + "  ".join(f"{metric} {value:.4f}" for metric, value in figures.items()))
    print(f"{result.seconds:.1f} s of training; curves, parameters and record in {place}")


def compare(
    task: Task,
    optimizers: Optimizers = (),
    contestants: Contestants = None,
    trials: int = 9,
    seeds: int = 3,
    final_seeds: FinalSeeds = None,
    steps: Steps = None,
    sampler: Literal["auto", "grid", "sobol", "halton"] = "auto",
    halving: Halving = None,
    folder: StudyFolder = None,
    data_dir: DataFolder = None,
    how: Literal["auto", "threads", "processes"] = "auto",
    workers: Workers = None,
    chunk: Chunk = None,
    memory: Memory = None,
    cluster: Cluster = None,
    patience: Patience = None,
) -> None:
    """Compare optimizers on a task: tune each one's hyperparameters, judge the best with fresh seeds, write a report.

    Args:
        task: a task's name; `fdl tasks` lists them
        optimizers: names as sgd, momentum, adam, optax.NAME, WRAPPER(NAME) as "lookahead(adam)", or MODULE:NAME
        contestants: TOML file with optimizers and their search spaces
        trials: points of each optimizer's search space
        seeds: runs of each trial, to choose one
        final_seeds: fresh runs of the chosen trial, to judge it
        steps: optimizer steps of a run
        sampler: how points are chosen; auto: a grid for one hyperparameter, Sobol's points for more
        halving: successive halving's factor
        folder: the study's folder; a study that is in it is continued
        data_dir: folder of the data set's files, where the task's data does not come with fdl
        how: whether runs are trained by threads or by processes; auto: processes for long studies of small models
        workers: how many of them
        chunk: runs mapped into one program
        memory: GiB that programs may take together
        cluster: address of a Dask scheduler, or local:N
        patience: without the end of any run, after which workers count as hung and are replaced
    """
    from rich.console import Console

    from fdl import compare as comparing
    from fdl import report

    made = {name: comparing.by_name(name, "--optimizers") for name in optimizers}
    problem = _task(task, steps, data_dir)
    made |= comparing.from_toml(contestants, problem) if contestants else {}
    for name, value, kind in (
        ("--workers", workers, int),
        ("--chunk", chunk, int),
        ("--memory", memory, float),
        ("--patience", patience, float),
    ):
        if value is not None:
            check_positive(name, value, kind)
    study = comparing.study(
        problem, made or comparing.classics, folder=folder or _fresh("studies", task), trials=trials, seeds=seeds,
        final_seeds=final_seeds, sampler=sampler, halving=halving, how=how, workers=workers, chunk=chunk,
        memory=memory and memory * 2**30, cluster=cluster, patience=patience,
    )  # fmt: skip
    page = report.write(study)
    Console().print(report.table(study))
    print(f"\n{study.manifest['seconds']:.0f} s; report: {page}")


def regenerate(folders: Annotated[tuple[Path, ...], tyro.conf.Positional], output: Path = Path("comparison.html")) -> None:
    """Write a study's report and print its table again, from its records; several studies on one page.

    Args:
        folders: of one study, or of several to put side by side
        output: the page of several studies
    """
    from rich.console import Console

    from fdl import report
    from fdl.compare import Study

    if not folders:
        raise FdlError("report", "no folder", "a study's folder, or several")
    studies = [Study.load(folder) for folder in folders]
    page = report.write(studies[0]) if len(studies) == 1 else report.write_comparison(studies, output)
    for study in studies:
        Console().print(report.table(study))
    print(f"\nreport: {page}")


def export(folder: Annotated[Path, tyro.conf.Positional]) -> None:
    """Write a study's records as CSV, a row a measurement, and JSON lines, an object a run.

    Args:
        folder: a study's folder
    """
    from fdl import compare as comparing

    print("\n".join(map(str, comparing.export(comparing.Study.load(folder)))))


def list_tasks() -> None:
    """List the tasks."""
    from fdl import tasks

    for name, make in tasks.named.items():
        known = tasks.landscapes.get(name)
        print(f"{name:16} {known.equation if known else (make.__doc__ or '').splitlines()[0]}")


def check(
    what: Annotated[Literal["optimizers"], tyro.conf.Positional],
    names: Cases = (),
    folder: CheckFolder = None,
) -> None:
    """Compare every optimizer with optax, PyTorch and its paper's rule in NumPy; print the deviations, and write them.

    Args:
        what: optimizers
        names: cases to compare
        folder: where to write equivalence.md, equivalence.csv and costs.md
    """
    from rich.console import Console
    from rich.progress import track
    from rich.table import Table

    from fdl.testing import _table as tables
    from fdl.testing.equivalence import compare as compared
    from fdl.testing.rules import CASES

    cases = {name: choose("fdl check optimizers", name, CASES) for name in names or CASES}
    place = writable_folder(folder, "--folder") if folder else None
    console = Console()
    found = [row for case in track(cases.values(), "comparing", console=console, transient=True) for row in compared(case)]
    table = Table(*tables.HEADS, title=f"Largest deviations ({tables.device()})", title_justify="left")
    lines = tables.lines(found)
    for line in lines:
        table.add_row(*line.texts, style=None if line.equal else "red")
    console.print(table)
    if place:
        write_bytes(place / "equivalence.md", tables.markdown(lines, cases).encode())
        write_bytes(place / "costs.md", tables.costs().encode())
        write_bytes(place / "equivalence.csv", tables.comma_separated(found).encode())
        print(f"written to {place}")
    wrong = [line.case for line in lines if not line.equal]
    print(f"{len(lines) - len(wrong)} of {len(lines)} within tolerance" + (f"; not {', '.join(wrong)}" if wrong else ""))
    sys.exit(1 if wrong else 0)


def _optimizer(name: str, lr: float | None, schedule: str | None, warmup: int, steps: int) -> Any:
    """An optimizer by name at a rate, its own where not given, that goes over the run by a schedule."""
    from fdl import optim
    from fdl.compare import space
    from fdl.compare._contestants import named

    shapes: dict[str, Any] = {
        n: s for n, s in optim.schedules.named.items() if {"peak", "steps"} <= {f.name for f in dataclasses.fields(s)}
    }
    shape = None if schedule is None else choose("--schedule", schedule, shapes)
    if not 0 <= warmup < steps:
        raise FdlError("--warmup", str(warmup), f"steps, fewer than the run's {steps}")

    def rate(name: str, default: float) -> Any:
        peak = default if lr is None else lr
        after = peak if shape is None else shape(peak=peak, steps=float(steps - warmup))
        return optim.Warmup(after, float(warmup)) if warmup else after

    if ":" in name and (lr or schedule or warmup):
        raise FdlError("--optimizer", repr(name), "no --lr, --schedule or --warmup beside it", "Set them where it is made.")
    made = named(name, "--optimizer", rate)
    if space.searched(made):
        raise FdlError("--optimizer", repr(name), "numbers, where it has search spaces", "`fdl compare` searches them.")
    return made


def _task(name: str, steps: int | None, data_dir: Path | None) -> Any:
    from fdl import tasks

    task = tasks.get(name, data_dir)
    if steps is None:
        return task
    check_positive("--steps", steps, int)
    every = max(n for n in range(1, task.evaluate_every + 1) if steps % n == 0)
    return dataclasses.replace(task, steps=steps, evaluate_every=every)


def _fresh(parent: str, name: str) -> Path:
    return Path(parent) / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"


def main() -> None:
    """The `fdl` command. A user's mistake ends it with one message and exit code 2."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what Ctrl-C does
    commands: dict[str, Any] = {
        "compare": compare,
        "train": train,
        "report": regenerate,
        "export": export,
        "tasks": list_tasks,
        "check": check,
    }
    try:
        tyro.extras.subcommand_cli_from_dict(
            commands, prog="fdl", description="Functional deep learning in JAX: train models, compare optimizers."
        )
    except FdlError as error:
        print(f"fdl: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("fdl: interrupted; what was done is saved, and `fdl compare --folder` continues a study.", file=sys.stderr)
        sys.exit(130)
