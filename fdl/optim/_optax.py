"""Optimizers of other libraries as pytrees."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax

from fdl.core import FdlError
from fdl.optim._base import Optimizer, Tree, accepted, evaluation_params


@jax.tree_util.register_pytree_with_keys_class
@dataclass(frozen=True)
class Optax(Optimizer):
    """An optax optimizer that is built anew in every trace from traced hyperparameters. Made by `from_optax`."""

    factory: Callable[..., Any]
    hyperparameters: dict[str, Any]

    def init(self, params: Tree) -> Tree:
        return self.factory(**self.hyperparameters).init(params)

    def update(self, grads: Tree, state: Tree, params: Tree | None = None, **told: Any) -> tuple[Tree, Tree]:
        update = self.factory(**self.hyperparameters).update
        return update(grads, state, params, **accepted(update, told))

    def at(self, step: jax.Array) -> "Optax":
        return Optax(self.factory, {n: v(step) if callable(v) else v for n, v in self.hyperparameters.items()})

    @property
    def name(self) -> str:
        return getattr(self.factory, "__name__", "optax")

    def tree_flatten_with_keys(self) -> Any:
        children = [(jax.tree_util.GetAttrKey(name), value) for name, value in self.hyperparameters.items()]
        return children, (self.factory, tuple(self.hyperparameters))

    def tree_flatten(self) -> Any:
        return tuple(self.hyperparameters.values()), (self.factory, tuple(self.hyperparameters))

    @classmethod
    def tree_unflatten(cls, static: Any, leaves: Any) -> "Optax":
        return cls(static[0], dict(zip(static[1], leaves)))


def from_optax(factory: Callable[..., Any], **hyperparameters: Any) -> Optax:
    """`from_optax(optax.adam, learning_rate=1e-3)`: an optax optimizer as a pytree of its hyperparameters.

    Its values can be swept and differentiated, and another value does not recompile. An optax optimizer whose values need
    not vary works everywhere in fdl as it is.

    Args:
        factory: a function that returns an optax transformation; options that are no numbers belong in a
            `functools.partial`.
        hyperparameters: its numbers, by keyword.
    """
    return Optax(factory, hyperparameters)


@jax.tree_util.register_static
@dataclass(frozen=True)
class Fixed(Optimizer):
    """An optimizer whose hyperparameters are no leaves, as optax makes them. Made by `as_pytree`."""

    optimizer: Any

    @property
    def name(self) -> str:
        return type(self.optimizer).__name__.lower()

    def init(self, params: Tree) -> Tree:
        return self.optimizer.init(params)

    def update(self, grads: Tree, state: Tree, params: Tree | None = None, **told: Any) -> tuple[Tree, Tree]:
        return self.optimizer.update(grads, state, params, **accepted(self.optimizer.update, told))

    @property
    def gradients_per_step(self) -> float:
        return getattr(self.optimizer, "gradients_per_step", 1)

    def evaluation_params(self, state: Tree, params: Tree) -> Tree:
        return evaluation_params(self.optimizer, state, params)


def as_pytree(optimizer: Any) -> Any:
    """Anything with `init` and `update` as a pytree that compiled programs take as an argument.

    fdl's optimizers and others whose leaves are numbers are returned as they are; what holds functions, such as
    `optax.adam(1e-3)`, becomes one without leaves.
    """
    if not (hasattr(optimizer, "init") and hasattr(optimizer, "update")):
        raise FdlError("optimizer", repr(optimizer), "an object with init and update")
    opaque = any(leaf is optimizer or callable(leaf) for leaf in jax.tree.leaves(optimizer))
    return Fixed(optimizer) if opaque else optimizer
