"""What a study is doing, in the terminal."""

import time
from threading import Lock
from typing import Any

from fdl.compare._store import RunRecord


class Display:
    """Progress bars with runs done, steps a second, time left and the best so far; silent where not wanted.

    Args:
        shown: whether anything is printed, to standard error.
    """

    def __init__(self, shown: bool) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        left = TimeRemainingColumn(compact=True, elapsed_when_finished=True)
        columns = (TextColumn("{task.description:<9}"), BarColumn(12), TextColumn("{task.fields[note]}"), left)
        self._progress = Progress(*columns, console=Console(stderr=True), disable=not shown)
        self._lock = Lock()

    def __enter__(self) -> "Display":
        self._progress.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._progress.stop()

    def begin(self, title: str, runs: int, units: int, unit: str) -> None:
        """A new bar of `units`, steps or programs, in so many runs."""
        self._bar = self._progress.add_task(title, total=units, note="")
        self._runs, self._ended, self._units, self._unit, self._best = runs, 0, 0, unit, ""
        self._value: float | None = None
        self._begun = time.perf_counter()

    def advance(self, units: int) -> None:
        """So many units more; called from any thread."""
        with self._lock:
            self._units += units
            self._progress.update(self._bar, advance=units, note=self._note())

    def ended(self, record: RunRecord, objective: str, maximise: bool) -> None:
        """One run more is finished and saved."""
        with self._lock:
            self._ended += 1
            value = record.last("validation", objective)
            better = self._value is None or ((value > self._value) == maximise and value != self._value)
            if not record.diverged and better:
                self._value = value
                self._best = f", best {record.contestant} {value:.4g}"
            self._progress.update(self._bar, note=self._note())

    def _note(self) -> str:
        if self._unit != "steps":
            return f"{self._units} of {self._runs}"
        rate = self._units / (time.perf_counter() - self._begun)
        return f"{self._ended} of {self._runs}, {rate:,.0f} steps/s{self._best}"
