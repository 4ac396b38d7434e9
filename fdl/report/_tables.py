"""What a study says as tables of text that sort by numbers."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from fdl.compare import Comparison, Interval, Result, RunRecord, Trial
from fdl.report._findings import Findings


class Cell(NamedTuple):
    """What stands in a table: text, a smaller line below it, and the number that it is sorted by."""

    text: str
    small: str = ""
    value: float | None = None


class Table(NamedTuple):
    """Heads and rows; columns that are empty in every row are left out."""

    heads: list[str]
    rows: list[list[Cell]]


def side_by_side(studies: Sequence[Findings]) -> Table:
    """One row a contestant, two columns a study: the test mean with its interval, and what was chosen."""
    names = dict.fromkeys(r.contestant for findings in studies for r in findings.results)
    rows = []
    for name in names:
        row = [Cell(name)]
        for findings in studies:
            result = next((r for r in findings.results if r.contestant == name), None)
            chosen = settings(result.chosen, findings.searched[name]) if result else ""
            row += [_interval(result.mean) if result and result.test else Cell("-"), Cell(chosen)]
        rows.append(row)
    return Table(["contestant", *(head for f in studies for head in (f"{f.label}: test mean, 95 %", f"{f.label}: chosen"))], rows)


def number(value: float) -> str:
    fixed = value == 0 or 5e-5 <= abs(value) < 1000
    return "-" if np.isnan(value) else f"{value:.4f}" if fixed else f"{value:.3e}"


def setting(value: Any) -> str:
    """A hyperparameter's value: `0.00316`, or a schedule's name."""
    return value if isinstance(value, str) else f"{value:.3g}"


def settings(trial: Trial | None, searched: Sequence[str]) -> str:
    """The hyperparameters that differ between trials: `lr 0.00316`."""
    if trial is None:
        return "-"
    return ", ".join(f"{name} {setting(trial.hyperparameters[name])}" for name in searched if name in trial.hyperparameters) or "as given"


def probability(p: float) -> str:
    return "-" if np.isnan(p) else "< 0.001" if p < 0.001 else f"{p:.3f}"


def notes(result: Result) -> list[str]:
    """What a reader must know beside the numbers."""
    said = []
    if result.chosen is None:
        said.append("no trial without a diverged seed" if result.tuning_runs else "not tuned yet")
    if result.at_edge:
        said.append(f"{' and '.join(result.at_edge)} at the edge of {'its range' if len(result.at_edge) == 1 else 'their ranges'}")
    if result.diverged_final:
        said.append(f"{result.diverged_final} of {result.final_runs} fresh seeds diverged")
    return said


def results(findings: Findings) -> Table:
    """One row a contestant, best first."""
    head = ["optimizer", "chosen", "test mean, 95 %", "with tuning", "median", "IQM", "validation", "optimism", "diverged", "notes"]
    rows = []
    for result in findings.results:
        chosen, lost = result.chosen, result.diverged_tuning + result.diverged_final
        rows.append([
            Cell(result.contestant),
            Cell(settings(chosen, findings.searched[result.contestant])),
            _interval(result.mean),
            _range(result.with_tuning),
            _interval(result.median),
            _interval(result.iqm),
            Cell("") if chosen is None else _number(chosen.mean),
            _number(result.optimism),
            Cell(f"{lost} of {result.tuning_runs + result.final_runs}", value=float(lost)) if lost else Cell(""),
            Cell("; ".join(notes(result))),
        ])  # fmt: skip
    return _without_empty(head, rows)


def comparisons(pairs: Sequence[Comparison]) -> Table:
    """One row a pair of contestants, in the order of their ranks."""
    head = ["better mean", "other", "difference", "p, Holm", "p", "P(improvement)", "effect", "detectable", "verdict"]
    return _without_empty(head, [
        [
            Cell(pair.better),
            Cell(pair.worse),
            _interval(pair.difference),
            Cell(probability(pair.p_holm), value=_finite(pair.p_holm)),
            Cell(probability(pair.p), value=_finite(pair.p)),
            _interval(pair.improvement, digits=2),
            Cell(f"{pair.effect:.2f}" if np.isfinite(pair.effect) else "-", value=_finite(pair.effect)),
            Cell("too few seeds") if np.isinf(pair.detectable) else _number(pair.detectable),
            Cell("different" if pair.significant else "no evidence"),
        ]
        for pair in pairs
    ])  # fmt: skip


def sensitivity(findings: Findings) -> Table:
    """One row a searched hyperparameter of a contestant: how wide its good range is, and whether the best lies at its edge."""
    rows = []
    for (name, hyperparameter), found in findings.sensitivity.items():
        best = findings.chosen[name]
        tried = f"{setting(found.values[0])} to {setting(found.values[-1])}" if len(found.values) else ""
        rows.append([
            Cell(name),
            Cell(hyperparameter),
            Cell("-") if best is None else _setting(best.hyperparameters[hyperparameter]),
            Cell(tried),
            _number(found.width, 2),
            Cell(str(int(found.diverged.sum())), value=float(found.diverged.sum())),
            Cell("best at the edge: widen the range" if found.at_edge else ""),
        ])  # fmt: skip
    return _without_empty(["optimizer", "hyperparameter", "chosen", "tried", "width within 2 %", "diverged runs", "notes"], rows)


def targets(findings: Findings) -> Table:
    """One row a contestant: median steps to each target over the fresh seeds, and the scores of the profiles over what was measured."""
    head = ["optimizer", *(f"{findings.task['objective']} {number(t)}" for t in findings.targets)]
    scores = {f"profile score, {axis}": profile.score for axis, profile in findings.profiles.items()}
    rows = []
    for name, steps in findings.reached.items() if findings.targets else ():
        rows.append(
            [Cell(name), *(_steps(findings, name, seeds) for seeds in steps), *(_number(s.get(name, np.nan), 3) for s in scores.values())]
        )
    return Table([*head, *scores], rows)


def costs(findings: Findings) -> Table:
    """One row a contestant: what a step costs when the run has the device for itself."""
    head = ["optimizer", "one step alone", "gradients a step", "one run alone", "optimizer state a parameter"]
    rows = []
    for name, cost in findings.costs.items():
        seconds, steps = cost["seconds_per_step"], _of(findings, name, "steps")
        rows.append([
            Cell(name),
            Cell(duration(seconds), value=seconds),
            Cell(f"{cost['gradients_per_step']:g}", value=cost["gradients_per_step"]),
            Cell(duration(seconds * steps), value=seconds * steps),
            Cell(f"{cost['state_bytes_per_parameter']:.3g} bytes", value=cost["state_bytes_per_parameter"]),
        ])  # fmt: skip
    return Table(head, rows)


def space(findings: Findings) -> Table:
    """One row a contestant: its optimizer, what is searched, what is fixed, and the budget it had."""
    head = [
        "contestant",
        "optimizer",
        "searched",
        "fixed",
        "trials",
        "tuning runs",
        "diverged",
        "ended early",
        "gradient evaluations",
        "apart",
    ]
    rows = []
    for name, card in findings.plan["contestants"].items():
        given = card["hyperparameters"]
        trials, runs = findings.trials[name], findings.study.select("tune", name)
        evaluations = sum(_steps_done(run) for run in runs) * (findings.study.per_step(name, "gradient evaluations") or 1)
        lost, stopped = sum(t.diverged for t in trials), sum(t.stopped for t in trials)
        rows.append([
            Cell(name),
            Cell(card["optimizer"]),
            Cell("; ".join(f"{k} {v}" for k, v in given.items() if isinstance(v, str))),
            Cell("; ".join(f"{k} {v:g}" for k, v in given.items() if not isinstance(v, str))),
            Cell(str(len(trials)), value=float(len(trials))),
            Cell(str(len(runs)), value=float(len(runs))),
            Cell(f"{lost / len(runs):.0%}", value=lost / len(runs)) if lost else Cell(""),
            Cell(str(stopped), value=float(stopped)) if stopped else Cell(""),
            Cell(f"{evaluations:,.0f}", value=float(evaluations)),
            Cell("; ".join(f"{k} {v}" for k, v in card.get("task", {}).items())),
        ])  # fmt: skip
    return _without_empty(head, rows)


def trials(findings: Findings) -> Table:
    """One row a trial: contestant, what was searched, mean on validation and its seeds; the defaults' among them."""
    rows = []
    for name, tried in findings.trials.items():
        default = findings.defaults[name]
        for trial, title in [*((t, str(t.trial)) for t in tried), *([(default, "default")] if default else [])]:
            rows.append([
                Cell(name),
                Cell(title, value=float(trial.trial) if title != "default" else -1.0),
                Cell(settings(trial, findings.searched[name] or list(trial.hyperparameters))),
                _number(trial.mean),
                Cell(" ".join(map(number, trial.values))),
                Cell(str(trial.diverged or ""), value=float(trial.diverged)),
                Cell(str(trial.stopped or ""), value=float(trial.stopped)),
            ])  # fmt: skip
    head = ["contestant", "trial", "hyperparameters", f"validation {findings.task['objective']}", "by seed", "diverged", "ended early"]
    return _without_empty(head, rows)


def duration(seconds: float) -> str:
    """`12 µs`, `3.4 ms`, `1.2 s`, `5 min`."""
    for unit, size in (("µs", 1e-6), ("ms", 1e-3), ("s", 1.0)):
        if seconds < 600 * size or unit == "s":
            break
    return f"{seconds / 60:.0f} min" if seconds >= 600 else f"{seconds / size:.3g} {unit}"


def _interval(interval: Interval, digits: int = 4) -> Cell:
    return Cell(_round(interval.value, digits), _range(interval, digits).text, _finite(interval.value))


def _range(interval: Interval, digits: int = 4) -> Cell:
    text = "" if np.isnan(interval.low) else f"{_round(interval.low, digits)} to {_round(interval.high, digits)}"
    return Cell(text, value=_finite(interval.low))


def _number(value: float, digits: int = 4) -> Cell:
    return Cell(_round(value, digits), value=_finite(value))


def _round(value: float, digits: int) -> str:
    return number(value) if digits == 4 or not np.isfinite(value) else f"{value:.{digits}f}"


def _setting(value: Any) -> Cell:
    return Cell(setting(value), value=None if isinstance(value, str) else float(value))


def _finite(value: float) -> float | None:
    """What a table is sorted by, in short."""
    return float(f"{value:.6g}") if np.isfinite(value) else None


def _steps_done(run: RunRecord) -> int:
    return max((step for curve in run.curves.values() for step, _ in curve), default=0)


def _of(findings: Findings, contestant: str, name: str) -> Any:
    """A part of the task's card, in the contestant's own form where it has one."""
    return findings.plan["contestants"][contestant].get("task", {}).get(name, findings.task[name])


def _steps(findings: Findings, contestant: str, seeds: dict[int, float]) -> Cell:
    """Median steps to a target, what they cost, and how many seeds reached it."""
    steps = float(np.median(list(seeds.values()))) if seeds else np.inf
    parts = [f"{sum(map(np.isfinite, seeds.values()))} of {len(seeds)}"]
    if np.isfinite(steps):
        gradients, seconds = (findings.study.per_step(contestant, axis) for axis in ("gradient evaluations", "seconds"))
        parts += [f"{steps * gradients:,.0f} gradients"] if gradients else []
        parts += [duration(steps * seconds)] if seconds else []
    return Cell(f"{steps:,.0f} steps" if np.isfinite(steps) else "missed", ", ".join(parts), steps if np.isfinite(steps) else 1e300)


def _without_empty(heads: Sequence[str], rows: list[list[Cell]]) -> Table:
    kept = [i for i in range(len(heads)) if any(row[i].text not in ("", "-") for row in rows)]
    return Table([heads[i] for i in kept], [[row[i] for i in kept] for row in rows])
