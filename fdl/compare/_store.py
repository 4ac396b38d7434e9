"""A study's records on disk: `study.db`, an SQLite database that any program can read."""

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

from fdl.core._io import open_database, transaction

SCHEMA = """
CREATE TABLE IF NOT EXISTS manifest (key TEXT PRIMARY KEY, value TEXT NOT NULL);  -- values are JSON
CREATE TABLE IF NOT EXISTS runs (
    id INTEGER PRIMARY KEY,
    phase TEXT NOT NULL,            -- 'tune': seeds that choose a trial; 'final': fresh seeds that judge it
    contestant TEXT NOT NULL,
    trial INTEGER NOT NULL,         -- place in the contestant's grid
    seed INTEGER NOT NULL,
    hyperparameters TEXT NOT NULL,  -- JSON object
    diverged_at INTEGER,            -- step of the first loss that was not finite; NULL while there is none
    UNIQUE (phase, contestant, trial, seed)
);
CREATE TABLE IF NOT EXISTS measurements (
    run INTEGER NOT NULL REFERENCES runs (id),
    step INTEGER NOT NULL,
    split TEXT NOT NULL,            -- 'train' (mean over the steps before), 'validation' or 'test'
    metric TEXT NOT NULL,
    value REAL,                     -- NULL where it was not finite
    PRIMARY KEY (run, step, split, metric)
) WITHOUT ROWID;
"""

Curve = list[tuple[int, float]]


@dataclass(frozen=True)
class RunRecord:
    """One finished run. `curves[split, metric]` is `[(step, value), ...]`; values that were not finite are NaN."""

    phase: str
    contestant: str
    trial: int
    seed: int
    hyperparameters: dict[str, float]
    diverged_at: int | None = None
    curves: dict[tuple[str, str], Curve] = field(default_factory=dict)
    stopped_at: int | None = None

    @property
    def diverged(self) -> bool:
        return self.diverged_at is not None

    def last(self, split: str, metric: str) -> float:
        """The value at the end of the run."""
        return self.curves[split, metric][-1][1]


class Store:
    """Reads and writes `study.db` in a folder. A run is written whole, in one transaction, as soon as it has ended."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "study.db"
        self._database = open_database(self._path, SCHEMA)
        self._lock = Lock()

    def manifest(self) -> dict[str, Any]:
        return {key: json.loads(value) for key, value in self._database.execute("SELECT key, value FROM manifest")}

    def write_manifest(self, entries: dict[str, Any]) -> None:
        with self._lock, transaction(self._database, self._path) as database:
            database.executemany("INSERT OR REPLACE INTO manifest VALUES (?, ?)", [(k, json.dumps(v)) for k, v in entries.items()])

    def add(self, runs: Iterable[RunRecord]) -> None:
        with self._lock, transaction(self._database, self._path) as database:
            for r in runs:
                row = (r.phase, r.contestant, r.trial, r.seed, json.dumps(r.hyperparameters), r.diverged_at)
                columns = "(phase, contestant, trial, seed, hyperparameters, diverged_at)"
                run = database.execute(f"INSERT INTO runs {columns} VALUES (?, ?, ?, ?, ?, ?)", row).lastrowid
                values = [
                    (run, step, split, metric, value if math.isfinite(value) else None)
                    for (split, metric), curve in r.curves.items()
                    for step, value in curve
                ]
                database.executemany("INSERT INTO measurements VALUES (?, ?, ?, ?, ?)", values)

    def runs(self) -> list[RunRecord]:
        """Every finished run, in the order of contestants' first appearance, trial and seed."""
        curves: dict[int, dict[tuple[str, str], Curve]] = {}
        for run, step, split, metric, value in self._database.execute("SELECT * FROM measurements ORDER BY run, step"):
            curve = curves.setdefault(run, {}).setdefault((split, metric), [])
            curve.append((step, math.nan if value is None else value))
        rows = self._database.execute("SELECT * FROM runs ORDER BY phase, contestant, trial, seed")
        return [
            RunRecord(phase, contestant, trial, seed, json.loads(values), diverged_at, curves.get(run, {}))
            for run, phase, contestant, trial, seed, values, diverged_at in rows
        ]

    def close(self) -> None:
        self._database.close()
