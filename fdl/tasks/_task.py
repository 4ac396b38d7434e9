"""What is trained: data, model, loss, metrics, batch size and budget in one."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any

import jax

from fdl import losses, metrics
from fdl.core import FdlError, check_positive
from fdl.data import Dataset, Split
from fdl.nn import Layer, Summary, summary
from fdl.train import Trainable

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
        ordered: whether batches come in the order of the examples, epoch after epoch, for a model whose state carries on from
            batch to batch; `batch_size` then divides every split, and they are measured in the same way.

    Raises:
        FdlError: for a budget or an objective that does not fit.
    """

    name: str
    dataset: Dataset
    model: Layer
    loss_fn: Callable[[Any, Any], jax.Array] = losses.cross_entropy
    metrics: Mapping[str, Callable[[Any, Any], jax.Array]] = field(default_factory=lambda: MappingProxyType({"accuracy": metrics.accuracy}))
    penalty: Callable[[Tree], jax.Array] | None = None
    batch_size: int = 64
    steps: int = 340
    evaluate_every: int = 17
    objective: str = "accuracy"
    maximise: bool = True
    ordered: bool = False

    def __post_init__(self) -> None:
        check_budget(self, len(self.dataset.train), ("loss", *self.metrics))
        for split in ("train", "validation", "test") if self.ordered else ():
            count = len(getattr(self.dataset, split))
            if count % self.batch_size:
                found = f"{self.batch_size} for {count} examples of {split}"
                raise FdlError(f"task {self.name}, batch_size", found, "a divisor of every split, since batches come in order")

    def init(self, key: jax.Array) -> tuple[Tree, Tree]:
        """Parameters and state of the model before training."""
        return self.model.init(key, *self.example)

    def loss(self, params: Tree, state: Tree, batch: Split, key: jax.Array) -> tuple[jax.Array, Tree]:
        """A batch's loss while training, and the new state."""
        outputs, state = self.model.apply(params, state, *batch.inputs, key=key, train=True)
        return self._penalised(self.loss_fn(outputs, batch.labels), params), state

    def measure(self, params: Tree, state: Tree, batch: Split) -> tuple[dict[str, jax.Array], Tree]:
        """Loss, the penalty included, and metrics of a batch, without training, and the new state."""
        outputs, state = self.model.apply(params, state, *batch.inputs)
        loss = self._penalised(self.loss_fn(outputs, batch.labels), params)
        return {"loss": loss, **{name: metric(outputs, batch.labels) for name, metric in self.metrics.items()}}, state

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

    def card(self) -> dict[str, Any]:
        """What is trained, as JSON values: data set, source, licence, examples by split, layers and parameters."""
        data, layers = self.dataset, self.summary()
        return {
            "dataset": data.name,
            "source": data.source,
            "licence": data.licence,
            "crc32": data.crc32,
            "examples": {split: len(getattr(data, split)) for split in ("train", "validation", "test")},
            "model": [f"{row.path} {row.layer} {row.shapes}" for row in layers.rows],
            "parameters": layers.total.params,
            **({} if self.penalty is None else {"penalty": str(self.penalty)}),
            **({"batches": "in order"} if self.ordered else {}),
        }

    def flops(self) -> int:
        """FLOPs of one batch's forward pass."""
        return self.summary().total.flops


def check_budget(task: Trainable, examples: int, measured: Sequence[str]) -> None:
    """Raises `FdlError` unless batch size, steps and evaluations fit so many examples, and the objective is measured."""
    for name in ("batch_size", "steps", "evaluate_every"):
        check_positive(f"task {task.name}, {name}", getattr(task, name), int)
    if task.batch_size > examples:
        raise FdlError(f"task {task.name}, batch_size", str(task.batch_size), f"at most the {examples} training examples")
    if task.steps % task.evaluate_every:
        raise FdlError(f"task {task.name}, evaluate_every", str(task.evaluate_every), f"a divisor of steps, {task.steps}")
    if task.objective not in measured:
        raise FdlError(f"task {task.name}, objective", repr(task.objective), "one of " + ", ".join(measured))
