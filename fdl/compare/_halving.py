"""Successive halving: which trials of a contestant go on at a rung.

Jamieson & Talwalkar 2016, "Non-stochastic best arm identification and hyperparameter optimization". Every contestant has
the same rungs, so budgets stay equal, but trials are judged before their end: what starts fast is favoured, and so are
rates that would not hold to the end of a schedule.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fdl.compare._plan import Job, Plan
from fdl.compare._store import RunRecord


def eliminated(plan: Plan, step: int, known: Mapping[Any, RunRecord]) -> list[Job]:
    """The tuning jobs whose trials do not go on after a rung at `step`.

    Args:
        known: records by job, of runs that ended and of those paused at `step`.
    """
    lost, tuning = [], [job for job in plan.tune() if job.phase == "tune"]
    for name in plan.contestants:
        keep = dict(plan.rungs(name)).get(step)
        if keep is None:
            continue
        jobs, runs = [job for job in tuning if job.contestant == name], dict[int, list[RunRecord]]()
        for job in jobs:
            record = known.get(job.id)
            if record and (record.stopped_at or step) >= step:
                runs.setdefault(job.trial, []).append(record)
        kept = survivors(runs, step, keep, plan.task.objective, plan.task.maximise)
        lost += [job for job in jobs if job.trial not in kept]
    return lost


def survivors(runs: Mapping[int, Sequence[RunRecord]], step: int, keep: int, objective: str, maximise: bool) -> set[int]:
    """The `keep` trials with the best mean validation objective at `step`; one with a diverged seed comes after all others.

    Args:
        runs: each trial's tuning runs, trained to `step` at least.
    """

    def badness(trial: int) -> tuple[bool, float, int]:
        values = [dict(run.curves["validation", objective]).get(step, np.nan) for run in runs[trial]]
        lost = any(run.diverged_at is not None and run.diverged_at <= step for run in runs[trial]) or not np.isfinite(values).all()
        return lost, 0.0 if lost else float(np.mean(values)) * (-1 if maximise else 1), trial

    return set(sorted(runs, key=badness)[:keep])
