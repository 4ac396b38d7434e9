"""Runs driven from the host: compiled once, watched segment by segment."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from fdl import optim
from fdl.core import jit
from fdl.data import examples
from fdl.train._run import Progress, Trainable, advance, assess, batches, device_arrays, evaluate, init

TRIALS = PartitionSpec("trials")
Program = Callable[..., tuple[Progress, jax.Array]]
KEPT = 2**26  # bytes of batches' indices that a trainer keeps


@dataclass(frozen=True, eq=False)
class Trainer:
    """A task made ready: data on the device, and what does not depend on the optimizer compiled once.

    Args:
        task: what to train.
        chunk: how many runs one program executes side by side, mapped by `jax.vmap`; 1 is a program without mapping.
        fast: as `fdl.jit` takes it.
        devices: how many share a chunk, each mapping as many of its runs; divides `chunk`.
    """

    task: Trainable
    chunk: int = 1
    fast: bool = True
    devices: int = 1
    arrays: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        arrays = device_arrays(self.task.dataset, "train", "validation", "test")
        object.__setattr__(self, "arrays", self._place(arrays, PartitionSpec()))

    @cached_property
    def _mesh(self) -> Any:
        return jax.make_mesh((self.devices,), ("trials",), axis_types=(AxisType.Auto,), devices=jax.devices()[: self.devices])

    def _place(self, tree: Any, spec: PartitionSpec) -> Any:
        """On every device whole, or divided among them by run."""
        return jax.device_put(tree, NamedSharding(self._mesh, spec)) if self.devices > 1 else tree

    def _mapped(self, function: Callable[..., Any], axes: tuple[int | None, ...]) -> Callable[..., Any]:
        """`function` over a leading axis of `chunk` runs, of which every device takes its share; they exchange nothing."""
        if self.chunk == 1:
            first = lambda arg, axis: arg if axis is None else jax.tree.map(lambda a: a[0], arg)
            return lambda *args: jax.tree.map(lambda a: a[None], function(*map(first, args, axes)))
        mapped = jax.vmap(function, axes)
        if self.devices == 1:
            return mapped
        specs = tuple(PartitionSpec() if axis is None else TRIALS for axis in axes)
        return jax.shard_map(mapped, mesh=self._mesh, in_specs=specs, out_specs=TRIALS, check_vma=False)

    def _program(self, function: Callable[..., Any], axes: tuple[int | None, ...], rare: bool = False) -> Any:
        return jit(self._mapped(function, axes), fast=self.fast, rare=rare)

    # What the optimizer has no part in is compiled once for all of them: to draw initial parameters and batches compiles
    # as long as training does.
    @cached_property
    def _init(self) -> Any:
        return self._program(partial(init, self.task), (0,), rare=True)

    @cached_property
    def _begin(self) -> Any:
        return self._program(lambda optimizer, params: optimizer.init(params), (0, 0))

    @cached_property
    def _batches(self) -> Any:
        count = examples(self.arrays["train"])
        return self._program(lambda key, step: batches(self.task, self.task.evaluate_every, key, count, step), (0, 0), rare=True)

    @cached_property
    def _drawn(self) -> Callable[[tuple[int, ...], int], jax.Array]:
        """The batches of runs with these seeds after a step, kept for the next trial that has the same ones.

        To draw them takes two thirds of the time of a small network's training steps.
        """
        most = max(KEPT // (4 * self.chunk * self.task.evaluate_every * self.task.batch_size), 1)
        return lru_cache(most)(
            lambda seeds, step: self._batches(*self._place((_keys(seeds), jnp.full(len(seeds), step, jnp.int32)), TRIALS))
        )

    @cached_property
    def _assess(self) -> Any:
        return self._program(partial(assess, self.task), (0, 0, 0, 0, None))

    @cached_property
    def _evaluation(self) -> Any:
        return self._program(lambda optimizer, now: optim.evaluation_params(optimizer, now.optimizer_state, now.params), (0, 0))

    @cached_property
    def _test(self) -> Any:
        return self._program(partial(evaluate, self.task), (0, 0, None))

    def prepare(self) -> list[Callable[[], Any]]:
        """What compiles the programs that all optimizers share, for threads to call."""
        keys, zero = self._place((_keys([0] * self.chunk), jnp.zeros(self.chunk, jnp.int32)), TRIALS)
        return [
            lambda: self._assess(*self._init(keys), zero, zero, self.arrays["validation"]),
            lambda: self._drawn((0,) * self.chunk, 0),
        ]

    def start(self, optimizers: Any, keys: jax.Array) -> Progress:
        """Every run before its first step; `optimizers` and `keys` have a leading axis."""
        params, state = self._init(keys)
        zero = self._place(jnp.zeros(len(keys), jnp.int32), TRIALS)
        return Progress(params, state, self._begin(optimizers, params), zero, zero)

    def compile(self, optimizers: Sequence[Any]) -> Program:
        """One program for every optimizer of this family: values may differ, the structure may not."""
        stacked, keys = self._stack(optimizers, [0] * len(optimizers))
        progress = self._shapes(jax.eval_shape(self.start, stacked, keys))
        indices = self._shapes(jax.eval_shape(self._batches, keys, progress.step))
        body = self._mapped(partial(advance, self.task), (0, 0, 0, None, 0))
        return jit(body, fast=self.fast).lower(stacked, keys, indices, self.arrays["train"], progress).compile()

    def _shapes(self, tree: Any) -> Any:
        sharding = NamedSharding(self._mesh, TRIALS) if self.devices > 1 else None
        return jax.tree.map(lambda s: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=sharding), tree)

    def _stack(self, optimizers: Sequence[Any], seeds: Sequence[int]) -> Any:
        return self._place((stack(optimizers), _keys(seeds)), TRIALS)

    def run(
        self, program: Program, optimizers: Sequence[Any], seeds: Sequence[int], progress: Progress | None = None, until: int | None = None
    ) -> Iterator[tuple[Progress, dict[str, dict[str, np.ndarray]]]]:
        """Runs side by side; after every segment yields where they stand and what was measured, by run.

        Args:
            program: as `compile` returned it; `optimizers` and `seeds` are `chunk` many.
            progress: where the runs stand; before their first step where not given.
            until: the step to end at; the task's `steps` where not given.
        """
        stacked, keys = self._stack(optimizers, seeds)
        progress = self.start(stacked, keys) if progress is None else self._place(progress, TRIALS)
        every, first = self.task.evaluate_every, int(np.max(progress.step))
        for step in range(first, (until or self.task.steps) - every + 1, every):
            indices = self._drawn(tuple(seeds), step)
            progress, loss = program(stacked, keys, indices, self.arrays["train"], progress)
            params = self._evaluated(stacked, progress)
            diverged_at, measured = self._assess(params, progress.state, progress.step, progress.diverged_at, self.arrays["validation"])
            progress = progress._replace(diverged_at=diverged_at)
            yield progress, jax.tree.map(np.asarray, {"train": {"loss": loss}, "validation": measured})

    def seconds_per_step(self, program: Program, optimizer: Any, repeats: int = 5) -> float:
        """The least time of up to `repeats` segments, of a second in all, by their steps: training alone, no batches, no evaluation."""
        stacked, keys = self._stack([optimizer] * self.chunk, [0] * self.chunk)
        progress = self.start(stacked, keys)
        indices = self._drawn((0,) * self.chunk, 0)
        times: list[float] = []
        while not times or (len(times) < repeats and sum(times) < 1):
            begun = time.perf_counter()
            jax.block_until_ready(program(stacked, keys, indices, self.arrays["train"], progress))
            times.append(time.perf_counter() - begun)
        return min(times) / self.task.evaluate_every

    def test(self, optimizers: Sequence[Any], progress: Progress) -> dict[str, np.ndarray]:
        """The task's metrics on the test split, by run."""
        return jax.tree.map(np.asarray, self._test(self.evaluation_params(optimizers, progress), progress.state, self.arrays["test"]))

    def evaluation_params(self, optimizers: Sequence[Any], progress: Progress) -> Any:
        """The parameters to measure and to keep, by run: `optim.evaluation_params`."""
        return self._evaluated(self._place(stack(optimizers), TRIALS), progress)

    def _evaluated(self, optimizers: Any, progress: Progress) -> Any:
        own = getattr(type(optimizers), "evaluation_params", None) not in (None, optim.Optimizer.evaluation_params)
        return self._evaluation(optimizers, progress) if own else progress.params


def stack(optimizers: Sequence[Any]) -> Any:
    """One optimizer whose leaves have a leading axis."""
    return jax.tree.map(lambda *values: jnp.asarray(np.stack(values), jnp.float32), *map(optim.as_pytree, optimizers))


def _keys(seeds: Sequence[int]) -> jax.Array:
    return jnp.stack([jax.random.key(seed) for seed in seeds])
