"""Figures of a study or a run, drawn by matplotlib from records alone."""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fdl.compare import RunRecord, Study

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#8b5cf6", "#56b4e9", "#7f7f7f")  # mostly Okabe and Ito's


@dataclass(frozen=True)
class Theme:
    """Colours of a figure's paper, text and faint lines."""

    paper: str
    ink: str
    faint: str


LIGHT = Theme("#ffffff", "#1f2328", "#d8dee4")
DARK = Theme("#0d1117", "#e6edf3", "#30363d")


def colours(study: Study) -> dict[str, str]:
    """One colour a contestant, the same in every figure."""
    return {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(study.contestants)}


def final(study: Study, theme: Theme = LIGHT) -> Any:
    """Test objective of every fresh seed, with each contestant's mean and 95 % interval: the answer."""
    results = [r for r in study.results() if r.test][::-1]
    figure, (axes,) = _axes(theme, 1, 1, (7.2, 0.9 + 0.42 * max(len(results), 2)))
    colour = colours(study)
    for y, result in enumerate(results):
        values = np.array(list(result.test.values()))
        axes.scatter(values, y + _spread(values), s=16, color=colour[result.contestant], alpha=0.45, linewidth=0)
        axes.errorbar(
            result.mean.value, y, xerr=[[result.mean.value - result.mean.low], [result.mean.high - result.mean.value]], fmt="o",
            color=colour[result.contestant], markersize=7, linewidth=2.2, capsize=0, markeredgecolor=theme.paper,
        )  # fmt: skip
    axes.set_yticks(range(len(results)), [r.contestant for r in results], fontsize=10.5)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(-0.6, len(results) - 0.4)
    axes.grid(axis="x", color=theme.faint, linewidth=0.8)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(f"test {study.task['objective']}: each fresh seed, their mean and its 95 % interval")
    return figure


def rates(study: Study, theme: Theme = LIGHT) -> Any:
    """Validation error (or loss) against the searched hyperparameter, with the range of the tuning seeds."""
    figure, (axes,) = _axes(theme, 1, 1, (7.2, 4.2))
    chosen = {result.contestant: result.chosen for result in study.results()}
    error, label = _as_error(study)
    lost = []
    for name, colour in colours(study).items():
        trials = study.trials(name)
        searched = next((n for n in trials[0].hyperparameters if len({t.hyperparameters[n] for t in trials}) > 1), None) if trials else None
        if searched is None:
            continue
        x = np.array([t.hyperparameters[searched] for t in trials])
        low, mean, high = (np.array([f(error(t.values)) if t.values else np.nan for t in trials]) for f in (np.min, np.mean, np.max))
        axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
        axes.plot(x, mean, color=colour, linewidth=1.8, marker="o", markersize=3.5)
        best = chosen[name]
        if best is not None:
            place = (best.hyperparameters[searched], np.mean(error(best.values)))
            axes.plot(*place, "o", markersize=10, markerfacecolor="none", markeredgecolor=colour, markeredgewidth=1.8)
        lost += [(t.hyperparameters[searched], t.diverged, colour) for t in trials if t.diverged]
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.grid(color=theme.faint, linewidth=0.8)
    top = axes.get_ylim()[1]
    for at, count, colour in lost:
        axes.plot(at, top, "x", color=colour, markersize=7, markeredgewidth=1.8, clip_on=False, zorder=5)
        axes.annotate(str(count), (at, top), (5, -9), textcoords="offset points", fontsize=8, color=colour)
    _legend(axes, list(colours(study).items()), theme)
    axes.set_xlabel("learning rate")
    axes.set_ylabel(label)
    return figure


def curves(study: Study, theme: Theme = LIGHT) -> Any:
    """Validation loss of the fresh seeds while they train: one panel a contestant, the others' means behind it."""
    names = [r.contestant for r in study.results() if r.test]
    columns = min(3, max(len(names), 1))
    rows = -(-len(names) // columns) or 1
    figure, panels = _axes(theme, rows, columns, (7.2, 0.5 + 1.9 * rows), share=True)
    colour = colours(study)
    bands = {name: _band([run for run in study.select("final", name) if not run.diverged]) for name in names}
    for axes in panels[len(names) :]:
        axes.set_visible(False)
    for axes, name in zip(panels, names):
        for other, (step, _, mean, _) in bands.items():
            if other != name:
                axes.plot(step, mean, color=theme.ink, alpha=0.25, linewidth=0.8)
        step, low, mean, high = bands[name]
        axes.fill_between(step, low, high, color=colour[name], alpha=0.25, linewidth=0)
        axes.plot(step, mean, color=colour[name], linewidth=1.8)
        axes.set_title(name, fontsize=10, color=colour[name], loc="left", pad=3)
        axes.set_yscale("log")
        axes.grid(color=theme.faint, linewidth=0.5, alpha=0.6)
    figure.supxlabel("step (line: mean of the fresh seeds; band: their range; grey: the other optimizers)", fontsize=9.5, color=theme.ink)
    figure.supylabel("validation loss", fontsize=9.5, color=theme.ink)
    return figure


def run_curves(measured: dict[tuple[str, str], list[tuple[int, float]]], theme: Theme = LIGHT) -> Any:
    """One run's curves: a panel a metric, a line a split."""
    metrics = list(dict.fromkeys(metric for split, metric in measured if split != "test"))
    figure, panels = _axes(theme, 1, len(metrics), (3.6 * len(metrics), 2.9))
    for axes, metric in zip(panels, metrics):
        lines = [(split, COLOURS[i]) for i, split in enumerate(("train", "validation")) if (split, metric) in measured]
        for split, colour in lines:
            axes.plot(*zip(*measured[split, metric]), color=colour, linewidth=1.8, marker="o", markersize=2.5)
        axes.grid(color=theme.faint, linewidth=0.8)
        axes.set_xlabel("step")
        axes.set_ylabel(metric)
        if not any(np.isfinite(value) for split, _ in lines for _, value in measured[split, metric]):
            axes.text(0.5, 0.5, "not finite", transform=axes.transAxes, ha="center", color=theme.ink)
        elif metric == "loss":
            axes.set_yscale("log")
        _legend(axes, lines, theme)
    return figure


def png(figure: Any) -> bytes:
    """The figure as PNG, sharp on dense screens."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=180, facecolor=figure.get_facecolor())
    return content.getvalue()


FIGURES: dict[str, Callable[[Study, Theme], Any]] = {"final": final, "rates": rates, "curves": curves}


def _as_error(study: Study) -> tuple[Callable[[Sequence[float]], np.ndarray], str]:
    """What to draw on a logarithmic axis, less being better: a loss as it is, a share such as accuracy as 1 - share."""
    objective, least = study.task["objective"], 0.5 / study.task["examples"]["validation"]
    if not study.task["maximise"]:
        return np.asarray, f"validation {objective}"
    return lambda values: np.maximum(1 - np.asarray(values), least), f"validation error, 1 - {objective}"


def _axes(theme: Theme, rows: int, columns: int, size: tuple[float, float], share: bool = False) -> tuple[Any, list[Any]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained", facecolor=theme.paper)
    panels = list(figure.subplots(rows, columns, squeeze=False, sharex=share, sharey=share).flat)
    for axes in panels:
        axes.set_facecolor(theme.paper)
        axes.set_axisbelow(True)
        axes.tick_params(colors=theme.ink, labelsize=9, which="both", color=theme.faint)
        for side, spine in axes.spines.items():
            spine.set_visible(side in ("left", "bottom"))
            spine.set_color(theme.faint)
        for text in (axes.xaxis.label, axes.yaxis.label):
            text.set_color(theme.ink)
            text.set_fontsize(9.5)
    return figure, panels


def _legend(axes: Any, lines: list[tuple[str, str]], theme: Theme) -> None:
    from matplotlib.lines import Line2D

    if lines:
        handles = [Line2D([], [], color=colour, linewidth=2.5, label=name) for name, colour in lines]
        axes.legend(handles=handles, frameon=False, labelcolor=theme.ink, fontsize=9, handlelength=1.2)


def _band(runs: list[RunRecord]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    curves = [run.curves["validation", "loss"] for run in runs]
    values = np.array([[value for _, value in curve] for curve in curves])
    return np.array([step for step, _ in curves[0]]), values.min(0), values.mean(0), values.max(0)


def _spread(values: np.ndarray) -> np.ndarray:
    """Small vertical offsets that keep equal values apart."""
    offset = np.zeros(len(values))
    seen: dict[float, int] = {}
    for i, value in enumerate(np.round(values, 6)):
        n = seen[value] = seen.get(value, -1) + 1
        offset[i] = (n + 1) // 2 * (0.1 if n % 2 else -0.1)
    return offset
