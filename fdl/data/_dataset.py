"""Arrays in three splits, checked once on the host, before anything is compiled."""

from dataclasses import dataclass

import numpy as np

from fdl.core import FdlError


@dataclass(frozen=True, eq=False)
class Split:
    """Examples along the first axis of every array.

    Args:
        inputs: what a model takes, each `[examples, ...]`.
        labels: `[examples]` integers for classification, floating `[examples, ...]` for regression.
    """

    inputs: tuple[np.ndarray, ...]
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class Dataset:
    """Train, validation and test splits.

    Args:
        name: how it is called in reports.
        train: what gradients are computed on.
        validation: what choices are made on.
        test: what is reported, once.
        classes: labels are integers in 0..classes-1; `None` for regression.
        source: where the data comes from; `licence`: under which terms.

    Raises:
        FdlError: naming split and row, for empty splits, unequal lengths, values that are not finite, labels out of range.
    """

    name: str
    train: Split
    validation: Split
    test: Split
    classes: int | None = None
    source: str = ""
    licence: str = ""

    def __post_init__(self) -> None:
        for name in ("train", "validation", "test"):
            _check(f"data set {self.name}, split {name}", getattr(self, name), self.classes)


def _check(where: str, split: Split, classes: int | None) -> None:
    count = len(split)
    if count == 0:
        raise FdlError(where, "no examples", "at least one")
    for i, array in enumerate((*split.inputs, split.labels)):
        what = f"{where}, {'labels' if i == len(split.inputs) else f'input {i}'}"
        if len(array) != count:
            raise FdlError(what, f"{len(array)} rows", f"{count}, as many as labels")
        if array.dtype.kind not in "fiub":
            raise FdlError(what, f"dtype {array.dtype}", "numbers", "Encode texts and categories first.")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            bad = np.argwhere(~np.isfinite(array))
            place = ", ".join(map(str, bad[0][1:]))
            raise FdlError(
                what,
                f"{array[tuple(bad[0])]} at row {bad[0][0]}" + (f", place {place}" if place else "") + f" ({len(bad)} such)",
                "finite values",
            )
    if classes is None:
        return
    what = f"{where}, labels"
    if split.labels.dtype.kind not in "iu" or split.labels.ndim != 1:
        raise FdlError(what, f"{split.labels.dtype} of shape {split.labels.shape}", "integers of shape [examples]")
    wrong = np.flatnonzero((split.labels < 0) | (split.labels >= classes))
    if len(wrong):
        raise FdlError(what, f"{split.labels[wrong[0]]} at row {wrong[0]} ({len(wrong)} such)", f"classes 0 to {classes - 1}")


def standardise(train: np.ndarray, *others: np.ndarray, axis: int | tuple[int, ...] | None = None) -> list[np.ndarray]:
    """`(x - mean) / std` in float32, with mean and standard deviation of `train` over `axis` (all axes where `None`).

    Where the deviation is 0, 1 is used, so that a constant feature becomes 0.
    """
    mean, std = train.mean(axis, keepdims=True), train.std(axis, keepdims=True)
    return [((x - mean) / np.where(std > 0, std, 1)).astype(np.float32) for x in (train, *others)]
