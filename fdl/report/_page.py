"""A study's report: one HTML page without any outside resource, and its figures as files."""

import base64
import hashlib
import json
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from fdl.compare import Study
from fdl.core import FdlError
from fdl.core._io import writable_folder, write_bytes
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
        picture="data:image/png;base64," + base64.b64encode(figures.png(figures.final(findings), dpi=90)).decode(),
        results=tables.results(findings),
        comparisons=tables.comparisons(findings.comparisons),
        hyperparameters=findings.hyperparameters,
        sensitivity=tables.sensitivity(findings),
        targets=tables.targets(findings),
        costs=tables.costs(findings),
        space=tables.space(findings),
        budget=_budget(findings),
        trials=tables.trials(findings),
        task=findings.task,
        plan=findings.plan,
        more=_lines({k: v for k, v in findings.task.items() if k not in TASK}),
        environment=[*_lines(study.manifest.get("environment", {})), *_work(study)],
        records=[(name, what) for name, what in RECORDS.items() if name == "study.db" or (study.folder / name).is_file()],
    )


TASK = {  # what the page's template says in words of its own
    "name", "dataset", "source", "licence", "examples", "model", "parameters", "batch_size", "steps", "evaluate_every", "objective", "maximise",
}  # fmt: skip


def render_comparison(studies: Sequence[Findings]) -> str:
    """The page of several studies."""
    heads = [findings.label for findings in studies]
    spaces = [dict(_flat(f.plan["contestants"])) for f in studies]
    budgets = [dict(_flat({k: v for k, v in f.plan.items() if k not in ("task", "contestants")})) for f in studies]
    cards = [
        ("Task", heads, _differences([dict(_flat(f.task)) for f in studies])),
        ("Search space", heads, _differences([{**b, **s} for b, s in zip(budgets, spaces)])),
        ("Environment", heads, _differences([dict(_flat(f.study.manifest.get("environment", {}))) for f in studies])),
    ]
    return _fill(
        "comparison.html",
        data.figures(studies),
        labels=heads,
        headlines=[(f.label, f.headline) for f in studies],
        objective=studies[0].task["objective"],
        results=tables.side_by_side(studies),
        hyperparameters=data.hyperparameters(studies),
        cards=cards,
        differing=", ".join(title.lower() for title, _, rows in cards if any(differs for *_, differs in rows)),
    )


def _fill(template: str, drawn: dict[str, Any], **values: Any) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("fdl.report", "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    files = resources.files("fdl.report")
    style = environment.from_string(files.joinpath("page.css").read_text("utf-8")).render(palette=list(zip(figures.COLOURS, figures.DARK_COLOURS)))
    script = files.joinpath("page.js").read_text("utf-8")
    policy = f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {_hash(script)}; base-uri 'none'; form-action 'none'"
    return environment.get_template(template).render(
        policy=policy, style=Markup(style), script=Markup(script), data=Markup(_json(drawn)), curves=drawn["curves"], phases=data.PHASES, **values
    )


def _json(value: Any) -> str:
    """JSON in ASCII that cannot end its script element, whatever a name says."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _flat(card: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """A nested card as lines: `("versions jax", "0.10.2")`."""
    for key, value in card.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key} ")
        else:
            text = "; ".join(map(str, value)) if isinstance(value, list) else f"{value:g}" if isinstance(value, float) else str(value)
            yield f"{prefix}{key}".replace("_", " "), text


def _lines(card: dict[str, Any]) -> list[tuple[str, str]]:
    """A card's entries, what is nested in them on one line each."""
    nested = lambda value: ", ".join(f"{k} {v}" for k, v in _flat(value)) if isinstance(value, dict) else dict(_flat({"": value}))[""]
    return [(key.replace("_", " "), nested(value)) for key, value in card.items()]


def _differences(cards: Sequence[dict[str, str]]) -> list[tuple[str, list[str], bool]]:
    keys = list(dict.fromkeys(key for card in cards for key in card))
    rows = [(key, [card.get(key, "-") for card in cards]) for key in keys]
    return [(key, values, len(set(values)) > 1) for key, values in rows]


def _labels(studies: Sequence[Study]) -> list[str]:
    """Folder names; where two are the same, as much of the path as tells them apart."""
    paths = [study.folder.resolve().parts for study in studies]
    for n in range(1, max(map(len, paths)) + 1):
        labels = ["/".join(parts[-n:]) for parts in paths]
        if len(set(labels)) == len(labels):
            return labels
    return [f"study {i + 1}" for i in range(len(studies))]


def _budget(findings: Findings) -> str:
    plan, task = findings.plan, findings.task
    sampler = plan.get("sampler", "grid")
    points = "a regular grid, its ends included" if sampler == "grid" else f"{sampler.capitalize()} points, sampler seed {plan.get('sampler_seed')}"
    halving = f" Successive halving ended the worse of them early (eta {plan['halving']})." if plan.get("halving") else ""
    return (
        f"Equal budgets: {plan['trials']} trials for each contestant, {points}; {plan['seeds']} tuning seeds a trial, "
        f"{task['steps']} steps a run.{halving} What shows one number was fixed, not tuned."
    )


def _work(study: Study) -> Iterator[tuple[str, str]]:
    counts = {phase: sum(run.phase == phase for run in study.runs) for phase in data.PHASES}
    yield "runs", ", ".join(f"{count} {data.PHASES[phase]}" for phase, count in counts.items() if count)
    if study.manifest.get("seconds"):
        yield "time", f"{tables.duration(study.manifest['seconds'])} with compilation"
