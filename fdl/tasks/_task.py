"""What is trained: data, model, loss, metrics, batch size and budget in one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any

import jax

from fdl import losses, metrics
from fdl.core import FdlError, check_positive
from fdl.data import Dataset
from fdl.nn import Layer, Summary, summary

Tree = Any


@dataclass(frozen=True, eq=False)
class Task:
    """A learning problem with its budget.

    Args:
        name: how it is called in commands and reports.
        dataset: the three splits.
        model: a layer that takes the data set's inputs.
        loss_fn: `(outputs, labels)` to a scalar, a mean over the batch. Default: cross-entropy.
        metrics: more such functions by name. Default: accuracy.
        penalty: a function of the parameters that is added to the loss, in training and in every measurement of it, such as
            `losses.L2(0.002)`. Default: none.
        batch_size: examples a step, at most as many as the training split has.
        steps: optimizer steps of a run.
        evaluate_every: steps between two measurements of the validation split; divides `steps`.
        objective: the metric, or "loss", that decides between trials, measured on validation at the end of a run.
        maximise: whether more of it is better.

    Raises:
        FdlError: for a budget or an objective that does not fit.
    """

    name: str
    dataset: Dataset
    model: Layer
    loss_fn: Callable[[Any, jax.Array], jax.Array] = losses.cross_entropy
    metrics: Mapping[str, Callable[[Any, jax.Array], jax.Array]] = field(
        default_factory=lambda: MappingProxyType({"accuracy": metrics.accuracy})
    )
    penalty: Callable[[Tree], jax.Array] | None = None
    batch_size: int = 64
    steps: int = 340
    evaluate_every: int = 17
    objective: str = "accuracy"
    maximise: bool = True

    def __post_init__(self) -> None:
        for name in ("batch_size", "steps", "evaluate_every"):
            check_positive(f"task {self.name}, {name}", getattr(self, name), int)
        if self.batch_size > len(self.dataset.train):
            raise FdlError(
                f"task {self.name}, batch_size", str(self.batch_size), f"at most the {len(self.dataset.train)} training examples"
            )
        if self.steps % self.evaluate_every:
            raise FdlError(f"task {self.name}, evaluate_every", str(self.evaluate_every), f"a divisor of steps, {self.steps}")
        if self.objective not in ("loss", *self.metrics):
            raise FdlError(f"task {self.name}, objective", repr(self.objective), "one of " + ", ".join(("loss", *self.metrics)))

    def init(self, key: jax.Array) -> tuple[Tree, Tree]:
        """Parameters and state of the model before training."""
        return self.model.init(key, *self.example)

    def loss(self, params: Tree, state: Tree, inputs: Any, labels: jax.Array, key: jax.Array) -> tuple[jax.Array, Tree]:
        """A batch's loss while training, and the new state."""
        outputs, state = self.model.apply(params, state, *inputs, key=key, train=True)
        return self._penalised(self.loss_fn(outputs, labels), params), state

    def measure(self, params: Tree, state: Tree, inputs: Any, labels: jax.Array) -> dict[str, jax.Array]:
        """Loss, the penalty included, and metrics of a batch, without training."""
        outputs, _ = self.model.apply(params, state, *inputs)
        loss = self._penalised(self.loss_fn(outputs, labels), params)
        return {"loss": loss, **{name: metric(outputs, labels) for name, metric in self.metrics.items()}}

    def _penalised(self, loss: jax.Array, params: Tree) -> jax.Array:
        return loss if self.penalty is None else loss + self.penalty(params).astype(loss.dtype)

    @cached_property
    def example(self) -> tuple[jax.ShapeDtypeStruct, ...]:
        """The shapes and dtypes of one batch of inputs."""
        arrays = self.dataset.train.inputs
        return tuple(jax.ShapeDtypeStruct((self.batch_size, *a.shape[1:]), jax.dtypes.canonicalize_dtype(a.dtype)) for a in arrays)

    def summary(self) -> Summary:
        """The model's layers, parameters and FLOPs on one batch."""
        return summary(self.model, *self.example)
