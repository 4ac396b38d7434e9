import numpy as np

from fdl.core import FdlError
from fdl.data._dataset import Dataset, Split


def adding(steps: int = 100, examples: int = 20_000) -> Dataset:
    """The adding problem: series of two features, of which two places are marked; their values are to be added.

    Experiment 4 of Hochreiter & Schmidhuber 1997, "Long short-term memory". A series has a length drawn from `steps` to
    `steps + steps / 10`. The first feature is uniform in -1..1. The second is 1 at two places, -1 at the first and the last
    and 0 elsewhere. Of the first ten places one is marked, then one of the first `steps / 2 - 1` others; where the very
    first is drawn, it keeps its -1 and counts as 0. The label is `0.5 + (sum of the marked values) / 4`, within 0..1; its
    variance is about 1/24.

    Drawn by NumPy's `RandomState`, with seed 42 for training, 43 for test and 44 for validation. Inputs: float32
    `[examples, steps + steps / 10, 2]`, 0 after a series' end, and lengths int32 `[examples]`; labels float32 `[examples, 1]`.

    Args:
        steps: the least length, at least 24.
        examples: for training; there are 1,000 for validation and for test.
    """
    if steps < 24:
        raise FdlError("data.adding(steps)", repr(steps), "at least 24, so that a second place can be marked among the first half")
    source = f"drawn, series of {steps} to {steps + steps // 10} steps"
    return Dataset("adding problem", _draw(42, examples, steps), _draw(44, 1000, steps), _draw(43, 1000, steps), source=source)


def _draw(seed: int, count: int, steps: int) -> Split:
    random, longest, rows = np.random.RandomState(seed), steps + steps // 10, np.arange(count)
    lengths = random.randint(steps, longest + 1, count)
    values = random.uniform(-1, 1, (count, longest)) * (np.arange(longest) < lengths[:, None])
    first, second = random.randint(0, 10, count), random.randint(0, steps // 2 - 1, count)
    second = second + (second >= first)
    marks = np.zeros((count, longest))
    for places in (first, second):
        marks[rows, places] = 1
    marks[:, 0] = marks[rows, lengths - 1] = -1
    label = 0.5 + (values * (marks == 1)).sum(1, keepdims=True) / 4
    series = np.stack([values, marks], -1).astype(np.float32)
    return Split((series, lengths.astype(np.int32)), label.astype(np.float32))
