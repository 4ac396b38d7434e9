"""Figures of a study or a run as files, drawn by matplotlib from records alone."""

import io
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fdl.compare import RunRecord
from fdl.report import _data as data
from fdl.report._findings import Findings, Scale

# Mostly Okabe and Ito's, which tell apart with any colour vision; the second line is for dark paper.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#7c4dd6", "#2f9bd0", "#6f6f6f", "#a6402a", "#4f7a28")
DARK_COLOURS = ("#4aa8e8", "#ff8a3d", "#2ecc9b", "#e79cc6", "#e6b93c", "#a98bff", "#7fd0ff", "#a8a8a8", "#e58a76", "#9ccc65")
DASHES = ("-", "--", ":", "-.")
PAPER, INK, FAINT = "#ffffff", "#1f2328", "#d8dee4"


def final(findings: Findings) -> Any:
    """Test objective of every fresh seed, with each contestant's mean and its 95 % interval: the answer."""
    results = [r for r in findings.results if r.test][::-1]
    scale, looks, drawn = data.final_scale([findings]), _looks(findings), []
    figure, (axes,) = _axes(1, 1, (7.2, 0.9 + 0.42 * max(len(results), 2)))
    for y, result in enumerate(results):
        values, colour = np.array(list(result.test.values())), looks[result.contestant]["color"]
        axes.plot(scale(result.with_tuning[1:]), [y, y], color=colour, linewidth=1, alpha=0.7)
        drawn.append(scale([*values, *(end for end in result.mean if np.isfinite(end))]))
        axes.scatter(scale(values), y + data.spread(values), s=16, color=colour, alpha=0.45, linewidth=0)
        axes.plot(scale(result.mean[1:]), [y, y], color=colour, linewidth=2.6)
        axes.plot(scale(result.mean.value), y, "o", color=colour, markersize=7.5, markeredgecolor=PAPER)
    axes.set_yticks(range(len(results)), [_plain(r.contestant) for r in results], fontsize=10.5)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(-0.6, max(len(results), 1) - 0.4)
    axes.grid(axis="x", color=FAINT, linewidth=0.8)
    axes.spines["left"].set_visible(False)
    if scale.kind != "linear" and results:
        axes.set_xscale("log")
        _decades(axes.xaxis)
    if drawn:  # the interval with tuning may reach far: it must not press the seeds together
        axes.set_xlim(_padded(np.concatenate(drawn), scale.kind != "linear"))
    axes.set_xlabel(f"{_plain(scale.label('test'))}: each fresh seed, mean and 95 % interval; thin: with tuning")
    return figure


def sensitivity(findings: Findings) -> Any:
    """Validation error (or loss) against each searched hyperparameter, with the range of the tuning seeds."""
    searched = findings.hyperparameters
    columns = min(2, max(len(searched), 1))
    rows = -(-len(searched) // columns) or 1
    figure, panels = _axes(rows, columns, (7.2, 0.6 + (3.6 if columns == 1 else 2.8) * rows))
    for axes in panels[len(searched) :]:
        axes.set_visible(False)
    for axes, hyperparameter in zip(panels, searched):
        _sensitivity(axes, findings, hyperparameter)
    if searched:
        _legend(panels[0], findings)
    return figure


def budget(findings: Findings) -> Any:
    """Expected best validation objective after so many trials; diamonds are the defaults."""
    figure, (axes,) = _axes(1, 1, (7.2, 4.2))
    scale, looks = findings.scale("validation"), _looks(findings)
    for name, curve in findings.budget.items():
        axes.fill_between(curve.trials, scale(curve.low), scale(curve.high), color=looks[name]["color"], alpha=0.08, linewidth=0)
        axes.plot(curve.trials, scale(curve.value), linewidth=1.8, **looks[name])
        default = findings.defaults[name]
        if default is not None and default.values:
            axes.plot(0, scale(default.mean), "D", color=looks[name]["color"], markersize=6, markeredgecolor=PAPER, clip_on=False)
    _finish(axes, scale, "trials (bands: 95 %, for new trials; diamond: the defaults)", scale.label("best validation"))
    axes.xaxis.get_major_locator().set_params(integer=True)
    _legend(axes, findings)
    return figure


def curves(findings: Findings) -> Any:
    """The objective on validation of the fresh seeds while they train: one panel a contestant, the others' means behind it."""
    objective = findings.task["objective"]
    scale, looks = findings.scale("validation"), _looks(findings)
    final = {r.contestant: [run for run in findings.study.select("final", r.contestant) if not run.diverged] for r in findings.results}
    final = {name: runs for name, runs in final.items() if runs}
    columns = min(3, max(len(final), 1))
    rows = -(-len(final) // columns) or 1
    figure, panels = _axes(rows, columns, (7.2, 0.5 + 1.9 * rows), share=True)
    bands = {name: _band(runs, objective) for name, runs in final.items()}
    for axes in panels[len(final) :]:
        axes.set_visible(False)
    for axes, name in zip(panels, final):
        for other, (step, values) in bands.items():
            if other != name and len(final) <= len(COLOURS):  # many would be one grey cloud
                axes.plot(step, scale(values.mean(0)), color=INK, alpha=0.2, linewidth=0.7)
        step, values = bands[name]
        axes.fill_between(step, scale(values.min(0)), scale(values.max(0)), color=looks[name]["color"], alpha=0.25, linewidth=0)
        axes.plot(step, scale(values.mean(0)), color=looks[name]["color"], linewidth=1.8)
        axes.set_title(_plain(name, 28), fontsize=10, color=looks[name]["color"], loc="left", pad=3)
        _finish(axes, scale, "", "")
        axes.grid(color=FAINT, linewidth=0.5, alpha=0.6)
    figure.supxlabel("step (line: mean of the fresh seeds; band: their range; grey: the others)", fontsize=9.5, color=INK)
    figure.supylabel(_plain(scale.label("validation")), fontsize=9.5, color=INK)
    return figure


def profiles(findings: Findings) -> Any:
    """Share of the targets reached within so many times the steps of the fastest."""
    figure, (axes,) = _axes(1, 1, (7.2, 3.6))
    looks = _looks(findings)
    for name, share in findings.profiles["steps"].share.items():
        axes.step(findings.profiles["steps"].tau, share, where="post", linewidth=1.8, **looks[name])
    axes.set_ylim(-0.02, 1.02)
    axes.grid(color=FAINT, linewidth=0.8)
    axes.set_xlabel("times the steps of the fastest")
    axes.set_ylabel("share of the targets")
    _legend(axes, findings)
    return figure


def run_curves(measured: dict[tuple[str, str], list[tuple[int, float]]]) -> Any:
    """One run's curves: a panel a metric, a line a split."""
    metrics = list(dict.fromkeys(metric for split, metric in measured if split != "test"))
    figure, panels = _axes(1, len(metrics), (3.6 * len(metrics), 2.9))
    for axes, metric in zip(panels, metrics):
        splits = [split for split in ("train", "validation") if (split, metric) in measured]
        for split, colour in zip(splits, COLOURS):
            axes.plot(*zip(*measured[split, metric]), color=colour, linewidth=1.8, marker="o", markersize=2.5, label=split)
        axes.grid(color=FAINT, linewidth=0.8)
        axes.set_xlabel("step")
        axes.set_ylabel(metric)
        if not any(np.isfinite(value) for split in splits for _, value in measured[split, metric]):
            axes.text(0.5, 0.5, "not finite", transform=axes.transAxes, ha="center", color=INK)
        elif metric == "loss":
            axes.set_yscale("log")
        if splits:
            axes.legend(frameon=False, labelcolor=INK, fontsize=9, handlelength=1.2)
    return figure


def png(figure: Any, dpi: int = 180) -> bytes:
    """The figure as PNG, sharp on dense screens."""
    return _saved(figure, format="png", dpi=dpi)


def svg(figure: Any, dpi: int = 144) -> bytes:
    """The figure as SVG, whose text stays text; the same bytes for the same records. `dpi` is for what is rasterised."""
    import matplotlib

    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "fdl"}):
        return _saved(figure, format="svg", dpi=dpi, metadata={"Date": None})


FIGURES: dict[str, Callable[[Findings], Any]] = {
    "final": final, "sensitivity": sensitivity, "budget": budget, "curves": curves, "profiles": profiles,
}  # fmt: skip


def _sensitivity(axes: Any, findings: Findings, hyperparameter: str) -> None:
    scale, looks, tried, lost = findings.scale("validation"), _looks(findings), [], []
    known = data.options([findings], hyperparameter)
    place = lambda value: known.index(str(value)) if known else float(value)
    for (name, h), found in findings.sensitivity.items():
        if h != hyperparameter:
            continue
        x, colour = [place(value) for value in found.values], looks[name]["color"]
        tried += x
        if findings.profiled(name, h):
            axes.fill_between(x, scale(found.low), scale(found.high), color=colour, alpha=0.15, linewidth=0)
            axes.plot(x, scale(found.mean), linewidth=1.8, marker="o", markersize=3.5, **looks[name])
        else:
            axes.vlines(x, scale(found.low), scale(found.high), color=colour, linewidth=1, alpha=0.6)
            axes.plot(x, scale(found.mean), "o", color=colour, markersize=3.5)
        for trial, marker in ((findings.chosen[name], "o"), (findings.defaults[name], "D")):
            if trial is not None and h in trial.hyperparameters and trial.values:
                where = place(trial.hyperparameters[h]), scale(trial.mean)
                axes.plot(*where, marker, markersize=9 if marker == "o" else 6, markerfacecolor="none", markeredgecolor=colour)
        lost += [(at, int(n), colour) for at, n in zip(x, found.diverged) if n]
    axes.set_xscale("log" if not known and data.logarithmic(tried) and np.isfinite(axes.dataLim.minposx) else "linear")
    if known:
        axes.set_xticks(range(len(known)), [_plain(option, 16) for option in known])
    _finish(axes, scale, _plain(hyperparameter), scale.label("validation"))
    top = axes.get_ylim()[1]
    for at, count, colour in lost:
        axes.plot(at, top, "x", color=colour, markersize=7, markeredgewidth=1.8, clip_on=False, zorder=5)
        axes.annotate(str(count), (at, top), (5, -9), textcoords="offset points", fontsize=8, color=colour)


def _finish(axes: Any, scale: Scale, x: str, y: str) -> None:
    """Grid, labels and a logarithmic axis where the metric has one."""
    axes.grid(color=FAINT, linewidth=0.8)
    if scale.kind != "linear" and np.isfinite(axes.dataLim.minposy):  # matplotlib refuses a logarithmic axis for nothing
        axes.set_yscale("log")
        _decades(axes.yaxis)
    axes.set_xlabel(x)
    axes.set_ylabel(_plain(y))


def _decades(axis: Any) -> None:
    """Plain numbers at a logarithmic axis: 0.01, and between few decades 0.02 and 0.05 as well."""
    low, high = axis.get_view_interval()
    between = "25" if low > 0 and high < 300 * low else ""
    axis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:.0e}"[0] in between else "")


def _padded(values: np.ndarray, logarithmic: bool) -> tuple[float, float]:
    """The range of values with a margin of 4 %."""
    ends = np.array([values.min(), values.max()])
    ends = np.log(ends) if logarithmic else ends
    ends = ends + np.array([-1, 1]) * (0.04 * np.ptp(ends) or 0.01)
    return tuple(np.exp(ends) if logarithmic else ends)


def _axes(rows: int, columns: int, size: tuple[float, float], share: bool = False) -> tuple[Any, list[Any]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained", facecolor=PAPER)
    panels = list(figure.subplots(rows, columns, squeeze=False, sharex=share, sharey=share).flat)
    for axes in panels:
        axes.set_axisbelow(True)
        axes.tick_params(labelcolor=INK, labelsize=9, which="both", color=FAINT)
        for side, spine in axes.spines.items():
            spine.set_visible(side in ("left", "bottom"))
            spine.set_color(FAINT)
        for text in (axes.xaxis.label, axes.yaxis.label):
            text.set_color(INK)
            text.set_fontsize(9.5)
    return figure, panels


def _looks(findings: Findings) -> dict[str, dict[str, Any]]:
    """One colour and dash a contestant, the same in every figure."""
    names, n = findings.study.contestants, len(COLOURS)
    return {name: {"color": COLOURS[i % n], "linestyle": DASHES[i // n % len(DASHES)]} for i, name in enumerate(names)}


def _legend(axes: Any, findings: Findings) -> None:
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], linewidth=2.5, label=_plain(name, 28), **look) for name, look in _looks(findings).items()]
    if len(handles) <= len(COLOURS):
        axes.legend(handles=handles, frameon=False, labelcolor=INK, fontsize=9, handlelength=1.2)
    else:
        axes.figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False, labelcolor=INK, fontsize=7)


def _band(runs: Sequence[RunRecord], metric: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps [n] and values [runs, n]."""
    curves = [run.curves["validation", metric] for run in runs]
    return np.array([step for step, _ in curves[0]]), np.array([[value for _, value in curve] for curve in curves])


def _plain(text: str, length: int = 60) -> str:
    """A name as matplotlib can draw it: no mathematics, nothing that does not print, not too long."""
    shown = "".join(c if c.isprintable() else " " for c in text)
    return (shown if len(shown) <= length else shown[: length - 1] + "…").replace("$", r"\$")


def _saved(figure: Any, **options: Any) -> bytes:
    content = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # a name in a script that the font lacks
        figure.savefig(content, facecolor=PAPER, **options)
    return content.getvalue()
