"""Trajectories of optimizers through a landscape of two numbers: a figure and an animation, from a study's records."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import jax
import numpy as np

from fdl.compare import RunRecord, Study
from fdl.core import FdlError, fold
from fdl.core._io import writable_folder, write_bytes
from fdl.report import _figures as figures
from fdl.tasks import Landscape, landscapes

TICKS = "#8c959f"
GROUND = ("#8fa9c4", "#f6f8fa")  # the lowest and the highest places
LEAST = 1e-12  # a loss below it is drawn there: float32 resolves no less, and 0 has no logarithm
SECONDS, HELD = 10.0, 0.15  # an animation's length, and the share of it for which its end is held


@dataclass(frozen=True, eq=False)
class Track:
    """One contestant's chosen trial with its fresh seeds: `paths` and `curves` are `[evaluations + 1, 2]`, the start first."""

    contestant: str
    colour: str
    hyperparameters: str
    runs: Sequence[RunRecord]
    paths: Sequence[np.ndarray]
    """Places `(x, y)`; where a run diverged, it stays."""
    curves: Sequence[np.ndarray]
    """Pairs `(step, loss)`, likewise."""

    @property
    def losses(self) -> np.ndarray:
        """Every seed's loss at the end of its run; infinite where it diverged."""
        return np.array([np.inf if run.diverged else run.last("validation", "loss") for run in self.runs])


def write_landscape(study: Study, landscape: Landscape | None = None) -> list[Path]:
    """Writes `figures/trajectories.png` and `figures/trajectories.svg`, an animation, into the study's folder.

    Args:
        study: of a landscape's task; nothing is trained again, the records hold every step.
        landscape: what the study is of; by default the one whose name its task has.

    Returns:
        The files' paths.

    Raises:
        FdlError: for a study of anything else, or in which no trial was chosen.
    """
    land = landscape or landscapes.get(study.task["name"])
    tracks = [] if land is None else _tracks(study, land)
    if land is None or not tracks:
        found = f"a study of {study.task['name']}" + (" without a chosen trial" if land else "")
        raise FdlError("landscape", found, "a study of one of " + ", ".join(landscapes), "For a landscape of your own, pass it as well.")
    folder = writable_folder(study.folder / "figures")
    content = {"trajectories.png": figures.png(trajectories(land, tracks)), "trajectories.svg": animation(land, tracks)}
    for name, image in content.items():
        write_bytes(folder / name, image)
    return [folder / name for name in content]


def trajectories(land: Landscape, tracks: Sequence[Track]) -> Any:
    """A panel a contestant, best first: every fresh seed's trajectory, the first seed's in bold."""
    from matplotlib.figure import Figure

    columns = min(3, len(tracks))
    rows = -(-len(tracks) // columns)
    figure = Figure(figsize=(0.4 + 3.1 * columns, 0.5 + 3.1 * rows), layout="constrained", facecolor=figures.PAPER)
    panels = list(figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).flat)
    for axes in panels[len(tracks) :]:
        axes.set_visible(False)
    for axes, track in zip(panels, tracks):
        _ground(axes, land)
        for path in track.paths[:0:-1]:
            axes.plot(*path.T, color=track.colour, linewidth=0.8, alpha=0.45)
            axes.plot(*path[-1], "o", color=track.colour, markersize=3, alpha=0.7, markeredgewidth=0)
        _bold(axes, track)
        axes.set_title(figures._plain(track.contestant), loc="left", color=track.colour, fontsize=11, fontweight="bold", pad=17)
        axes.annotate(_caption(track), (0, 1), (0, 5), "axes fraction", "offset points", fontsize=8, color=figures.INK)
    legend = f"{land.name}: each fresh seed's trajectory (bold: the first), its start (ring) and end (dot); stars: the minima"
    figure.supxlabel(legend, fontsize=9, color=figures.INK)
    return figure


def animation(land: Landscape, tracks: Sequence[Track]) -> bytes:
    """The first fresh seed of every contestant, all at the same step, with their losses: an SVG that plays without a script.

    What does not play it shows the end.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.6, 4.3), dpi=72, layout="constrained", facecolor=figures.PAPER)
    ground, curve = figure.subplots(1, 2, width_ratios=(1.15, 1))
    _ground(ground, land)
    ground.plot(*tracks[0].paths[0][0], "o", markersize=8, markerfacecolor=figures.PAPER, markeredgecolor=figures.INK, markeredgewidth=1.2)
    ground.set_title(land.name, loc="left", fontsize=11, fontweight="bold", color=figures.INK)
    lines = [np.column_stack([track.curves[0][:, 0], np.maximum(track.curves[0][:, 1], LEAST)]) for track in tracks]
    for line in lines:
        curve.plot(*line.T, alpha=0)
    curve.set_yscale("log")
    curve.set_xlabel("step", fontsize=9, color=figures.INK)
    curve.set_title(f"loss, seed {tracks[0].runs[0].seed} (less than {LEAST:g} shown as that)", loc="left", fontsize=9, color=figures.INK)
    curve.grid(color=figures.FAINT, linewidth=0.8)
    curve.tick_params(labelsize=8, colors=figures.INK, color=TICKS, which="both")
    for side, spine in curve.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(TICKS)
    figure.draw_without_rendering()
    _end_labels(curve, tracks, [line[-1, 1] for line in lines])
    still = figures.svg(figure)
    moving = [_panel(ground, [track.paths[0] for track in tracks], tracks, 2.0), _panel(curve, lines, tracks, 1.5)]
    return still.replace(b"</svg>", "\n".join([*moving, "</svg>"]).encode())


def _tracks(study: Study, land: Landscape) -> list[Track]:
    """Each contestant's fresh runs, the least median loss first."""
    tracks = []
    for i, name in enumerate(study.contestants):
        runs = sorted(study.select("final", name), key=lambda run: run.seed)
        if not runs or ("validation", "x") not in runs[0].curves:
            continue
        tuned = [run.hyperparameters for run in study.select("tune", name)]
        varied = {k: v for k, v in runs[0].hyperparameters.items() if len({other.get(k) for other in tuned}) > 1}
        settings = ", ".join(f"{k} {v if isinstance(v, str) else format(v, '.3g')}" for k, v in varied.items())
        paths, curves = zip(*(_from_start(run, land) for run in runs))
        tracks.append(Track(name, figures.COLOURS[i % len(figures.COLOURS)], settings, runs, paths, curves))
    return sorted(tracks, key=lambda track: np.median(track.losses))


def _from_start(run: RunRecord, land: Landscape) -> tuple[np.ndarray, np.ndarray]:
    """A run's places and losses, before the first step too."""
    start = np.asarray(land.begin(fold(jax.random.key(run.seed), "init")))  # as `train.start` has it
    steps, loss = zip(*run.curves["validation", "loss"])
    x, y = ([value for _, value in run.curves["validation", name]] for name in ("x", "y"))
    path = np.vstack([start, np.column_stack([x, y])])
    losses = np.array([float(land.function(*start)), *loss])
    finite = np.isfinite(path).all(1) & np.isfinite(losses)
    last = np.maximum.accumulate(np.where(finite, np.arange(len(path)), 0))  # the last finite place up to each
    return path[last], np.column_stack([[0, *steps], losses[last]])


def _caption(track: Track) -> str:
    lost = sum(run.diverged for run in track.runs)
    return ", ".join(filter(None, [track.hyperparameters, f"median loss {np.median(track.losses):.2g}", f"{lost} diverged" * bool(lost)]))


def _ground(axes: Any, land: Landscape) -> None:
    """Contours at logarithmic levels, pale, with the minima as stars."""
    from matplotlib.colors import LinearSegmentedColormap

    (left, right), (bottom, top) = land.domain
    x, y = np.meshgrid(np.linspace(left, right, 400), np.linspace(bottom, top, 400))
    height = np.maximum(np.asarray(land.function(x, y), np.float64), 0)
    low, high = np.quantile(height, 0.004), height.max()
    levels = np.geomspace(max(low, high * 1e-6), high, 13)
    colours = LinearSegmentedColormap.from_list("ground", GROUND)(np.linspace(0, 1, len(levels)))
    axes.contourf(x, y, height, [0, *levels], colors=colours).set_rasterized(True)
    axes.contour(x, y, height, levels, colors="white", linewidths=0.6).set_rasterized(True)
    for minimum in land.minima:
        axes.plot(*minimum, "*", markersize=13, color="white", markeredgecolor=figures.INK, markeredgewidth=0.9, zorder=4, clip_on=False)
    axes.set(xlim=land.domain[0], ylim=land.domain[1])
    axes.tick_params(labelsize=8, colors=figures.INK, color=TICKS)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _bold(axes: Any, track: Track) -> None:
    path = track.paths[0]
    axes.plot(*path.T, color="white", linewidth=3.2, alpha=0.8, solid_joinstyle="round")
    axes.plot(*path.T, color=track.colour, linewidth=1.7, solid_joinstyle="round")
    axes.plot(*path[0], "o", markersize=6.5, markerfacecolor=figures.PAPER, markeredgecolor=track.colour, markeredgewidth=1.6, zorder=5)
    axes.plot(*path[-1], "o", markersize=6.5, color=track.colour, markeredgecolor="white", markeredgewidth=1, zorder=6)


def _end_labels(axes: Any, tracks: Sequence[Track], values: Sequence[float]) -> None:
    """Each contestant's name beside the end of its line, pushed apart where they would overlap."""
    places = axes.transAxes.inverted().transform(axes.transData.transform([(0, value) for value in values]))[:, 1]
    gap, order = 0.052, np.argsort(places)
    apart = places[order]
    for _ in range(100):  # neighbours that are too near give way by half each
        for i in range(len(apart) - 1):
            push = max(gap - (apart[i + 1] - apart[i]), 0) / 2
            apart[i] -= push
            apart[i + 1] += push
    for i, place in zip(order, apart):
        name, colour = figures._plain(tracks[i].contestant, 20), tracks[i].colour
        axes.text(1.03, place, name, transform=axes.transAxes, color=colour, fontsize=9.5, va="center")


def _panel(axes: Any, lines: Sequence[np.ndarray], tracks: Sequence[Track], width: float) -> str:
    """Lines that grow step by step and dots at their ends, as SVG in the coordinates of the figure."""
    left, bottom, right, top = axes.get_window_extent().extents
    height = axes.figure.bbox.height
    name = f"window-{left:.0f}"
    frame = f'x="{left:.1f}" y="{height - top:.1f}" width="{right - left:.1f}" height="{top - bottom:.1f}"'
    parts = [f'<clipPath id="{name}"><rect {frame}/></clipPath>', f'<g clip-path="url(#{name})">']
    for track, line in reversed([*zip(tracks, lines)]):
        points = axes.transData.transform(line) * [1, -1] + [0, height]
        points = np.clip(points, -4 * height, 5 * height)
        lengths = np.append(0, np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1)))
        held = round(HELD / (1 - HELD) * len(points))

        def animate(attribute: str, values: np.ndarray) -> str:
            listed = ";".join(f"{value:.1f}" for value in np.append(values, values[-1:].repeat(held)))  # noqa: B023
            return f'<animate attributeName="{attribute}" values="{listed}" dur="{SECONDS:g}s" repeatCount="indefinite"/>'

        drawn = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts += [
            f'<polyline points="{drawn}" fill="none" stroke="{track.colour}" stroke-width="{width}" stroke-linejoin="round" '
            f'stroke-dasharray="{lengths[-1]:.1f}" aria-label={quoteattr(figures._plain(track.contestant))}>'
            f'{animate("stroke-dashoffset", lengths[-1] - lengths)}</polyline>',
            f'<circle cx="{points[-1, 0]:.1f}" cy="{points[-1, 1]:.1f}" r="4" fill="{track.colour}" stroke="white">'
            f'{animate("cx", points[:, 0])}{animate("cy", points[:, 1])}</circle>',
        ]  # fmt: skip
    return "\n".join([*parts, "</g>"])
