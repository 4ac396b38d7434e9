"""How rules are written: for one array at a time, as most are, or for the whole tree, where arrays see each other."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from fdl import core
from fdl.optim._base import Objective, Optimizer, Tree, needed


class Leafwise(Optimizer):
    """An optimizer whose rule is the same for every array, written for one as in its paper.

    A subclass names its state in `slots` and writes `rule`. Arithmetic and state are in float32 at least, hyperparameters
    in the same dtype whether they are constants or traced, and the update is cast to the parameter's dtype.
    """

    slots: tuple[str, ...] = ()
    """Names of the state that each array has; a slot holds an array or a pytree of arrays."""

    optax_slots: tuple[str, ...] = ()
    """What optax calls the slots, in their order, where `in_optax` gives a rule with the same state."""

    optax_counts: tuple[str, ...] = ("count",)
    """What optax calls its counts of steps there."""

    def start(self, p: jax.Array) -> tuple[Any, ...]:
        """The slots' first values for one parameter array: zeros."""
        return tuple(jnp.zeros_like(p) for _ in self.slots)

    def rule(self, t: jax.Array, g: jax.Array, p: Any, *slots: Any) -> tuple[Any, ...]:
        """One array's update followed by its new slots.

        Args:
            t: counts steps from 1, in the dtype of `g`.
            g: the gradient, in float32 at least.
            p: the parameters, likewise; `None` where `update` was not given any.
            slots: as `start` or the step before made them.
        """
        raise NotImplementedError

    def finish(self, step: jax.Array, p: Any) -> jax.Array:
        """The update, from the rule's step: the step itself."""
        return step

    def each(self, params: Tree) -> list[Any]:
        """The optimizer of every leaf: itself, unless some hyperparameters hold for some leaves alone."""
        return [self] * len(jax.tree.leaves(params))

    def init(self, params: Tree) -> Tree:
        tree: Any
        leaves, tree = jax.tree.flatten(params)
        columns = _columns([_cast(own, p).start(p.astype(_wide(p))) for own, p in zip(self.each(params), leaves)], len(self.slots))
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
        for own, g, p, *s in zip(now.each(grads), leaves, likes, *slots):
            wide = _wide(g)
            own, like = _cast(own, g), g if p is None else p
            p = None if p is None else p.astype(wide)
            step, *new = own.rule(t.astype(wide), g.astype(wide), p, *s)
            out.append((own.finish(step, p).astype(like.dtype), *new))
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


@jax.custom_jvp
def safe_sqrt(x: jax.Array) -> jax.Array:
    """`sqrt(x)` with derivative 0 at 0, where `jnp.sqrt`'s is infinite.

    Without it the gradient with respect to a learning rate is NaN as soon as one unit's gradient is always 0.
    """
    return jnp.sqrt(x)


@safe_sqrt.defjvp
def _(primals: tuple[jax.Array], tangents: tuple[jax.Array]) -> tuple[jax.Array, jax.Array]:
    y = safe_sqrt(*primals)
    zero = y == 0
    return y, jnp.where(zero, 0, 0.5 / jnp.where(zero, 1, y)) * tangents[0]


class Decayed(Leafwise):
    r"""A rule with decoupled weight decay: on top of its step, `- lr weight_decay p`. A base class.

    Loshchilov & Hutter 2019, "Decoupled weight decay regularization", algorithm 2, with the rate in front as in PyTorch and
    optax: their $\eta_t \lambda$ is `lr * weight_decay`. A subclass declares both of these fields:

    Args:
        weight_decay: $\lambda$.
        decay_only: patterns of the paths that decay (`"kernel"`, `("*/kernel", "/embed_0/table")`), as `core.select` takes
            them; `"*"` for all.
    """

    def each(self, params):
        chosen = selected(params, self.decay_only)
        return [now if decays else dataclasses.replace(now, weight_decay=0.0) for now, decays in zip(super().each(params), chosen)]

    def finish(self, step, p):
        return step - self.lr * self.weight_decay * needed(self, "params", p)


class Treewise(Optimizer):
    """An optimizer whose rule looks at all parameters at once, at the loss, or at other points than the parameters.

    A subclass writes `start` and `rule`. Arithmetic and state are in the widest of the parameters' dtypes, float32 at least,
    hyperparameters in the same, and updates are cast to the parameters' dtypes.
    """

    needs_params: bool = True
    """Whether `update` refuses to go without the parameters."""

    def start(self, p: Tree) -> dict[str, Any]:
        """The state before the first step, beside `step`, which the base counts."""
        return {}

    def rule(
        self, t: jax.Array, g: Tree, p: Tree, state: dict[str, Any], value: jax.Array | None, objective: Objective | None
    ) -> tuple[Tree, dict[str, Any]]:
        """The updates of all parameters, and the new state.

        Args:
            t: counts steps from 1, in the common dtype.
            g, p: gradients and parameters in the common dtype; without parameters `p` is `None`.
            state: as `start` or the step before made it.
            value: the loss at `p`, where `update` was told.
            objective: the batch's loss as a function of parameters in the common dtype, where `update` was told.
        """
        raise NotImplementedError

    def init(self, params: Tree) -> Tree:
        wide = _common(params)
        return {"step": jnp.zeros((), jnp.int32), **_cast(self, jnp.zeros((), wide)).start(_all(params, wide))}

    def update(
        self, grads: Tree, state: Tree, params: Tree | None = None, *, value: Any = None, objective: Objective | None = None
    ) -> tuple[Tree, Tree]:
        if self.needs_params:
            needed(self, "params", params)
        like = grads if params is None else params
        wide = _common(like)
        # Behind the barrier constants are not folded into each other: they give the bits that traced values give.
        now = jax.lax.optimization_barrier(_cast(self.at(state["step"]), jnp.zeros((), wide)))
        t = state["step"] + 1
        rest = {name: part for name, part in state.items() if name != "step"}
        loss = None if objective is None else lambda p: objective(_as(p, like)).astype(wide)
        value = None if value is None else jnp.asarray(value).astype(wide)
        updates, rest = now.rule(t.astype(wide), _all(grads, wide), None if params is None else _all(params, wide), rest, value, loss)
        return _as(updates, like), {"step": t, **rest}


def selected(tree: Tree, patterns: str | tuple[str, ...], where: str = "decay_only") -> list[bool]:
    """For each leaf whether one of the patterns fits its path; `"*"` fits all. Of an empty tree no pattern must fit a leaf."""
    count = len(jax.tree.leaves(tree))
    return [True] * count if patterns == "*" or not count else jax.tree.leaves(core.select(tree, patterns, where))


def _common(params: Tree) -> Any:
    """The dtype that holds every leaf's values, float32 at least."""
    with jax.numpy_dtype_promotion("standard"):
        return jnp.result_type(jnp.float32, *jax.tree.leaves(params))


def _all(tree: Tree, dtype: Any) -> Tree:
    return jax.tree.map(lambda x: x.astype(dtype), tree)


def _as(tree: Tree, like: Tree) -> Tree:
    return jax.tree.map(lambda x, p: x.astype(p.dtype), tree, like)
