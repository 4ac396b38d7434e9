"""Optimizers made of others: what wrappers share, and the numbers of a whole as its next step takes them."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from fdl.optim._base import Objective, Optimizer, Tree, call_update, evaluation_params, gradients_per_step, optimizer
from fdl.optim._optax import Fixed, Optax, as_pytree
from fdl.optim._rule import _wide


@optimizer
class Wrapper(Optimizer):
    """An optimizer around another, its first field `inner`: fdl's, optax's or one of your own. A base class.

    A subclass writes `update`. Its state holds the inner one's as `inner` and counts its own steps as `step`; what else it
    keeps, `start` makes.
    """

    inner: Any

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "inner", as_pytree(self.inner))

    @property
    def name(self) -> str:
        return f"{type(self).__name__.lower()}({name_of(self.inner)})"

    @property
    def gradients_per_step(self) -> float:
        return gradients_per_step(self.inner)

    def start(self, params: Tree) -> dict[str, Any]:
        """The state before the first step, beside `inner` and `step`."""
        return {}

    def init(self, params: Tree) -> Tree:
        return {"inner": self.inner.init(params), "step": jnp.zeros((), jnp.int32), **self.start(params)}

    def evaluation_params(self, state: Tree, params: Tree) -> Tree:
        return evaluation_params(self.inner, state["inner"], params)

    def parts(self, state: Tree) -> dict[str, tuple[Any, Tree]]:
        return {"inner": (self.inner, state["inner"])}

    def update_if(
        self, condition: jax.Array, grads: Tree, inner: Tree, params: Tree | None, value: Any, objective: Objective | None
    ) -> tuple[Tree, Tree]:
        """The inner optimizer's updates and next state where the condition holds; else no move, and the state as it was."""
        like = grads if params is None else params

        def move() -> tuple[Tree, Tree]:
            updates, new = call_update(self.inner, grads, inner, params, value=value, objective=objective)
            return cast(updates, like), cast(new, inner)

        return jax.lax.cond(condition, move, lambda: (jax.tree.map(jnp.zeros_like, like), inner))


def name_of(optimizer: Any) -> str:
    """What commands and reports call any optimizer."""
    return getattr(optimizer, "name", type(optimizer).__name__.lower())


def cast(tree: Tree, like: Tree) -> Tree:
    """A tree in the dtypes of another one of its structure."""
    return jax.tree.map(lambda x, l: x if x.dtype == l.dtype else x.astype(l.dtype), tree, like)


def copied(params: Tree) -> Tree:
    """The parameters in float32 at least, in buffers of their own, so that both may be donated."""
    return jax.tree.map(lambda p: jnp.array(p, _wide(p), copy=True), params)


def whole(count: Any) -> jax.Array:
    """A number of steps, whatever kind of number it comes as: swept ones are floats."""
    return jnp.round(jnp.asarray(count)).astype(jnp.int32)


def hyperparameters(optimizer: Any, state: Tree) -> dict[str, jax.Array]:
    """An optimizer's numbers by name as its next step takes them: schedules at the step that `state` counts.

    `{"lr": ..., "b1": ...}`, and of optimizers within others `"inner.lr"`, `"stages.1.lr"`, `"groups.*/bias.lr"`. It works
    in compiled functions, so that a run can record them.

    Args:
        optimizer: fdl's or of `from_optax`; what optax itself makes keeps its numbers to itself.
        state: as from `init` or a step.
    """
    if isinstance(optimizer, Fixed):
        return hyperparameters(optimizer.optimizer, state)
    parts = optimizer.parts(state) if isinstance(optimizer, Optimizer) else {}
    found = _numbers(optimizer, state, {name.partition(".")[0] for name in parts})
    for name, (part, own) in parts.items():
        found |= {f"{name}.{inner}": value for inner, value in hyperparameters(part, own).items()}
    return found


def _numbers(optimizer: Any, state: Tree, without: set[str]) -> dict[str, jax.Array]:
    """Those of the optimizer's own fields."""
    if isinstance(optimizer, Optax):
        import optax

        counts = [count for _, count in optax.tree_utils.tree_get_all_with_path(state, "count")]
        values = (optimizer.at(counts[0]) if counts else optimizer).hyperparameters
    elif isinstance(optimizer, Optimizer) and dataclasses.is_dataclass(optimizer):
        now = optimizer.at(state["step"]) if "step" in state else optimizer
        values = {f.name: getattr(now, f.name) for f in dataclasses.fields(now) if not f.metadata.get("static")}
    else:
        values = {}
    return {name: jnp.asarray(value) for name, value in values.items() if name not in without and value is not None}
