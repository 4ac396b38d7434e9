"""A study's report: one HTML page without any outside resource, and its figures as files."""

import base64
from pathlib import Path
from typing import Any

from fdl.compare import Study
from fdl.core._io import writable_folder, write_bytes
from fdl.report import _figures as figures
from fdl.report import _tables as tables
from fdl.train import Fit

CAPTIONS = {
    "final": "Every dot is one fresh seed, none of which had a part in choosing the rate.",
    "rates": "How much each optimizer depends on its rate: the wider the valley, the less tuning it needs. Line: mean of the tuning "
    "seeds; band: their range; ring: the chosen rate; cross: seeds that diverged, with their number.",
    "curves": "The chosen rate's fresh seeds while they train, on a logarithmic scale.",
}


def write(study: Study) -> Path:
    """Writes `report.html` and `figures/*.png` into the study's folder, from its records alone.

    Returns:
        The page's path.
    """
    folder = writable_folder(study.folder / "figures")
    images: dict[str, dict[str, str]] = {}
    for name, draw in figures.FIGURES.items():
        light, dark = (figures.png(draw(study, theme)) for theme in (figures.LIGHT, figures.DARK))
        write_bytes(folder / f"{name}.png", light)
        images[name] = {"light": _data_uri(light), "dark": _data_uri(dark), "caption": CAPTIONS[name]}
    page = study.folder / "report.html"
    write_bytes(page, render(study, images).encode())
    return page


def write_run(fit: Fit, folder: Path) -> Path:
    """Writes one run's `curves.png` into its folder and returns its path."""
    path = folder / "curves.png"
    write_bytes(path, figures.png(figures.run_curves(fit.curves)))
    return path


def render(study: Study, images: dict[str, dict[str, str]]) -> str:
    """The page; every text from the study is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(loader=PackageLoader("fdl.report", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    plan = study.manifest["plan"]
    return environment.get_template("page.html").render(
        headline=study.headline(),
        caption=tables.caption_text(study),
        results=tables.result_rows(study),
        trials=tables.trial_rows(study),
        images=images,
        task=study.task,
        contestants=[(name, c["optimizer"], _hyperparameters(c)) for name, c in plan["contestants"].items()],
        plan=plan,
        runs={phase: sum(run.phase == phase for run in study.runs) for phase in ("tune", "final")},
        environment=study.manifest["environment"],
        seconds=study.manifest.get("seconds"),
    )


def _hyperparameters(contestant: dict[str, Any]) -> str:
    return "; ".join(
        f"{name} {value if isinstance(value, str) else format(value, 'g')}" for name, value in contestant["hyperparameters"].items()
    )


def _data_uri(image: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(image).decode()
