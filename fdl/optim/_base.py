"""What every optimizer is: a pytree of hyperparameters with `init` and `update`, and what a step may need beside the gradient."""

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

    def parts(self, state: Tree) -> dict[str, tuple[Any, Tree]]:
        """The optimizers that it is made of, each with its part of the state, by the names of their fields."""
        return {}

    def in_optax(self, optax: Any) -> Any:
        """The same rule, built by optax (the module, given); `None` where it has none. `to_optax` asks for it."""
        return None

    def __iter__(self) -> Iterator[Callable[..., Any]]:
        return iter((self.init, self.update))


def apply_updates(params: Tree, updates: Tree) -> Tree:
    """`params + updates`, leaf by leaf, in the parameters' dtypes."""
    return jax.tree.map(lambda p, u: p + u.astype(p.dtype), params, updates)


def step(
    optimizer: Any, grads: Tree, state: Tree, params: Tree, *, value: Any = None, objective: Objective | None = None
) -> tuple[Tree, Tree]:
    """The next parameters and state, by any optimizer: fdl's, optax's or one of your own with `init` and `update`.

    Args:
        optimizer: told as much of the loss as its `update` takes by keyword: see `call_update`.
        grads, state, params, value, objective: as `Optimizer.update` takes them.
    """
    updates, state = call_update(optimizer, grads, state, params, value=value, objective=objective)
    return apply_updates(params, updates), state


def call_update(
    optimizer: Any,
    grads: Tree,
    state: Tree,
    params: Tree | None = None,
    *,
    value: Any = None,
    objective: Objective | None = None,
    gradient: Tree | None = None,
) -> tuple[Tree, Tree]:
    """What `optimizer.update` gives, told as much of the loss as it takes by keyword; wrappers call what they wrap by it.

    It knows optax's names beside fdl's `value` and `objective`: `grad`, `grad_fn`, `value_fn` and `obj_fn`.

    Args:
        optimizer: fdl's, optax's or one of your own.
        grads, state, params, value, objective: as `Optimizer.update` takes them.
        gradient: the gradient of `objective`, where `grads` no longer is that.
    """
    known: dict[str, Any] = {"value": value, "objective": objective, "grad": grads if gradient is None else gradient}
    if objective is not None:

        def value_fn(params: Tree, objective: Objective = objective, obj_fn: Any = None, grad_fn: Any = None) -> jax.Array:
            return objective(params)  # optax's line searches refuse what value_fn does not take, and hand it the rest

        def grad_fn(params: Tree, step: Any = None) -> Tree:
            return jax.grad(objective)(params)

        known |= {"value_fn": value_fn, "obj_fn": objective, "grad_fn": grad_fn}
    known = {name: what for name, what in known.items() if what is not None}
    return optimizer.update(grads, state, params, **accepted(optimizer.update, known))


def accepted(function: Callable[..., Any], known: dict[str, Any]) -> dict[str, Any]:
    """What of `known` a function takes by keyword."""
    takes = inspect.signature(function).parameters
    everything = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in takes.values())
    return {name: what for name, what in known.items() if name in takes or everything}


def evaluation_params(optimizer: Any, state: Tree, params: Tree) -> Tree:
    """The parameters to measure and to keep after training with any optimizer; `params` unless it says otherwise."""
    own = getattr(optimizer, "evaluation_params", None)
    return params if own is None else own(state, params)


def gradients_per_step(*optimizers: Any) -> float:
    """What a step of any optimizers on one batch costs together in its gradients: the one they share, and what each asks for besides."""
    return 1 + sum(getattr(optimizer, "gradients_per_step", 1) - 1 for optimizer in optimizers)


def needed(optimizer: Optimizer, name: str, given: Any) -> Any:
    """`given`, or an `FdlError` that says how an optimizer gets what it needs beside the gradient."""
    if given is None:
        call = f"optim.step(optimizer, grads, state, params, {name}=...), as fdl's training does"
        raise FdlError(f"{type(optimizer).__name__}.update", f"no {name}", f"{name}= by keyword", call)
    return given
