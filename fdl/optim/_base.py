"""What every optimizer shares: hyperparameters as pytree leaves, a rule for one array, schedules, dtypes."""

import dataclasses
import inspect
import math
from collections.abc import Callable, Iterator
from typing import Any, TypeVar, dataclass_transform

import jax
import jax.numpy as jnp

from fdl.core import FdlError

Tree = Any
Hyperparameter = Any
"""A number, an array (traced or mapped), or a schedule: a pytree that is callable on the step count."""

Objective = Callable[[Tree], jax.Array]
"""One batch's loss as a function of the parameters."""

C = TypeVar("C", bound=type)


def static(*, default: Any) -> Any:
    """A field that changes the structure of the computation: part of the pytree's type, no leaf."""
    return dataclasses.field(default=default, metadata={"static": True})


@dataclass_transform(frozen_default=True, field_specifiers=(static,))
def optimizer(cls: C) -> C:
    """Makes a class a frozen dataclass and a pytree whose leaves are its hyperparameters.

    One compiled program then serves every value: a new rate never recompiles, `jax.vmap` over optimizers is a sweep and
    `jax.grad` with respect to a rate works.
    """
    made: Any = dataclasses.dataclass(frozen=True)(cls)
    fixed = [f.name for f in dataclasses.fields(made) if f.metadata.get("static")]
    names = [f.name for f in dataclasses.fields(made) if not f.metadata.get("static")]

    def flatten(self: Any) -> Any:
        return [(jax.tree_util.GetAttrKey(n), getattr(self, n)) for n in names], tuple(getattr(self, n) for n in fixed)

    def unflatten(aux: Any, leaves: Any) -> Any:
        self: Any = object.__new__(made)  # unchecked: gradients and vmap's axes have this structure too, and may be 0 or negative
        self.__dict__.update(zip(fixed, aux))
        self.__dict__.update(zip(names, leaves))
        return self

    jax.tree_util.register_pytree_with_keys(made, flatten, unflatten)
    return made


class Optimizer:
    """An optimizer: `init(params)` gives its state, `update(grads, state, params)` the updates and the next state.

    Iterating gives `(init, update)`, so it can stand in `optax.chain` and wherever optax takes a transformation.

    Some rules need more than a gradient: `update` takes the loss as `value=`, and as `objective=` the loss of the same batch
    as a function of the parameters, from which JAX derives second gradients and Hessian-vector products. Some are to be
    measured at other parameters than those they train: `evaluation_params`. `step` does all of it.
    """

    @property
    def gradients_per_step(self) -> float:
        """What a step costs in gradients of one batch, the one it is given included; `fdl compare` gives equal budgets of them."""
        return 1

    def __post_init__(self) -> None:
        """Raises `FdlError` where a learning rate is a number that is not positive and finite."""
        lr = getattr(self, "lr", None)
        if isinstance(lr, (int, float)) and not isinstance(lr, bool) and not (lr > 0 and math.isfinite(lr)):
            raise FdlError(f"{type(self).__name__}(lr)", repr(lr), "a positive, finite learning rate")

    @property
    def name(self) -> str:
        """What commands and reports call it."""
        return type(self).__name__.lower()

    def init(self, params: Tree) -> Tree:
        """The state before the first step, for parameters of these shapes and dtypes."""
        raise NotImplementedError

    def update(
        self, grads: Tree, state: Tree, params: Tree | None = None, *, value: Any = None, objective: Objective | None = None
    ) -> tuple[Tree, Tree]:
        """What to add to the parameters, and the next state.

        Args:
            grads: the gradient of one batch's loss, a tree like the parameters.
            state: as from `init` or the step before.
            params: where the gradient was taken; some rules do without.
            value: the loss there, a scalar.
            objective: the batch's loss as a function of the parameters.
        """
        raise NotImplementedError

    def evaluation_params(self, state: Tree, params: Tree) -> Tree:
        """The parameters to measure and to keep; those that are trained, unless the rule says otherwise."""
        return params

    def at(self, step: jax.Array) -> Any:
        """This optimizer with every schedule replaced by its value at `step`, counted from 0."""
        fields = [f.name for f in dataclasses.fields(self)]  # type: ignore[arg-type]
        values = {name: getattr(self, name) for name in fields}
        return dataclasses.replace(self, **{n: jnp.asarray(v(step)) for n, v in values.items() if callable(v)})  # type: ignore[type-var]

    def __iter__(self) -> Iterator[Callable[..., Any]]:
        return iter((self.init, self.update))


class Leafwise(Optimizer):
    """An optimizer whose rule is the same for every array, written for one as in its paper.

    A subclass names its state in `slots` and writes `rule`. Arithmetic and state are in float32 at least, hyperparameters
    in the same dtype whether they are constants or traced, and the update is cast to the parameter's dtype.
    """

    slots: tuple[str, ...] = ()
    """Names of the state that each array has; a slot holds an array or a pytree of arrays."""

    def start(self, p: jax.Array) -> tuple[Any, ...]:
        """The slots' first values for one parameter array: zeros."""
        return (jnp.zeros_like(p),) * len(self.slots)

    def rule(self, t: jax.Array, g: jax.Array, p: Any, *slots: Any) -> tuple[Any, ...]:
        """One array's update followed by its new slots.

        Args:
            t: counts steps from 1, in the dtype of `g`.
            g: the gradient, in float32 at least.
            p: the parameters, likewise; `None` where `update` was not given any.
            slots: as `start` or the step before made them.
        """
        raise NotImplementedError

    def init(self, params: Tree) -> Tree:
        tree: Any
        leaves, tree = jax.tree.flatten(params)
        columns = _columns([_cast(self, p).start(p.astype(_wide(p))) for p in leaves], len(self.slots))
        return {"step": jnp.zeros((), jnp.int32), **{name: tree.unflatten(c) for name, c in zip(self.slots, columns)}}

    def update(
        self, grads: Tree, state: Tree, params: Tree | None = None, *, value: Any = None, objective: Objective | None = None
    ) -> tuple[Tree, Tree]:
        now, t = self.at(state["step"]), state["step"] + 1
        tree: Any
        leaves, tree = jax.tree.flatten(grads)
        likes = [None] * len(leaves) if params is None else tree.flatten_up_to(params)
        slots = [tree.flatten_up_to(state[name]) for name in self.slots]
        out = []
        for g, p, *s in zip(leaves, likes, *slots):
            wide = _wide(g)
            step, *new = _cast(now, g).rule(t.astype(wide), g.astype(wide), None if p is None else p.astype(wide), *s)
            out.append((step.astype((g if p is None else p).dtype), *new))
        updates, *columns = _columns(out, 1 + len(self.slots))
        return tree.unflatten(updates), {"step": t, **{name: tree.unflatten(c) for name, c in zip(self.slots, columns)}}


def _wide(x: jax.Array) -> Any:
    with jax.numpy_dtype_promotion("standard"):  # in strict mode promote_types refuses
        return jnp.promote_types(x.dtype, jnp.float32)


def _columns(rows: list[tuple[Any, ...]], count: int) -> list[tuple[Any, ...]]:
    return list(zip(*rows)) if rows else [()] * count


def _cast(optimizer: Any, like: jax.Array) -> Any:
    """The same optimizer with each hyperparameter an array of the dtype to compute in; schedules stay."""
    keep = lambda leaf: leaf if callable(leaf) else jnp.asarray(leaf).astype(_wide(like))
    return jax.tree.map(keep, optimizer, is_leaf=callable)


def safe_sqrt(x: jax.Array) -> jax.Array:
    """`sqrt(x)` with derivative 0 at 0, where `jnp.sqrt`'s is infinite.

    Without it the gradient with respect to a learning rate is NaN as soon as one unit's gradient is always 0.
    """
    zero = x == 0
    return jnp.where(zero, 0, jnp.sqrt(jnp.where(zero, 1, x)))


def apply_updates(params: Tree, updates: Tree) -> Tree:
    """`params + updates`, leaf by leaf, in the parameters' dtypes."""
    return jax.tree.map(lambda p, u: p + u.astype(p.dtype), params, updates)


def step(
    optimizer: Any, grads: Tree, state: Tree, params: Tree, *, value: Any = None, objective: Objective | None = None
) -> tuple[Tree, Tree]:
    """The next parameters and state, by any optimizer: fdl's, optax's or one of your own with `init` and `update`.

    Args:
        optimizer: told as much of the loss as its `update` takes by keyword: `value` and `objective`, and by optax's names
            `value`, `grad`, `value_fn` and `obj_fn`.
        grads, state, params, value, objective: as `Optimizer.update` takes them.
    """
    known = {"value": value, "objective": objective, "grad": grads, "value_fn": objective, "obj_fn": objective}
    known = {name: what for name, what in known.items() if what is not None}
    updates, state = optimizer.update(grads, state, params, **accepted(optimizer.update, known))
    return apply_updates(params, updates), state


def accepted(function: Callable[..., Any], known: dict[str, Any]) -> dict[str, Any]:
    """What of `known` a function takes by keyword."""
    takes = inspect.signature(function).parameters
    everything = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in takes.values())
    return {name: what for name, what in known.items() if name in takes or everything}


def evaluation_params(optimizer: Any, state: Tree, params: Tree) -> Tree:
    """The parameters to measure and to keep after training with any optimizer; `params` unless it says otherwise."""
    own = getattr(optimizer, "evaluation_params", None)
    return params if own is None else own(state, params)


def needed(optimizer: Optimizer, name: str, given: Any) -> Any:
    """`given`, or an `FdlError` that says how an optimizer gets what it needs beside the gradient."""
    if given is None:
        call = f"optim.step(optimizer, grads, state, params, {name}=...), as fdl's training does"
        raise FdlError(f"{type(optimizer).__name__}.update", f"no {name}", f"{name}= by keyword", call)
    return given
