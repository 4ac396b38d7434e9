"""The confusion matrix over many batches, and what is read from it."""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from fdl.core import check_positive, choose
from fdl.losses._reduce import check_labels, kept, wide
from fdl.metrics._running import Mask, Metric, State, keeping, ratio

Average = Literal["macro", "micro", "weighted", "none"]


@dataclass(frozen=True)
class Confusion(Metric):
    """The confusion matrix: entry `[i, j]` counts places of class i that were taken for class j, exactly to 2^31.

    Args:
        classes: how many there are.

    Outputs are logits `[..., classes]`, of which the first largest is the prediction, or predicted classes, integers
    `[...]`; labels are integers `[...]`. A place whose label is no class does not count. `compute` gives int32 `[classes, classes]`.
    """

    classes: int

    def __post_init__(self) -> None:
        check_positive("Confusion(classes)", self.classes, int)

    def init(self) -> State:
        return {"counts": jnp.zeros((self.classes, self.classes), jnp.int32)}

    def measure(self, outputs: jax.Array, labels: Any, mask: Mask = None) -> State:
        if jnp.issubdtype(outputs.dtype, jnp.floating):
            check_labels("Confusion", outputs, labels)
            if outputs.shape[-1] != self.classes:
                raise ValueError(f"Confusion({self.classes}) takes logits of {self.classes} classes, not {outputs.shape[-1]}")
            outputs = outputs.argmax(-1)
        if outputs.shape != labels.shape:
            raise ValueError(f"predictions of shape {outputs.shape} and labels of shape {labels.shape}")
        predicted, true = (kept(mask, a).astype(jnp.int32) for a in (outputs, labels))
        keep = keeping(mask, labels.shape) & (true >= 0)  # indices past the end are dropped by `add`, negative ones count from it
        return {"counts": self.init()["counts"].at[jnp.where(keep, true, self.classes), predicted].add(1, mode="drop")}

    def compute(self, state: State) -> jax.Array:
        return state["counts"]


class Scores(NamedTuple):
    """Each in 0..1: a scalar, or `[classes]` where not averaged."""

    precision: jax.Array
    recall: jax.Array
    f1: jax.Array
    iou: jax.Array


def scores(confusion: jax.Array, average: Average = "macro", *, absent: float = 0.0) -> Scores:
    """Precision, recall, F1 and intersection over union from a confusion matrix.

    By class, of true positives TP, false positives FP and false negatives FN: `TP / (TP + FP)`, `TP / (TP + FN)`,
    `2 TP / (2 TP + FP + FN)`, `TP / (TP + FP + FN)`.

    Args:
        confusion: counts `[classes, classes]`, true class by predicted class, as from `Confusion`.
        average: `"none"`: one a class; `"macro"`: the mean over all classes; `"weighted"`: by the true places of each;
            `"micro"`: of the sums of TP, FP and FN, where precision, recall and F1 are all the accuracy.
        absent: what 0 / 0 is, as in a class that does not occur; with NaN the averages leave it out.

    Raises:
        FdlError: for another average.
        ValueError: for a matrix that is not square.
    """
    choose("scores(average)", average, {"macro": 0, "micro": 0, "weighted": 0, "none": 0})
    if confusion.ndim != 2 or confusion.shape[0] != confusion.shape[1]:
        raise ValueError(f"a confusion matrix is [classes, classes], not {confusion.shape}")
    hit = jnp.diagonal(confusion)
    predicted, true = confusion.sum(0, dtype=hit.dtype), confusion.sum(1, dtype=hit.dtype)
    if average == "micro":
        hit, predicted, true = hit.sum(dtype=hit.dtype), predicted.sum(dtype=hit.dtype), true.sum(dtype=hit.dtype)
    hit, predicted, true = wide(hit), wide(predicted), wide(true)
    parts = ((hit, predicted), (hit, true), (2 * hit, predicted + true), (hit, predicted + true - hit))
    by_class = Scores(*(ratio(part, whole, absent) for part, whole in parts))
    if average in ("micro", "none"):
        return by_class
    weights = jnp.ones_like(true) if average == "macro" else true

    def averaged(values: jax.Array) -> jax.Array:
        there = ~jnp.isnan(values)
        return ratio(jnp.where(there, values * weights, 0).sum(), jnp.where(there, weights, 0).sum(), absent)

    return Scores(*map(averaged, by_class))
