"""One training run as a pure function of its key, its optimizer and the data."""

from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from fdl import optim
from fdl.core import fold
from fdl.data import Dataset, batch_indices, examples

Tree = Any
Measurements = dict[str, dict[str, jax.Array]]
"""Numbers by split and metric: `{"train": {"loss": ...}, "validation": {"loss": ..., "accuracy": ...}}`."""

EVALUATION_BATCH = 1000  # examples measured at once


class Trainable(Protocol):
    """What can be trained and compared: data, a budget and pure functions. `fdl.tasks.Task` is one."""

    @property
    def name(self) -> str: ...
    @property
    def dataset(self) -> Dataset: ...
    @property
    def batch_size(self) -> int: ...
    @property
    def steps(self) -> int: ...
    @property
    def evaluate_every(self) -> int: ...
    @property
    def objective(self) -> str:
        """The metric, or "loss", that decides between trials."""

    @property
    def maximise(self) -> bool: ...

    def init(self, key: jax.Array) -> tuple[Tree, Tree]:
        """Parameters and state before the first step."""

    def loss(self, params: Tree, state: Tree, batch: Tree, key: jax.Array) -> tuple[jax.Array, Tree]:
        """The training loss of a batch, some rows of a split, and the new state."""

    @property
    def ordered(self) -> bool:
        """Whether batches come in the order of the examples, each with the state that the one before left."""

    def measure(self, params: Tree, state: Tree, batch: Tree) -> tuple[dict[str, jax.Array], Tree]:
        """Means over a batch, without training, "loss" among them, and the new state."""

    def card(self) -> dict[str, Any]:
        """What is trained, as JSON values: dataset, source, licence, examples by split, model (lines of text), parameters."""

    def flops(self) -> int:
        """FLOPs of one batch's forward pass."""


class Progress(NamedTuple):
    """Where a run stands: everything that its next step depends on beside key, optimizer and data."""

    params: Tree
    state: Tree
    optimizer_state: Tree
    step: jax.Array
    diverged_at: jax.Array
    """The step, counted from 1, whose loss was first not finite; 0 while there is none. The run is frozen before it."""


def start(task: Trainable, optimizer: Any, key: jax.Array) -> Progress:
    """A run before its first step. The initial parameters are a function of the key alone, whatever the optimizer."""
    params, state = init(task, key)
    return Progress(params, state, optimizer.init(params), jnp.int32(0), jnp.int32(0))


def init(task: Trainable, key: jax.Array) -> tuple[Tree, Tree]:
    """The parameters and state with which every run under this key starts."""
    return task.init(fold(key, "init"))


def batches(task: Trainable, steps: int, key: jax.Array, count: int, step: jax.Array) -> jax.Array:
    """The examples, of `count`, in the batches after `step`, int32 `[steps, batch_size]`: a function of the run's key alone."""
    return batch_indices(fold(key, "batches"), count, task.batch_size, step, steps, shuffle=not task.ordered)


def advance(
    task: Trainable, optimizer: Any, key: jax.Array, indices: jax.Array, split: Tree, progress: Progress
) -> tuple[Progress, jax.Array]:
    """One optimizer step for each row of `indices` into the training split, and the mean of the losses."""

    def step(now: Progress, index: jax.Array) -> tuple[Progress, jax.Array]:
        batch = jax.tree.map(lambda a: a[index], split)
        step_key = jax.random.fold_in(fold(key, "steps"), now.step)
        (loss, state), grads = jax.value_and_grad(task.loss, has_aux=True)(now.params, now.state, batch, step_key)
        objective = lambda params: task.loss(params, now.state, batch, step_key)[0]
        params, optimizer_state = optim.step(optimizer, grads, now.optimizer_state, now.params, value=loss, objective=objective)
        count = now.step + 1
        diverged_at = jnp.where(jnp.isfinite(loss) | (now.diverged_at > 0), now.diverged_at, count)
        new = Progress(params, state, optimizer_state, count, diverged_at)
        frozen = jax.tree.map(lambda n, o: jnp.where(diverged_at == 0, n, o), new, now)
        return frozen._replace(step=count, diverged_at=diverged_at), loss

    progress, losses = jax.lax.scan(step, progress, indices)
    return progress, losses.mean()


def assess(
    task: Trainable, params: Tree, state: Tree, step: jax.Array, diverged_at: jax.Array, split: Tree
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """`diverged_at`, now `step` where the last step went wrong unseen, and the task's metrics on a split."""
    measured = evaluate(task, params, state, split)
    return jnp.where((diverged_at == 0) & ~jnp.isfinite(measured["loss"]), step, diverged_at), measured


def segment(task: Trainable, steps: int, optimizer: Any, key: jax.Array, arrays: Tree, progress: Progress) -> tuple[Progress, Measurements]:
    """`steps` optimizer steps and one measurement of the validation split.

    Args:
        task: what to train; `steps` is a constant.
        optimizer: anything with `init` and `update`, optax's included.
        key: the run's `jax.random.key`, the same in every segment; it decides batches and dropout.
        arrays: the data on the device, as `device_arrays` gives it.
        progress: as the segment before left it.
    """
    indices = batches(task, steps, key, examples(arrays["train"]), progress.step)
    progress, loss = advance(task, optimizer, key, indices, arrays["train"], progress)
    params = optim.evaluation_params(optimizer, progress.optimizer_state, progress.params)
    diverged_at, measured = assess(task, params, progress.state, progress.step, progress.diverged_at, arrays["validation"])
    return progress._replace(diverged_at=diverged_at), {"train": {"loss": loss}, "validation": measured}


def evaluate(task: Trainable, params: Tree, state: Tree, split: Tree) -> dict[str, jax.Array]:
    """The task's metrics as means over every example of a split, in batches that bound the memory.

    Batches that come in order are the task's own, and each is measured with the state that the one before left.
    """
    count = examples(split)
    size = task.batch_size if task.ordered else min(count, EVALUATION_BATCH)
    whole = count // size * size
    first = jax.tree.map(lambda a: a[:whole].reshape(-1, size, *a.shape[1:]), split)
    if task.ordered:
        _, measured = jax.lax.scan(lambda state, batch: task.measure(params, state, batch)[::-1], state, first)
    else:
        measured = jax.lax.map(lambda batch: task.measure(params, state, batch)[0], first)
    means = jax.tree.map(lambda m: m.mean(0), measured)
    if whole == count:
        return means
    rest, _ = task.measure(params, state, jax.tree.map(lambda a: a[whole:], split))
    return jax.tree.map(lambda a, b: (a * whole + b * (count - whole)) / count, means, rest)


def run(task: Trainable, optimizer: Any, key: jax.Array, arrays: Tree | None = None) -> tuple[Progress, Measurements]:
    """A whole run, for use inside `jax.jit`, `jax.vmap` and `jax.grad`; from the host, `Trainer` shows its progress.

    Args:
        task: what to train, for `task.steps` steps, measured every `task.evaluate_every`.
        optimizer: anything with `init` and `update`; its leaves may be traced or mapped.
        key: a `jax.random.key`. It decides initial parameters, batches and dropout: two optimizers under one key start
            alike and see the same batches.
        arrays: the data on the device, taken from the task where not given.

    Returns:
        The final `Progress`, and the measurements with a leading axis of `steps / evaluate_every`.
    """
    arrays = device_arrays(task.dataset, "train", "validation") if arrays is None else arrays
    body = lambda progress, _: segment(task, task.evaluate_every, optimizer, key, arrays, progress)
    return jax.lax.scan(body, start(task, optimizer, key), None, task.steps // task.evaluate_every)


def device_arrays(dataset: Dataset, *splits: str) -> dict[str, Tree]:
    """Splits by name on the default device, 64-bit arrays as 32-bit ones unless JAX is set to keep them."""

    def place(array: np.ndarray) -> jax.Array:
        return jnp.asarray(array, jax.dtypes.canonicalize_dtype(array.dtype))

    return {name: jax.tree.map(place, getattr(dataset, name)) for name in splits}
