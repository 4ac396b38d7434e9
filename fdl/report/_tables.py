"""What a study says as rows of text, for the terminal and the page alike."""

from typing import Any

import numpy as np

from fdl.compare import Interval, Result, Study, Trial

COLUMNS = ("optimizer", "chosen", "validation", "test, 95 %", "behind leader", "diverged", "note")


def result_rows(study: Study) -> list[tuple[str, ...]]:
    """The head, then one row a contestant, best first; columns that are empty in every row are left out."""
    rows = [_row(result, study) for result in study.results()]
    kept = [i for i in range(len(COLUMNS)) if any(row[i] for row in rows)]
    return [tuple(row[i] for i in kept) for row in (COLUMNS, *rows)]


def trial_rows(study: Study) -> list[tuple[str, ...]]:
    """One row a trial: contestant, hyperparameters, mean on validation, its seeds, how many diverged."""
    return [
        (name, settings(trial, study.trials(name)), number(trial.mean), " ".join(map(number, trial.values)), str(trial.diverged or ""))
        for name in study.contestants
        for trial in study.trials(name)
    ]


def settings(trial: Trial, among: list[Trial]) -> str:
    """The hyperparameters that differ between trials: `lr 0.00316`."""
    varied = [n for n, v in trial.hyperparameters.items() if len({t.hyperparameters[n] for t in among}) > 1]
    return ", ".join(f"{name} {trial.hyperparameters[name]:.3g}" for name in varied) or "as given"


def number(value: float) -> str:
    fixed = value == 0 or 5e-5 <= abs(value) < 1000
    return "-" if np.isnan(value) else f"{value:.4f}" if fixed else f"{value:.3e}"


def plus_minus(interval: Interval) -> str:
    """`mean ± half width`."""
    return number(interval.value) + ("" if np.isnan(interval.low) else f" ± {number(interval.high - interval.value)}")


def _row(result: Result, study: Study) -> tuple[str, ...]:
    lost = result.diverged_tuning + result.diverged_final
    diverged = f"{lost} of {result.tuning_runs + result.final_runs}" if lost else ""
    if result.chosen is None:
        return (result.contestant, "-", "-", "-", "-", diverged, "no trial without a diverged seed")
    notes = ["at the edge of its range"] if result.at_edge else []
    if result.diverged_final:
        notes.append(f"{result.diverged_final} of {result.final_runs} fresh seeds diverged")
    behind = "leader" if result.behind is None else plus_minus(result.behind)
    chosen = settings(result.chosen, study.trials(result.contestant))
    return (result.contestant, chosen, number(result.chosen.mean), plus_minus(result.mean), behind, diverged, "; ".join(notes))


def table(study: Study) -> Any:
    """The results as a `rich` table, the headline above, notes and what the columns mean below."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    head, *rows = result_rows(study)
    width = len(head) - (head[-1] == "note")
    notes = [f"{row[0]}: {row[-1]}." for row in rows if width < len(row) and row[-1]]
    caption = Text("\n".join([*notes, caption_text(study)]))
    shown = Table(
        title=Text(study.headline(), "bold"), title_justify="left", caption=caption, caption_justify="left",
        box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0),
    )  # fmt: skip
    for name in head[:width]:
        shown.add_column(name, justify="left" if name == "optimizer" else "right")
    for row in rows:
        shown.add_row(*map(Text, row[:width]))  # Text: a name is no markup
    return shown


def caption_text(study: Study) -> str:
    """What was measured, in two sentences."""
    plan, task = study.manifest["plan"], study.task
    return (
        f"{task['objective']} on {task['name']}: chosen on validation among {plan['trials']} rates with {plan['seeds']} seeds, "
        f"then judged on test with {plan['final_seeds']} fresh seeds. "
        "Mean ± 95 % confidence interval (Student's t); behind the leader: paired by seed, all intervals holding "
        "together at 95 %; one that holds 0 is no evidence of a difference."
    )
