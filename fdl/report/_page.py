"""A study's report: one HTML page without any outside resource, and its figures as files."""

import base64
import hashlib
import json
from collections.abc import Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from fdl.compare import Study
from fdl.core import FdlError
from fdl.core._io import writable_folder, write_bytes
from fdl.report import _cards as cards
from fdl.report import _data as data
from fdl.report import _figures as figures
from fdl.report import _tables as tables
from fdl.report._findings import Findings
from fdl.train import Fit

RECORDS = {
    "study.db": "SQLite, with the tables manifest, runs and measurements",
    "records.csv": "one row a measurement",
    "records.jsonl": "one line a run",
}


def write(study: Study) -> Path:
    """Writes `report.html`, `figures/*.png` and `figures/*.svg` into the study's folder, from its records alone.

    Returns:
        The page's path.
    """
    findings = Findings(study)
    folder = writable_folder(study.folder / "figures")
    for name, draw in figures.FIGURES.items():
        figure = draw(findings)
        write_bytes(folder / f"{name}.png", figures.png(figure))
        write_bytes(folder / f"{name}.svg", figures.svg(figure))
    page = study.folder / "report.html"
    write_bytes(page, render(findings).encode("utf-8", "replace"))
    return page


def write_comparison(studies: Sequence[Study], path: Path) -> Path:
    """Writes one page with several studies side by side: results, curves, and what differs in their cards.

    Args:
        studies: two or more, with the same objective.
        path: the page's.

    Returns:
        `path`.

    Raises:
        FdlError: fewer than two studies, or objectives that cannot stand on one axis.
    """
    if len(studies) < 2:
        raise FdlError("studies", str(len(studies)), "at least 2 to put side by side")
    objectives = {(s.task["objective"], s.task["maximise"]) for s in studies}
    if len(objectives) > 1:
        found = " and ".join(sorted(name for name, _ in objectives))
        raise FdlError("studies", f"the objectives {found}", "one objective", "Compare studies that were judged alike.")
    page = render_comparison([Findings(study, label) for study, label in zip(studies, _labels(studies))])
    write_bytes(writable_folder(path.parent) / path.name, page.encode("utf-8", "replace"))
    return path


def write_run(fit: Fit, folder: Path) -> Path:
    """Writes one run's `curves.png` into its folder and returns its path."""
    path = folder / "curves.png"
    write_bytes(path, figures.png(figures.run_curves(fit.curves)))
    return path


def render(findings: Findings) -> str:
    """The page; every text from the study is escaped."""
    study, drawn = findings.study, data.figures([findings])
    return _fill(
        "study.html",
        drawn,
        headline=findings.headline,
        ranked=any(r.test for r in findings.results),
        tuned=any(len(trials) > 1 for trials in findings.trials.values()),
        picture="data:image/png;base64," + base64.b64encode(figures.png(figures.final(findings), dpi=90)).decode(),
        results=tables.results(findings),
        comparisons=tables.comparisons(findings.comparisons),
        hyperparameters=findings.hyperparameters,
        sensitivity=tables.sensitivity(findings),
        targets=tables.targets(findings),
        costs=tables.costs(findings),
        space=tables.space(findings),
        budget=cards.budget(findings),
        trials=tables.trials(findings),
        task=findings.task,
        plan=findings.plan,
        card=cards.task(findings.task),
        environment=cards.environment(study),
        records=[(name, what) for name, what in RECORDS.items() if name == "study.db" or (study.folder / name).is_file()],
    )


def render_comparison(studies: Sequence[Findings]) -> str:
    """The page of several studies."""
    differing = cards.side_by_side(studies)
    return _fill(
        "comparison.html",
        data.figures(studies),
        labels=[findings.label for findings in studies],
        headlines=[(f.label, f.headline) for f in studies],
        objective=studies[0].task["objective"],
        results=tables.side_by_side(studies),
        hyperparameters=data.hyperparameters(studies),
        cards=differing,
        differing=" and ".join(title.lower() for title, rows in differing if any(differs for *_, differs in rows)),
    )


def _fill(template: str, drawn: dict[str, Any], **values: Any) -> str:
    from markupsafe import Markup

    environment = _templates()
    files = resources.files("fdl.report")
    style = environment.from_string(files.joinpath("page.css").read_text("utf-8")).render(
        palette=list(zip(figures.COLOURS, figures.DARK_COLOURS))
    )
    script = files.joinpath("page.js").read_text("utf-8")
    policy = f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {_hash(script)}; base-uri 'none'; form-action 'none'"
    return environment.get_template(template).render(
        policy=policy,
        style=Markup(style),
        script=Markup(script),
        data=Markup(_json(drawn)),
        curves=drawn["curves"],
        phases=data.PHASES,
        hidden=len(drawn["off"]),
        **values,
    )


@cache
def _templates() -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("fdl.report", "templates")
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)


def _json(value: Any) -> str:
    """JSON in ASCII that cannot end its script element, whatever a name says."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _labels(studies: Sequence[Study]) -> list[str]:
    """Folder names; where two are the same, as much of the path as tells them apart."""
    paths = [study.folder.resolve().parts for study in studies]
    for n in range(1, max(map(len, paths)) + 1):
        labels = ["/".join(parts[-n:]) for parts in paths]
        if len(set(labels)) == len(labels):
            return labels
    return [f"study {i + 1}" for i in range(len(studies))]
