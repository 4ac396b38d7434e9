"""What the page's script draws: axes and series as JSON values.

A figure is `{"x": axis, "y": axis, "series": [...]}`, an axis `{"label", "scale", "floor", "names"}`. A series has points
`x`, `y`, the ends `low`, `high` of its band, its contestant `c` and study `s` as places in the lists of names, how it is
drawn (`line`, `mark`) and a note for each point or one for all.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any, get_args

import numpy as np

from fdl.compare import Axis, RunRecord
from fdl.report._findings import Findings, Scale
from fdl.report._tables import number, setting

RUNS, POINTS = 900, 50_000  # more would weigh megabytes and blur into each other
SHOWN = 10  # contestants that are switched on at first
PHASES = {"final": "fresh seeds", "tune": "tuning", "default": "defaults"}
SPLITS = ("validation", "train")

Figure = dict[str, Any]


def figures(studies: Sequence[Findings]) -> dict[str, Any]:
    """Everything that the page draws, of one study or several on common axes."""
    made: dict[str, Any] = {
        "contestants": contestants(studies),
        "studies": [f.label for f in studies],
        "off": hidden(studies),
        "figures": {"final": final(studies), "budget": budget(studies)},
        "curves": curves(studies),
    }
    for i, hyperparameter in enumerate(hyperparameters(studies)):
        made["figures"][f"sensitivity{i}"] = sensitivity(studies, hyperparameter)
    if len(studies) == 1 and studies[0].targets:
        made["figures"]["profiles"] = profiles(studies[0])
    return _finite(made)


def contestants(studies: Sequence[Findings]) -> list[str]:
    return list(dict.fromkeys(name for findings in studies for name in findings.study.contestants))


def hidden(studies: Sequence[Findings]) -> list[str]:
    """The keys of contestants that are switched off at first: all but the ten best of each study, where they are more."""
    shown = {r.contestant for findings in studies for r in findings.results[:SHOWN]}
    return [f"c{i}" for i, name in enumerate(contestants(studies)) if name not in shown]


def hyperparameters(studies: Sequence[Findings]) -> list[str]:
    return list(dict.fromkeys(h for findings in studies for h in findings.hyperparameters))


def final_scale(studies: Sequence[Findings]) -> Scale:
    """Linear, unless the means lie more than a decade and a half apart."""
    scale = studies[0].scale("test")
    means = [scale(r.mean.value) for findings in studies for r in findings.results if r.test]
    far = scale.kind != "linear" and len(means) > 1 and max(means) > 30 * min(means) > 0
    return scale if far else Scale(scale.metric, "linear")


def ranked(studies: Sequence[Findings]) -> list[tuple[int, str]]:
    """The rows of the final figure: contestants in the first study's order, each with its studies."""
    order = list(dict.fromkeys(r.contestant for findings in studies for r in findings.results))
    return [(s, name) for name in order for s, f in enumerate(studies) if any(r.contestant == name and r.test for r in f.results)]


def spread(values: np.ndarray) -> np.ndarray:
    """Small vertical offsets that keep equal values apart."""
    offset, seen = np.zeros(len(values)), dict[str, int]()
    for i, value in enumerate(f"{value:.6g}" for value in values):
        n = seen[value] = seen.get(value, -1) + 1
        offset[i] = (n + 1) // 2 * (0.1 if n % 2 else -0.1)
    return np.clip(offset, -0.4, 0.4)


def final(studies: Sequence[Findings]) -> Figure:
    """Test objective of every fresh seed, means, and both intervals."""
    names, rows, series = contestants(studies), ranked(studies), []
    for row, (s, name) in enumerate(rows):
        result = next(r for r in studies[s].results if r.contestant == name)
        own = {"c": names.index(name), "s": s}
        seeds, values = list(result.test), np.array(list(result.test.values()))
        mean, wide = result.mean, result.with_tuning
        said = f"mean {number(mean.value)}, 95 % interval {number(mean.low)} to {number(mean.high)}"
        lucky = f"with tuning {number(wide.low)} to {number(wide.high)}"
        series += [
            {**own, "x": [wide.low, wide.high], "y": [row, row], "line": "thin", "quiet": True, "loose": True},
            {**own, "x": values, "y": row + spread(values), "mark": "dot", "notes": [f"seed {seed}" for seed in seeds]},
            {**own, "x": [mean.low, mean.high], "y": [row, row], "line": "thick", "quiet": True},
            {**own, "x": [mean.value], "y": [row], "mark": "mean", "note": f"{said}\n{lucky}"},
        ]
    several = len(studies) > 1
    labels = [f"{name} · {studies[s].label}" if several else name for s, name in rows]
    scale = final_scale(studies)
    return {"x": _axis(scale, "test"), "y": {"names": labels}, "series": series}


def sensitivity(studies: Sequence[Findings], hyperparameter: str) -> Figure:
    """Validation objective against one hyperparameter, with the band of the tuning seeds."""
    names, series = contestants(studies), []
    known, tried = options(studies, hyperparameter), []
    place = lambda value: known.index(str(value)) if known else value
    for s, findings in enumerate(studies):
        for (name, h), found in findings.sensitivity.items():
            if h != hyperparameter:
                continue
            own, x = {"c": names.index(name), "s": s}, [place(value) for value in found.values]
            tried += x
            line = {"line": "mean"} if findings.profiled(name, h) else {}
            note = "mean of the tuning seeds" + ("" if len(findings.searched[name]) == 1 else ", best trial at this value")
            series.append({
                **own, **line, "x": x, "y": found.mean, "low": found.low, "high": found.high,
                "mark": "dot", "note": note, "between": "seeds",
            })  # fmt: skip
            lost = [(at, int(n)) for at, n in zip(x, found.diverged) if n]
            if lost:
                counts = [f"{n} diverged" for _, n in lost]
                series.append({**own, "x": [at for at, _ in lost], "y": "top", "mark": "cross", "notes": counts})
            for trial, mark in ((findings.chosen[name], "ring"), (findings.defaults[name], "diamond")):
                if trial is not None and h in trial.hyperparameters and trial.values:
                    what = "chosen" if mark == "ring" else "default hyperparameters"
                    here = {"x": [place(trial.hyperparameters[h])], "y": [trial.mean]}
                    series.append({**own, **here, "mark": mark, "note": f"{what}, mean of the tuning seeds"})
    x_axis: dict[str, Any] = {"label": hyperparameter, "scale": "log" if not known and logarithmic(tried) else "linear"}
    if known:
        x_axis["names"] = known
    return {"x": x_axis, "y": _axis(studies[0].scale("validation"), "validation"), "series": series}


def logarithmic(values: Sequence[float]) -> bool:
    """Whether positive values span so much that they were surely meant on a logarithmic scale."""
    return bool(values) and min(values) > 0 and max(values) >= 30 * min(values)


def budget(studies: Sequence[Findings]) -> Figure:
    """Expected best objective on validation after so many trials, and what the defaults reach without any."""
    names, series = contestants(studies), []
    for s, findings in enumerate(studies):
        for name, curve in findings.budget.items():
            own = {"c": names.index(name), "s": s}
            series.append({
                **own, "x": curve.trials, "y": curve.value, "low": curve.low, "high": curve.high,
                "line": "mean", "band": "edged", "note": "expected best", "between": "95 % band",
            })  # fmt: skip
            default = findings.defaults[name]
            if default is not None and default.values:
                series.append({**own, "x": [0], "y": [default.mean], "mark": "diamond", "note": "default hyperparameters, untuned"})
    scale = studies[0].scale("validation")
    return {"x": {"label": "trials", "scale": "linear", "whole": True}, "y": _axis(scale, "best validation"), "series": series}


def profiles(findings: Findings) -> Figure:
    """Share of the targets that a contestant reaches within `tau` times the steps of the fastest."""
    names, found = contestants([findings]), findings.profiles["steps"]
    series = [
        {"c": names.index(name), "s": 0, "x": found.tau, "y": share, "line": "mean", "step": True, "note": f"score {found.score[name]:.3f}"}
        for name, share in found.share.items()
    ]
    x = {"label": "times the steps of the fastest", "scale": "linear"}
    return {"x": x, "y": {"label": "share of the targets", "scale": "linear", "range": [-0.02, 1.02]}, "series": series, "height": 300}


def curves(studies: Sequence[Findings]) -> dict[str, Any]:
    """Every run's curves, thinned where they are too many; what was left out is said in `thinned`."""
    names = contestants(studies)
    everything = [(s, run) for s, findings in enumerate(studies) for run in findings.study.runs]
    kept = _fewer(studies, everything)
    keys = list(dict.fromkeys(key for _, run in kept for key in run.curves if key[0] in SPLITS))
    objective = studies[0].task["objective"]
    keys.sort(key=lambda key: (SPLITS.index(key[0]), key[1] != objective, key[1]))
    limit = max(8, POINTS // max(len(kept) * len(keys), 1))
    grids: dict[tuple[int, ...], int] = {}
    runs, longest = [], 0
    for s, run in kept:
        found = studies[s]
        drawn = []
        for key in keys:
            curve = run.curves.get(key, [])
            longest = max(longest, len(curve))
            curve = (
                [curve[i] for i in np.unique(np.linspace(0, len(curve) - 1, min(limit, len(curve))).round().astype(int))] if curve else []
            )
            grid = grids.setdefault(tuple(step for step, _ in curve), len(grids))
            drawn.append([grid, [_short(value, 4) for _, value in curve]])
        varied = found.searched[run.contestant]
        values = ", ".join(f"{h} {setting(run.hyperparameters[h])}" for h in varied if h in run.hyperparameters)
        ended = f", diverged at step {run.diverged_at}" if run.diverged else ""
        note = f"{PHASES.get(run.phase, run.phase)}, trial {run.trial}, seed {run.seed}{ended}"
        runs.append({
            "c": names.index(run.contestant), "s": s, "phase": run.phase,
            "note": note if run.phase != "default" else note.replace(f"trial {run.trial}, ", ""), "h": values, "curves": drawn,
        })  # fmt: skip
    thinned = []
    if len(kept) < len(everything):
        thinned.append(f"{len(kept):,} of {len(everything):,} runs are drawn: every final run first, then tuning runs at even distances")
    if longest > limit:
        thinned.append(f"each at {limit} of its {longest:,} evaluations")
    axes = [a for a in get_args(Axis) if any(f.study.per_step(n, a) for f in studies for n in f.study.contestants)]
    return {
        "runs": runs,
        "grids": list(grids),
        "metrics": [{"key": " ".join(key), **_axis(studies[0].scale(*key), key[0])} for key in keys],
        "axes": axes,
        "per_step": [[[f.study.per_step(name, axis) for axis in axes] for name in names] for f in studies],
        "phases": [phase for phase in PHASES if any(run.phase == phase for _, run in kept)],
        "thinned": "; ".join(thinned) + "." if thinned else "",
    }


def _fewer(studies: Sequence[Findings], runs: list[tuple[int, RunRecord]]) -> list[tuple[int, RunRecord]]:
    """At most `RUNS` of the runs: the fresh seeds', the defaults', the chosen trials', and others at even distances."""
    if len(runs) <= RUNS:
        return runs

    def rank(entry: tuple[int, RunRecord]) -> int:
        s, run = entry
        chosen = studies[s].chosen[run.contestant]
        own = run.phase == "tune" and chosen is not None and run.trial == chosen.trial
        return 0 if run.phase == "final" else 1 if run.phase == "default" else 2 if own else 3

    kept: list[tuple[int, RunRecord]] = []
    for place in range(4):
        group = [entry for entry in runs if rank(entry) == place]
        room = RUNS - len(kept)
        kept += group if len(group) <= room else [group[i] for i in np.linspace(0, len(group) - 1, room).astype(int)]
    return kept


def _axis(scale: Scale, split: str) -> dict[str, Any]:
    return {"label": scale.label(split), "value": f"{split} {scale.metric}", "scale": scale.kind, "floor": scale.floor}


def options(studies: Sequence[Findings], hyperparameter: str) -> list[str]:
    """A hyperparameter's values where they are names, the defaults' among them."""
    values = [v for f in studies for (_, h), found in f.sensitivity.items() if h == hyperparameter for v in found.values]
    defaults = [
        t.hyperparameters[hyperparameter] for f in studies for t in f.defaults.values() if t and hyperparameter in t.hyperparameters
    ]
    return list(dict.fromkeys(map(str, [*values, *defaults]))) if any(isinstance(v, str) for v in values) else []


def _finite(value: Any) -> Any:
    """`value` as JSON can hold it: short numbers, None where they are not finite."""
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, np.ndarray):
        return [_short(v) for v in value.tolist()]
    if isinstance(value, float):
        return _short(value)
    return [_finite(v) for v in value] if isinstance(value, Iterable) and not isinstance(value, str) else value


def _short(value: float, digits: int = 5) -> float | int | None:
    if not math.isfinite(value):
        return None
    short = float(f"{value:.{digits}g}")
    return int(short) if short == int(short) and abs(short) < 1e15 else short
