"""A study's records on disk: `study.db`, an SQLite database that any program can read."""

import json
import math
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

from fdl.core import FdlError
from fdl.core._io import open_database, read, transaction

SCHEMA = """
CREATE TABLE manifest (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL,            -- JSON
    crc32 INTEGER NOT NULL          -- of key and value
);
CREATE TABLE runs (
    id INTEGER PRIMARY KEY,
    phase TEXT NOT NULL,            -- 'tune': seeds that choose a trial; 'default': the optimizer's own defaults with
                                    -- those seeds; 'final': fresh seeds that judge the chosen trial
    contestant TEXT NOT NULL,
    trial INTEGER NOT NULL,         -- number within the contestant's space; -1 for the defaults
    seed INTEGER NOT NULL,
    hyperparameters TEXT NOT NULL,  -- JSON object
    diverged_at INTEGER,            -- step of the first loss that was not finite; NULL while there is none
    stopped_at INTEGER,             -- step at which successive halving ended the run; NULL where it did not
    crc32 INTEGER NOT NULL,         -- of the row's other columns and its measurements, as `_checksum` has them
    UNIQUE (phase, contestant, trial, seed)
);
CREATE TABLE measurements (
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
    """One finished run.

    Attributes:
        phase: "tune", "default" or "final".
        trial: number within the contestant's space, -1 for the optimizer's defaults.
        hyperparameters: numbers, and options as text.
        diverged_at: the step of the first loss that was not finite, from which on the run was frozen: curves end with the
            measurement after it.
        curves: `curves[split, metric]` is `[(step, value), ...]`; values that were not finite are NaN.
        stopped_at: the step at which successive halving ended the run.
    """

    phase: str
    contestant: str
    trial: int
    seed: int
    hyperparameters: dict[str, Any]
    diverged_at: int | None = None
    curves: dict[tuple[str, str], Curve] = field(default_factory=dict)
    stopped_at: int | None = None

    @property
    def id(self) -> tuple[str, str, int, int]:
        return self.phase, self.contestant, self.trial, self.seed

    @property
    def diverged(self) -> bool:
        return self.diverged_at is not None

    def last(self, split: str, metric: str) -> float:
        """The value at the end of the run."""
        return self.curves[split, metric][-1][1]


class Store:
    """Reads and writes `study.db` in a folder. A run is written whole, in one transaction, as soon as it has ended.

    Every row carries a checksum: SQLite notices a torn page, but not a flipped bit within a number.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "study.db"
        self._database = open_database(self._path, SCHEMA)
        self._lock = Lock()

    def manifest(self) -> dict[str, Any]:
        rows = read(self._database, self._path, "SELECT key, value, crc32 FROM manifest")
        for key, value, crc32 in rows:
            self._verify(f"entry {key} of the manifest", crc32, key, value)
        return {key: json.loads(value) for key, value, _ in rows}

    def write_manifest(self, entries: dict[str, Any]) -> None:
        texts = {key: json.dumps(value) for key, value in entries.items()}
        with self._lock, transaction(self._database, self._path) as database:
            rows = [(key, value, _checksum(key, value)) for key, value in texts.items()]
            database.executemany("INSERT OR REPLACE INTO manifest VALUES (?, ?, ?)", rows)

    def add(self, runs: Iterable[RunRecord]) -> None:
        with self._lock, transaction(self._database, self._path) as database:
            for r in runs:
                row = (*r.id, json.dumps(r.hyperparameters), r.diverged_at, r.stopped_at)
                values = sorted(
                    (step, split, metric, float(value) + 0.0 if math.isfinite(value) else None)  # SQLite keeps no -0.0
                    for (split, metric), curve in r.curves.items()
                    for step, value in curve
                )
                columns = "(phase, contestant, trial, seed, hyperparameters, diverged_at, stopped_at, crc32)"
                place = f"INSERT INTO runs {columns} VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
                run = database.execute(place, (*row, _checksum(row, values))).lastrowid
                database.executemany("INSERT INTO measurements VALUES (?, ?, ?, ?, ?)", [(run, *value) for value in values])

    def runs(self) -> list[RunRecord]:
        """Every finished run, in the order of phase, contestant, trial and seed."""
        values: dict[int, list[tuple[int, str, str, float | None]]] = {}
        order = "ORDER BY run, step, split, metric"
        for run, *value in read(self._database, self._path, f"SELECT run, step, split, metric, value FROM measurements {order}"):
            values.setdefault(run, []).append(tuple(value))
        columns = "phase, contestant, trial, seed, hyperparameters, diverged_at, stopped_at"
        order = "ORDER BY phase, contestant, trial, seed"
        found = []
        for run, crc32, *row in read(self._database, self._path, f"SELECT id, crc32, {columns} FROM runs {order}"):
            phase, contestant, trial, seed, settings, diverged_at, stopped_at = row
            self._verify(f"run {run} ({contestant}, trial {trial}, seed {seed})", crc32, tuple(row), values.get(run, []))
            curves: dict[tuple[str, str], Curve] = {}
            for step, split, metric, number in values.get(run, []):
                curves.setdefault((split, metric), []).append((step, math.nan if number is None else number))
            found.append(RunRecord(phase, contestant, trial, seed, json.loads(settings), diverged_at, curves, stopped_at))
        return found

    def _verify(self, what: str, crc32: int, *content: Any) -> None:
        if crc32 != _checksum(*content):
            raise FdlError(f"{self._path}, {what}", "contents that are not those of its checksum", "an undamaged database")

    def close(self) -> None:
        self._database.close()


def _checksum(*content: Any) -> int:
    return zlib.crc32(json.dumps(content, default=repr).encode())  # a damaged text may come back as bytes
