"""Both ways with optax: its optimizers as pytrees, fdl's as its transformations, and the state of a run from one to the other."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from fdl.core import FdlError
from fdl.optim._base import Optimizer, Tree, call_update, evaluation_params


@jax.tree_util.register_pytree_with_keys_class
@dataclass(frozen=True)
class Optax(Optimizer):
    """An optax optimizer that is built anew in every trace from traced hyperparameters. Made by `from_optax`."""

    factory: Callable[..., Any]
    hyperparameters: dict[str, Any]

    def init(self, params: Tree) -> Tree:
        return self.factory(**self.hyperparameters).init(params)

    def update(
        self, grads: Tree, state: Tree, params: Tree | None = None, *, value: Any = None, objective: Any = None, grad: Tree | None = None
    ) -> tuple[Tree, Tree]:
        made = self.factory(**self.hyperparameters)
        return call_update(made, grads, state, params, value=value, objective=objective, gradient=grad)

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
        made = type(self.optimizer)
        return getattr(self.optimizer, "name", "optax" if made.__module__.startswith("optax.") else made.__name__.lower())

    def init(self, params: Tree) -> Tree:
        return self.optimizer.init(params)

    def update(
        self, grads: Tree, state: Tree, params: Tree | None = None, *, value: Any = None, objective: Any = None, grad: Tree | None = None
    ) -> tuple[Tree, Tree]:
        return call_update(self.optimizer, grads, state, params, value=value, objective=objective, gradient=grad)

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
    if isinstance(optimizer, type):
        raise FdlError("optimizer", f"the class {optimizer.__name__}", "an optimizer", f"Did you mean {optimizer.__name__}()?")
    if not (hasattr(optimizer, "init") and hasattr(optimizer, "update")):
        raise FdlError("optimizer", repr(optimizer), "an object with init and update")
    opaque = any(leaf is optimizer or callable(leaf) for leaf in jax.tree.leaves(optimizer))
    return Fixed(optimizer) if opaque else optimizer


def as_optax(optimizer: Any) -> Any:
    """An optimizer of fdl as a `GradientTransformationExtraArgs`, to which `optax.chain` hands on what it is told of the loss.

    One that needs no more than gradients stands in optax as it is. This one takes `value=`, and as `objective=`, `value_fn=` or
    `obj_fn=` the batch's loss as a function of the parameters: SAM, Polyak's step.
    """
    import optax

    def update(
        updates: Tree, state: Tree, params: Tree | None = None, *, value: Any = None, grad: Any = None, objective: Any = None,
        value_fn: Any = None, obj_fn: Any = None, **others: Any,
    ) -> tuple[Tree, Tree]:  # fmt: skip
        return call_update(optimizer, updates, state, params, value=value, objective=objective or value_fn or obj_fn, gradient=grad)

    return optax.GradientTransformationExtraArgs(optimizer.init, update)


def to_optax(optimizer: Any) -> Any:
    """The optax transformation that follows the same rule with the same numbers.

    An fdl optimizer needs no translation to stand in `optax.chain`; this is for code that must hold optax's own, and for
    moving a run between them (`state_to_optax`).

    Raises:
        FdlError: where optax lacks the rule or the option.
    """
    import optax

    theirs = in_optax(optimizer, optax)
    if theirs is None:
        raise FdlError(
            repr(optimizer), "a rule or option that optax lacks", "one that it has", "optax.chain takes fdl's optimizer as it is."
        )
    return theirs


def in_optax(optimizer: Any, optax: Any) -> Any:
    """`Optimizer.in_optax` for any optimizer: what is optax's, itself."""
    if isinstance(optimizer, Optax):
        return optimizer.factory(**optimizer.hyperparameters)
    if isinstance(optimizer, Fixed):
        return in_optax(optimizer.optimizer, optax)
    return optimizer.in_optax(optax) if isinstance(optimizer, Optimizer) else optimizer


def state_to_optax(optimizer: Any, state: Tree, params: Tree) -> Any:
    """The state of `to_optax(optimizer)` from which it goes on as `optimizer` would from `state`.

    Args:
        optimizer: with a counterpart in optax.
        state: its state.
        params: the parameters, for shapes and dtypes; optax keeps most state in these dtypes, fdl in float32 at least.
    """
    return fill_theirs(optimizer, to_optax(optimizer).init(params), state)


def state_from_optax(optimizer: Any, state: Any, params: Tree, step: Any = 0) -> Tree:
    """The state of `optimizer` from which it goes on as `to_optax(optimizer)` would from optax's `state`.

    Args:
        optimizer: with a counterpart in optax.
        state: optax's.
        params: the parameters, for shapes and dtypes.
        step: how many steps were taken, where optax's state does not count them (SGD's, Adagrad's).
    """
    return fill_ours(optimizer, optimizer.init(params), state, step)


def fill_theirs(optimizer: Any, theirs: Any, ours: Tree) -> Any:
    """optax's state `theirs` with the values of fdl's; an optimizer made of others says itself how, by `state_to_optax`."""
    import optax

    if not isinstance(optimizer, Optimizer) or isinstance(optimizer, (Optax, Fixed)):
        return fit(ours, theirs)
    if hasattr(optimizer, "state_to_optax"):
        return optimizer.state_to_optax(theirs, ours)
    moved = {name: ours[slot] for slot, name in _slots(optimizer)}
    moved = {name: fit(new, optax.tree_utils.tree_get(theirs, name)) for name, new in moved.items()}
    names = getattr(optimizer, "optax_counts", ("count",))
    counts = {name: ours["step"] for name in names if optax.tree_utils.tree_get_all_with_path(theirs, name)}
    return optax.tree_utils.tree_set(theirs, **moved, **counts)


def fill_ours(optimizer: Any, ours: Tree, theirs: Any, step: Any) -> Tree:
    """The way back, by `state_from_optax`."""
    import optax

    if not isinstance(optimizer, Optimizer) or isinstance(optimizer, (Optax, Fixed)):
        return fit(theirs, ours)
    if hasattr(optimizer, "state_from_optax"):
        return optimizer.state_from_optax(ours, theirs, step)
    counts = [count for _, count in optax.tree_utils.tree_get_all_with_path(theirs, "count")]
    moved = {slot: optax.tree_utils.tree_get(theirs, name) for slot, name in _slots(optimizer)}
    moved["step"] = jnp.asarray(counts[0] if counts else step)
    return ours | {name: fit(new, ours[name]) for name, new in moved.items()}


def _slots(optimizer: Any) -> list[tuple[str, str]]:
    """fdl's names of a rule's state and optax's."""
    return list(zip(getattr(optimizer, "slots", ()), getattr(optimizer, "optax_slots", ())))


def fit(new: Tree, old: Tree) -> Tree:
    """The leaves of `new` in the tree and dtypes of `old`: where leaves are left out, optax's tree has a mark and fdl's `None`."""
    tree: Any
    leaves, tree = jax.tree.flatten(old)
    return tree.unflatten([n if n.dtype == o.dtype else n.astype(o.dtype) for n, o in zip(jax.tree.leaves(new), leaves, strict=True)])
