"""A study's records as CSV and as JSON lines, for any other program."""

import csv
import io
import json
import math
from pathlib import Path

from fdl.compare._study import Study
from fdl.core._io import writable_folder, write_bytes

COLUMNS = ("phase", "contestant", "trial", "seed", "hyperparameters", "diverged_at", "stopped_at", "step", "split", "metric", "value")


def export(study: Study, folder: Path | None = None) -> tuple[Path, Path]:
    """Writes `records.csv`, a row a measurement, and `records.jsonl`, an object a run.

    In CSV a text that a spreadsheet would read as a formula, one that begins with `=`, `+`, `-` or `@`, has an apostrophe
    before it, and a value that was not finite is empty; in JSON it is `null`.

    Args:
        study: whose records.
        folder: where to; the study's own where not given.

    Returns:
        The two paths.
    """
    folder = writable_folder(folder or study.folder)
    table = io.StringIO(newline="")
    writer = csv.writer(table)
    writer.writerow(COLUMNS)
    lines = []
    for r in study.runs:
        settings = json.dumps(r.hyperparameters)
        head = (_plain(r.phase), _plain(r.contestant), r.trial, r.seed, settings, r.diverged_at, r.stopped_at)
        values = [(step, split, metric, _finite(v)) for (split, metric), curve in r.curves.items() for step, v in curve]
        writer.writerows([*head, step, _plain(split), _plain(metric), value] for step, split, metric, value in values)
        curves = [{"step": step, "split": split, "metric": metric, "value": value} for step, split, metric, value in values]
        run = {**dict(zip(COLUMNS, (*r.id, r.hyperparameters, r.diverged_at, r.stopped_at))), "measurements": curves}
        lines.append(json.dumps(run))
    paths = folder / "records.csv", folder / "records.jsonl"
    for path, text in zip(paths, (table.getvalue(), "".join(line + "\n" for line in lines))):
        write_bytes(path, text.encode())
    return paths


def _plain(text: str) -> str:
    return "'" + text if text[:1] in ("=", "+", "-", "@") else text


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
