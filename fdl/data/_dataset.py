"""Arrays in three splits, checked once on the host, before anything is compiled."""

import zlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import numpy as np

from fdl.core import FdlError


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Split:
    """Examples along the first axis of every array: a pytree, of which a batch is another.

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
    """Train, validation and test splits, each a `Split` or any other pytree of arrays with examples along their first axis.

    Args:
        name: how it is called in reports.
        train: what gradients are computed on.
        validation: what choices are made on.
        test: what is reported, once.
        classes: labels are integers in 0..classes-1; `None` for regression.
        source: where the data comes from; `licence`: under which terms.
        vocabulary: the characters that the numbers of a text stand for.

    Raises:
        FdlError: naming split and row, for empty splits, unequal lengths, values that are not finite, labels out of range.
    """

    name: str
    train: Any
    validation: Any
    test: Any
    classes: int | None = None
    source: str = ""
    licence: str = ""
    vocabulary: str = ""

    def __post_init__(self) -> None:
        for name in ("train", "validation", "test"):
            check_split(f"data set {self.name}, split {name}", getattr(self, name), self.classes)

    @cached_property
    def crc32(self) -> str:
        """A checksum of every array, in hexadecimal digits: other data make another study."""
        found = 0
        for leaf in jax.tree.leaves((self.train, self.validation, self.test)):
            found = zlib.crc32(np.ascontiguousarray(leaf).tobytes(), found)
        return f"{found:08x}"


def examples(split: Any) -> int:
    """How many examples a split or batch holds: the length of its arrays."""
    return len(jax.tree.leaves(split)[0])


def _named(split: Any) -> dict[str, Any]:
    """A split's arrays by the name that messages give them; the first says how many examples there are."""
    if isinstance(split, Split):
        return {"labels": split.labels, **{f"input {i}": array for i, array in enumerate(split.inputs)}}
    leaves = jax.tree_util.tree_flatten_with_path(split)[0]
    return {f"array {jax.tree_util.keystr(path)}".rstrip(): leaf for path, leaf in leaves}


def check_split(where: str, split: Any, classes: int | None = None) -> None:
    """Raises `FdlError` for a split that is empty, unequal in length, not finite or not numbers, or whose labels are no classes."""
    arrays = _named(split)
    if not arrays:
        raise FdlError(where, "no arrays", "at least one")
    for name, array in arrays.items():
        if not np.ndim(array):
            raise FdlError(f"{where}, {name}", repr(array), "an array with examples along its first axis")
    reference, count = next((name, len(array)) for name, array in arrays.items())
    if count == 0:
        raise FdlError(where, "no examples", "at least one")
    for name, array in arrays.items():
        what = f"{where}, {name}"
        if len(array) != count:
            raise FdlError(what, f"{len(array)} rows", f"{count}, as many as {reference}")
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
    if not isinstance(split, Split):
        raise FdlError(where, type(split).__name__, "a Split with labels, since classes are given")
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
