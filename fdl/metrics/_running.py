"""Metrics over many batches, on the device: pure functions of a small state.

    metric = metrics.Accuracy()
    state = metric.init()
    state = metric.update(state, outputs, labels, mask)  # in jit, scan, vmap; over a sharded batch
    metric.compute(state)

A metric holds configuration alone. States merge in any order and grouping: counts exactly, sums up to rounding.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from fdl.core import FdlError, check_positive
from fdl.losses._classification import at_label
from fdl.losses._reduce import check_labels, kept, spread, wide
from fdl.metrics._functions import hits

State = dict[str, jax.Array]
Mask = jax.Array | None


class Metric:
    """A running metric: subclass it as a frozen dataclass with `init`, `measure` and `compute`.

    Called with outputs and labels it is the metric of that batch alone.
    """

    def init(self) -> State:
        """The state before the first batch."""
        raise NotImplementedError

    def measure(self, outputs: jax.Array, labels: Any, mask: Mask = None) -> State:
        """The state of one batch alone."""
        raise NotImplementedError

    def compute(self, state: State) -> jax.Array:
        """The metric of all that the state has seen."""
        raise NotImplementedError

    def merge(self, a: State, b: State) -> State:
        """The state of what either has seen: their sum, unless overridden."""
        return jax.tree.map(jnp.add, a, b)

    def update(self, state: State, outputs: jax.Array, labels: Any = None, mask: Mask = None) -> State:
        """The state after one more batch. `mask`: booleans over leading axes of the labels; where false nothing counts."""
        return self.merge(state, self.measure(outputs, labels, mask))

    def merge_all(self, states: State) -> State:
        """Merges states stacked along a first axis, as `vmap` leaves them."""
        return jax.lax.scan(lambda total, state: (self.merge(total, state), None), self.init(), states)[0]

    def __call__(self, outputs: jax.Array, labels: Any = None, mask: Mask = None) -> jax.Array:
        return self.compute(self.measure(outputs, labels, mask))


def count(keep: jax.Array) -> jax.Array:
    return keep.sum(dtype=jnp.int32)


def ratio(part: jax.Array, whole: jax.Array, otherwise: float = 0.0) -> jax.Array:
    """`part / whole` in float32 at least, or `otherwise` where `whole` is 0."""
    part, whole = wide(part), wide(whole)
    return jnp.where(whole == 0, otherwise, part / jnp.where(whole == 0, 1, whole))


def keeping(mask: Mask, shape: tuple[int, ...]) -> jax.Array:
    keep = spread(mask, shape)
    return jnp.ones(shape, bool) if keep is None else keep


@dataclass(frozen=True)
class Moments(Metric):
    """Mean and (biased) variance of the outputs, by Chan et al. 1983, "Algorithms for computing the sample variance".

    The outputs are values `[...]`; labels are not looked at. `compute` gives `(mean, variance)`, 0 where nothing was seen. The
    state is the mean, the sum of squares about it, and the count, to 2^31 values.
    """

    def init(self) -> State:
        return {"mean": jnp.zeros(()), "squares": jnp.zeros(()), "count": jnp.zeros((), jnp.int32)}

    def measure(self, outputs: jax.Array, labels: Any = None, mask: Mask = None) -> State:
        values, keep = wide(kept(mask, outputs)), keeping(mask, outputs.shape)
        mean = ratio(values.sum(), count(keep))
        return {"mean": mean, "squares": jnp.where(keep, jnp.square(values - mean), 0).sum(), "count": count(keep)}

    def merge(self, a: State, b: State) -> State:
        total = a["count"] + b["count"]
        share = ratio(b["count"], total)
        apart = b["mean"] - a["mean"]
        between = jnp.square(apart) * share * wide(a["count"])
        return {"mean": a["mean"] + apart * share, "squares": a["squares"] + b["squares"] + between, "count": total}

    def compute(self, state: State) -> Any:
        return state["mean"], ratio(state["squares"], state["count"])


@dataclass(frozen=True)
class Mean(Moments):
    """The mean of the outputs, values `[...]`, as `Moments` has it."""

    def compute(self, state: State) -> jax.Array:
        return state["mean"]


@dataclass(frozen=True)
class Accuracy(Metric):
    """`metrics.accuracy` over many batches, from exact counts to 2^31.

    Args:
        top: a label among so many largest logits is a hit.
    """

    top: int = 1

    def __post_init__(self) -> None:
        check_positive("Accuracy(top)", self.top, int)

    def init(self) -> State:
        return {"hits": jnp.zeros((), jnp.int32), "count": jnp.zeros((), jnp.int32)}

    def measure(self, outputs: jax.Array, labels: Any, mask: Mask = None) -> State:
        keep = keeping(mask, labels.shape)
        return {"hits": count(keep & hits("Accuracy", outputs, labels, self.top)), "count": count(keep)}

    def compute(self, state: State) -> jax.Array:
        return ratio(state["hits"], state["count"])


@dataclass(frozen=True)
class Perplexity(Metric):
    """`metrics.perplexity` over many batches: `exp` of the mean cross-entropy of all places."""

    def init(self) -> State:
        return Mean().init()

    def measure(self, outputs: jax.Array, labels: Any, mask: Mask = None) -> State:
        check_labels("Perplexity", outputs, labels)
        log_p = jax.nn.log_softmax(wide(kept(mask, outputs)))
        return Mean().measure(-at_label(log_p, kept(mask, labels)), mask=mask)

    def merge(self, a: State, b: State) -> State:
        return Mean().merge(a, b)

    def compute(self, state: State) -> jax.Array:
        return jnp.exp(state["mean"])


@dataclass(frozen=True)
class AUC(Metric):
    """The area under the curve of true against false positives, from histograms of the scores of both classes.

    It is the share of pairs, a positive and a negative, in which the positive scores higher, a tie counting one half
    (Hanley & McNeil 1982). Scores of one bin tie: the error is at most half of the share of pairs that share a bin.

    Args:
        bins: how many, of equal width from `low` to `high`; scores outside go to the outermost. Default 1000.
        low: for probabilities 0, `high` 1, the defaults; for logits some -10 and 10.
        high: more than `low`.

    Outputs are scores `[...]`, labels of the same shape are 0 or 1, of an integer type or booleans. NaN where a class is absent.

    Raises:
        FdlError: for no bins, or `low` not below `high`.
    """

    bins: int = 1000
    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        check_positive("AUC(bins)", self.bins, int)
        if not self.low < self.high:
            raise FdlError("AUC(low, high)", f"{self.low} and {self.high}", "low < high")

    def init(self) -> State:
        return {"counts": jnp.zeros((2, self.bins), jnp.int32)}

    def measure(self, outputs: jax.Array, labels: Any, mask: Mask = None) -> State:
        if outputs.shape != labels.shape or jnp.issubdtype(labels.dtype, jnp.floating):
            raise ValueError(f"AUC takes scores [...] and integer labels [...], not {outputs.shape} and {labels.dtype}{labels.shape}")
        place = (wide(kept(mask, outputs)) - self.low) * (self.bins / (self.high - self.low))
        bins = jnp.clip(jnp.floor(place), 0, self.bins - 1).astype(jnp.int32)
        ones = keeping(mask, labels.shape).astype(jnp.int32)
        return {"counts": jnp.zeros((2, self.bins), jnp.int32).at[kept(mask, labels).astype(jnp.int32), bins].add(ones)}

    def compute(self, state: State) -> jax.Array:
        negative, positive = wide(state["counts"])
        below = jnp.cumsum(negative) - negative / 2
        pairs = negative.sum() * positive.sum()
        return ratio((positive * below).sum(), pairs, float("nan"))
