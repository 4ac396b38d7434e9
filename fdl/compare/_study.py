"""A study: all trials of all contestants on a task, then the winners again with fresh seeds."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fdl.compare import _statistics as statistics
from fdl.compare._store import RunRecord, Store
from fdl.core import FdlError


@dataclass(frozen=True, eq=False)
class Study:
    """The records of a study, as read from its folder.

    Attributes:
        folder: where `study.db` lies.
        manifest: `plan`, `environment` and `seconds`, as JSON values.
        runs: every finished run.
    """

    folder: Path
    manifest: dict[str, Any]
    runs: list[RunRecord]

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> "Study":
        """Reads a study; raises `FdlError` where there is none."""
        path = Path(folder)
        if not (path / "study.db").is_file():
            raise FdlError("study folder", f"no study.db in {str(folder)!r}", "the folder of a study")
        store = Store(path)
        try:
            return cls(path, store.manifest(), store.runs())
        finally:
            store.close()

    @property
    def task(self) -> dict[str, Any]:
        """The task's card."""
        return self.manifest["plan"]["task"]

    @property
    def contestants(self) -> list[str]:
        return list(self.manifest["plan"]["contestants"])

    def trials(self, contestant: str) -> list[statistics.Trial]:
        """A contestant's grid with what its tuning runs reached."""
        return statistics.summarise(self.select("tune", contestant), self.task["objective"])

    def select(self, phase: str, contestant: str) -> list[RunRecord]:
        """The runs of one phase, "tune" or "final", and contestant."""
        return [run for run in self.runs if run.phase == phase and run.contestant == contestant]

    def results(self) -> list[statistics.Result]:
        """What each contestant reached on the test split, best first."""
        return statistics.judge(self.runs, self.contestants, self.task["objective"], self.task["maximise"])

    def headline(self) -> str:
        """The answer in one sentence."""
        return statistics.headline(self.results(), self.task["objective"], self.task["maximise"])
