"""Runs driven from the host: compiled once, watched segment by segment."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fdl import optim
from fdl.core import jit
from fdl.train._run import Measurements, Progress, Trainable, device_arrays, evaluate, segment, start

Program = Callable[..., tuple[Progress, Measurements]]


@dataclass(frozen=True, eq=False)
class Trainer:
    """A task made ready: data on the device, and what does not depend on the optimizer compiled once.

    Args:
        task: what to train.
        chunk: how many runs one program executes side by side, mapped by `jax.vmap`; 1 is a program without mapping.
        fast: as `fdl.jit` takes it.
    """

    task: Trainable
    chunk: int = 1
    fast: bool = True
    arrays: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "arrays", device_arrays(self.task.dataset, "train", "validation", "test"))

    def _mapped(self, function: Callable[..., Any], axes: tuple[int | None, ...]) -> Callable[..., Any]:
        """`function` over a leading axis of `chunk` runs."""
        if self.chunk > 1:
            return jax.vmap(function, axes)
        first = lambda arg, axis: arg if axis is None else jax.tree.map(lambda a: a[0], arg)
        return lambda *args: jax.tree.map(lambda a: a[None], function(*map(first, args, axes)))

    @cached_property
    def _start(self) -> Callable[..., Progress]:
        return jit(self._mapped(partial(start, self.task), (0, 0)), fast=self.fast)

    @cached_property
    def _test(self) -> Callable[..., dict[str, jax.Array]]:
        return jit(self._mapped(partial(evaluate, self.task), (0, 0, None)), fast=self.fast)

    def compile(self, optimizers: Sequence[Any]) -> Program:
        """One program for every optimizer of this family: values may differ, the structure may not."""
        stacked, keys = stack(optimizers), _keys([0] * len(optimizers))
        body = self._mapped(partial(segment, self.task, self.task.evaluate_every), (0, 0, None, 0))
        shapes = jax.eval_shape(self._mapped(partial(start, self.task), (0, 0)), stacked, keys)
        return jit(body, fast=self.fast).lower(stacked, keys, self._seen, shapes).compile()

    @property
    def _seen(self) -> dict[str, Any]:
        return {name: self.arrays[name] for name in ("train", "validation")}

    def run(
        self, program: Program, optimizers: Sequence[Any], seeds: Sequence[int]
    ) -> Iterator[tuple[Progress, dict[str, dict[str, np.ndarray]]]]:
        """Runs side by side; after every segment yields where they stand and what was measured, by run.

        Args:
            program: as `compile` returned it; `optimizers` and `seeds` are `chunk` many.
        """
        stacked, keys = stack(optimizers), _keys(seeds)
        progress = self._start(stacked, keys)
        for _ in range(self.task.steps // self.task.evaluate_every):
            progress, measured = program(stacked, keys, self._seen, progress)
            yield progress, jax.tree.map(np.asarray, measured)

    def test(self, progress: Progress) -> dict[str, np.ndarray]:
        """The task's metrics on the test split, by run."""
        return jax.tree.map(np.asarray, self._test(progress.params, progress.state, self.arrays["test"]))


def stack(optimizers: Sequence[Any]) -> Any:
    """One optimizer whose leaves have a leading axis."""
    return jax.tree.map(lambda *values: jnp.stack([jnp.asarray(v, jnp.float32) for v in values]), *map(optim.as_pytree, optimizers))


def _keys(seeds: Sequence[int]) -> jax.Array:
    return jnp.stack([jax.random.key(seed) for seed in seeds])
