"""A study's results in the terminal, for those without a browser."""

from typing import Any

import numpy as np

from fdl.compare import Interval, Study
from fdl.report._findings import Findings
from fdl.report._tables import notes, number, probability, settings


def table(study: Study) -> Any:
    """The results as a `rich` table that fits 80 columns: the headline above, notes and what the columns mean below."""
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    found = Findings(study)
    rows = [(r, settings(r.chosen, found.searched[r.contestant]), r.diverged_tuning + r.diverged_final) for r in found.results]
    said = [f"{r.contestant}: {'; '.join(notes(r))}." for r in found.results if notes(r)]
    shown = RichTable(
        title=Text(found.headline, "bold"), title_justify="left", caption_justify="left", width=79,
        caption=Text("\n".join([*said, summary(study)])), box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0),
    )  # fmt: skip
    p = {c.worse: probability(c.p_holm) for c in found.comparisons if c.better == found.results[0].contestant}
    for name in ("optimizer", "chosen", "test, 95 %", "behind leader", "p", *(["diverged"] if any(lost for *_, lost in rows) else [])):
        words = name in ("optimizer", "chosen")
        shown.add_column(name, justify="left" if words else "right", no_wrap=not words, overflow="fold")
    for r, chosen, lost in rows:
        behind = "-" if not r.test else "leader" if r.behind is None else plus_minus(r.behind)
        counted = f"{lost} of {r.tuning_runs + r.final_runs}" if lost else ""
        cells = (r.contestant, chosen, plus_minus(r.mean), behind, p.get(r.contestant, ""), counted)
        shown.add_row(*map(Text, cells[: len(shown.columns)]))  # Text: a name is no markup
    return shown


def summary(study: Study) -> str:
    """What was measured, in a few sentences."""
    plan, task = study.manifest["plan"], study.task
    return (
        f"{task['objective']} on {task['name']}: chosen on validation among {plan['trials']} trials "
        f"with {plan['seeds']} seed{'s' * (plan['seeds'] != 1)}, "
        f"then judged on test with {plan['final_seeds']} fresh seeds. "
        "Mean ± 95 % confidence interval (Student's t); behind the leader: paired by seed, all intervals holding "
        "together at 95 %; p: of that difference by flipping signs, Holm-corrected. Evidence is p of at most 0.05 and an "
        "interval above 0."
    )


def plus_minus(interval: Interval) -> str:
    """`mean ± half width`."""
    return number(interval.value) + ("" if np.isnan(interval.low) else f" ± {number(interval.high - interval.value)}")
