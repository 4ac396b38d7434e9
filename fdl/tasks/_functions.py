"""A task from plain functions: a loss of parameters and batch, and arrays."""

import inspect
import numbers
import re
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fdl.core import FdlError, fold, jit
from fdl.data import Dataset, examples
from fdl.data._dataset import check_split
from fdl.nn import flops
from fdl.tasks._task import check_budget

Tree = Any
SPLITS = ("train", "validation", "test")


@dataclass(frozen=True, eq=False)
class FunctionTask:
    """A learning problem given by functions, as `from_loss` makes it.

    Args:
        name: how it is called in reports.
        loss_fn: `(params, batch)` or `(params, batch, *, key)` to a scalar.
        params: initial parameters, or a function of a key that returns them.
        dataset: three splits of one structure.
        batch_size, steps, evaluate_every, metrics, objective, maximise: as in `from_loss`.

    Raises:
        FdlError: for a budget that does not fit, or functions that cannot be traced or return anything but a scalar.
    """

    name: str
    loss_fn: Callable[..., jax.Array]
    params: Tree
    dataset: Dataset
    batch_size: int
    steps: int
    evaluate_every: int
    metrics: Mapping[str, Callable[[Tree, Tree], jax.Array]]
    objective: str
    maximise: bool

    def __post_init__(self) -> None:
        check_budget(self, examples(self.dataset.train), ("loss", *self.metrics))
        _check_functions(self)

    @property
    def ordered(self) -> bool:
        """Batches are drawn at random."""
        return False

    def init(self, key: jax.Array) -> tuple[Tree, Tree]:
        """Parameters, 64-bit ones as 32-bit ones unless JAX is set to keep them, and an empty state."""
        params = self.params(key) if is_function(self.params) else self.params
        return jax.tree.map(lambda p: jnp.asarray(p, jax.dtypes.canonicalize_dtype(jnp.result_type(p))), params), {}

    def loss(self, params: Tree, state: Tree, batch: Tree, key: jax.Array) -> tuple[jax.Array, Tree]:
        """A batch's loss while training, and the state as it was."""
        return self._loss(params, batch, key), state

    def measure(self, params: Tree, state: Tree, batch: Tree) -> tuple[dict[str, jax.Array], Tree]:
        """Loss, with `None` for its key, and metrics of a batch, and the state as it was."""
        return {"loss": self._loss(params, batch, None), **{name: metric(params, batch) for name, metric in self.metrics.items()}}, state

    def _loss(self, params: Tree, batch: Tree, key: jax.Array | None) -> jax.Array:
        return self.loss_fn(params, batch, key=key) if self._takes_key else self.loss_fn(params, batch)

    @cached_property
    def _takes_key(self) -> bool:
        return "key" in inspect.signature(self.loss_fn).parameters

    def card(self) -> dict[str, Any]:
        """What is trained, as JSON values.

        The loss is named with a checksum of the program that the functions trace to, constants included: with another
        function, a study is another study. Another version of JAX may give it another checksum.
        """
        data, arguments = self.dataset, self._arguments()
        traced = jax.make_jaxpr(lambda p, b, k: (self.init(k), self.loss(p, {}, b, k), self.measure(p, {}, b)))(*arguments)
        text = re.sub("0x[0-9a-f]+", "", str(traced))  # addresses, should there be any, change from process to process
        params = jax.tree_util.tree_flatten_with_path(arguments[0])[0]
        return {
            "dataset": data.name,
            "source": data.source,
            "licence": data.licence,
            "crc32": data.crc32,
            "examples": {split: examples(getattr(data, split)) for split in SPLITS},
            "model": [
                f"{getattr(self.loss_fn, '__qualname__', 'loss_fn')}, program {_checksum([text, *traced.consts])}",
                *[f"params{jax.tree_util.keystr(path)} {_shape(leaf)}" for path, leaf in params],
            ],
            "parameters": sum(leaf.size for _, leaf in params),
        }

    def flops(self) -> int:
        """FLOPs of one batch's loss."""
        return flops(self._loss, *self._arguments())

    def _arguments(self) -> tuple[Tree, Tree, jax.Array]:
        """Parameters and a batch as shapes and dtypes, and a key."""
        key = jax.random.key(0)
        return jax.eval_shape(self.init, key)[0], _shapes(self.dataset.train, self.batch_size), key


def from_loss(
    name: str, loss_fn: Callable[..., jax.Array], params: Tree, train: Tree, validation: Tree = None, test: Tree = None, *,
    batch_size: int, steps: int, evaluate_every: int | None = None, metrics: Mapping[str, Callable[[Tree, Tree], jax.Array]] | None = None,
    objective: str = "loss", maximise: bool = False, source: str = "", licence: str = "",
) -> FunctionTask:  # fmt: skip
    """A task from plain functions and arrays, to be trained or compared as any other.

    Args:
        name: how it is called in reports.
        loss_fn: `(params, batch)` to a scalar, a mean over the batch. A loss that draws (dropout, a sampled latent) takes
            `(params, batch, *, key)`: another key at every step, and `None` where it is measured.
        params: a pytree of floating arrays from which every run starts, or a function `key -> params`: each seed its own.
        train: a pytree of arrays (a dict, a tuple, one array) with examples along their first axis. A batch is the same
            pytree with `batch_size` rows, drawn anew in every epoch.
        validation: what choices are made on, such as a learning rate; a pytree like `train`, of any length.
        test: what is reported, once; likewise. Of these two, what is missing is split off `train`, a fifth of it each, by
            a fixed permutation (NumPy's `default_rng(0)`), and `dataset.source` says so. Rows that belong together, as in
            a time series, should be split by hand.
        batch_size: examples a step.
        steps: optimizer steps of a run.
        evaluate_every: steps between two measurements; divides `steps`. Default: the largest for 20 measurements or more.
        metrics: functions `(params, batch)` to a scalar, a mean over the batch, by name.
        objective: the metric, or "loss", that decides between trials, measured on validation at the end of a run.
        maximise: whether more of it is better.
        source, licence: of the data, for the report.

    Raises:
        FdlError: before anything is trained: for arrays that are empty, unequal in length or not finite, parameters that
            are not floating, functions that do not return one number, a loss or gradient that is not finite at the start.
    """
    given = {"train": train, "validation": validation, "test": test}
    given = {split: _host(f"task {name}, {split}", tree) for split, tree in given.items() if tree is not None}
    for split, tree in given.items():
        check_split(f"task {name}, {split}", tree)
        if str(jax.tree.structure(tree)) != str(jax.tree.structure(given["train"])):
            raise FdlError(f"task {name}, {split}", describe(tree), f"the structure of train, {describe(given['train'])}")
    note = ""
    missing = [split for split in SPLITS if split not in given]
    if missing:
        given |= _split_off(f"task {name}, train", given["train"], missing)
        note = f"; {' and '.join(missing)}: a fifth of train{' each' * (len(missing) > 1)}, by a fixed permutation"
    dataset = Dataset(
        name, given["train"], given["validation"], given["test"], source=(source or "given as arrays") + note, licence=licence
    )
    if evaluate_every is None:  # steps that are no number are refused below
        whole = isinstance(steps, numbers.Integral)
        evaluate_every = max(n for n in range(1, max(steps // 20, 1) + 1) if steps % n == 0) if whole else 1
    task = FunctionTask(name, loss_fn, params, dataset, batch_size, steps, evaluate_every, metrics or {}, objective, maximise)
    _check_start(task)
    return task


def is_function(params: Tree) -> bool:
    """Whether parameters are given by a function: a pytree that can be called, such as another library's module, is none."""
    return callable(params) and jax.tree_util.treedef_is_leaf(jax.tree.structure(params))


def describe(tree: Tree) -> str:
    """A pytree with its arrays as text: `{'x': float32[8, 3]}`."""
    return str(jax.tree.map(lambda a: _Text(_shape(a)), tree))


class _Text(str):
    __repr__ = str.__str__


def _shape(array: Any) -> str:
    return f"{jnp.result_type(array)}{list(np.shape(array))}"


def _shapes(split: Tree, rows: int) -> Tree:
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct((rows, *a.shape[1:]), jax.dtypes.canonicalize_dtype(a.dtype)), split)


def _host(where: str, tree: Tree) -> Tree:
    try:
        return jax.tree.map(np.asarray, tree)
    except (TypeError, ValueError) as error:
        raise FdlError(where, str(error), "arrays of numbers, examples along their first axis") from error


def _checksum(parts: Any) -> str:
    crc = 0
    for part in parts:
        crc = zlib.crc32(part.encode() if isinstance(part, str) else np.ascontiguousarray(part).tobytes(), crc)
    return f"{crc:08x}"


def _split_off(where: str, train: Tree, names: list[str]) -> dict[str, Tree]:
    """What is left of `train` and its splits of these names, a fifth of it each."""
    count = examples(train)
    if count < 5:
        raise FdlError(where, f"{count} examples", f"at least 5, to split off {' and '.join(names)}", "Give validation and test.")
    order, size = np.random.default_rng(0).permutation(count), count // 5
    rows = {name: order[i * size : (i + 1) * size] for i, name in enumerate(names)} | {"train": order[len(names) * size :]}
    return {name: jax.tree.map(lambda a: a[np.sort(index)], train) for name, index in rows.items()}  # noqa: B023


def _check_functions(task: FunctionTask) -> None:
    """Traces parameters, loss and metrics: each mistake is one message, and nothing is compiled."""
    key, where = jax.random.key(0), f"task {task.name}"
    for name in task.metrics:
        if name == "loss":
            raise FdlError(f"{where}, metrics", "'loss'", "another name: the loss itself is always measured")
    params, _ = _trace(f"{where}, params", "a pytree of arrays, or a function of a key that returns one", task.init, key)
    leaves = jax.tree_util.tree_flatten_with_path(params)[0]
    if not leaves:
        raise FdlError(f"{where}, params", repr(params), "at least one array")
    for path, leaf in leaves:
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            fix = "Gradients move what is in params: keep constants outside, in the loss function."
            raise FdlError(f"{where}, params{jax.tree_util.keystr(path)}", _shape(leaf), "a floating dtype", fix)
    functions: dict[str, Callable[..., jax.Array]] = {
        "loss_fn": task._loss,
        **{f"metric {name}": _without_key(metric) for name, metric in task.metrics.items()},
    }
    for name, function in functions.items():
        for split in SPLITS:
            data = getattr(task.dataset, split)
            at = f"{where}, {name}" + (f" on {split}" if split != "train" else "")
            batch = _shapes(data, task.batch_size if split == "train" else examples(data))
            call = f"a scalar for params {describe(params)} and batch {describe(batch)}"
            out = _trace(at, call, function, params, batch, key if split == "train" else None)  # measured without a key
            if not isinstance(out, jax.ShapeDtypeStruct):
                fix = "Return the loss alone; what else is to be measured is a metric." if isinstance(out, tuple) else ""
                raise FdlError(at, "nothing returned" if out is None else f"a {type(out).__name__}", "one scalar", fix)
            if out.shape:
                raise FdlError(at, f"an array of shape {list(out.shape)}", "one scalar, of shape []", "Take the mean over the batch.")
            if not jnp.issubdtype(out.dtype, jnp.floating):
                fix = "A loss has to have a gradient." if name == "loss_fn" else "Convert it with .astype(float)."
                raise FdlError(at, f"dtype {out.dtype}", "a floating dtype", fix)


def _without_key(metric: Callable[[Tree, Tree], jax.Array]) -> Callable[[Tree, Tree, Any], jax.Array]:
    return lambda params, batch, key: metric(params, batch)


def _trace(where: str, expected: str, function: Callable[..., Any], *args: Any) -> Any:
    try:
        return jax.eval_shape(function, *args)
    except FdlError:
        raise
    except Exception as error:  # whatever a user's function raises
        lines = str(error).strip().splitlines() or [""]
        raise FdlError(where, f"{type(error).__name__}: {lines[0].rstrip('.')}", expected) from error


def _check_start(task: FunctionTask) -> None:
    """Loss and gradient of the first examples, computed once, with seed 0's parameters."""
    key = jax.random.key(0)
    params, _ = task.init(fold(key, "init"))
    batch = jax.tree.map(lambda a: jnp.asarray(a[: task.batch_size], jax.dtypes.canonicalize_dtype(a.dtype)), task.dataset.train)
    loss, grads = jit(jax.value_and_grad(task._loss))(params, batch, key)
    for what, tree in (("params", params), ("loss", loss), ("gradient of params", grads)):
        for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
            bad = ~np.isfinite(np.asarray(leaf, np.float64))
            if bad.any():
                found = f"{np.asarray(leaf, np.float64)[bad][0]} in {what}{jax.tree_util.keystr(path)}"
                fix = "jax.config.update('jax_debug_nans', True) shows the operation." if what != "params" else ""
                raise FdlError(f"task {task.name}, at the start", found, "finite values", fix)
