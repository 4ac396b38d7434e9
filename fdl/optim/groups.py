from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from fdl import core
from fdl.optim._base import Objective, Optimizer, Tree, call_update, evaluation_params, gradients_per_step, optimizer
from fdl.optim._optax import as_pytree, fill_ours, fill_theirs, in_optax
from fdl.optim._rule import Leafwise
from fdl.optim._wrapper import name_of


@optimizer
class Frozen(Leafwise):
    """Moves nothing: the optimizer of what shall stay as it is, `Groups({"embedding_*": Frozen()}, rest=Adam())`.

    Equals `optax.set_to_zero`. No state.
    """

    def rule(self, t, g, p):
        return (jnp.zeros_like(g),)

    def in_optax(self, optax):
        return optax.set_to_zero()


@optimizer
class Groups(Optimizer):
    """An optimizer of its own for some of the parameters, chosen by patterns of their paths.

    `Groups({"*/bias": SGD(1e-2), "embedding_*": Frozen()}, rest=AdamW(1e-3))`. Of the patterns that fit a path the first
    wins. Each optimizer sees, and keeps state for, its own parameters alone. Equals `optax.partition`. The state is a tuple
    of the optimizers' states, `rest`'s last.

    Args:
        groups: optimizers by pattern, as `core.select` takes them: `*` stands for any characters, `/` included, and the
            first names of a path may be left out.
        rest: the optimizer of all other parameters.

    Raises:
        FdlError: when it meets parameters, for a pattern that fits none, or none that those before it leave.
    """

    groups: Mapping[str, Any]
    rest: Any

    def __post_init__(self):
        # A pytree's plain dict is sorted by its keys: their order would be lost.
        object.__setattr__(self, "groups", OrderedDict((pattern, as_pytree(own)) for pattern, own in self.groups.items()))
        object.__setattr__(self, "rest", as_pytree(self.rest))

    def __hash__(self):
        return hash((*self.groups.items(), self.rest))

    @property
    def _optimizers(self) -> tuple[Any, ...]:
        return *self.groups.values(), self.rest

    @property
    def name(self) -> str:
        return f"groups({', '.join(map(name_of, self._optimizers))})"

    @property
    def gradients_per_step(self) -> float:
        return gradients_per_step(*self._optimizers)

    def init(self, params: Tree) -> Tree:
        labels = self._labels(params)
        return tuple(own.init(_part(labels, i, params)) for i, own in enumerate(self._optimizers))

    def update(
        self, grads: Tree, state: Tree, params: Tree | None = None, *, value: Any = None, objective: Objective | None = None
    ) -> tuple[Tree, Tree]:
        labels, updates, new = self._labels(grads), [], []
        for i, (own, kept) in enumerate(zip(self._optimizers, state, strict=True)):
            part = None if params is None else _part(labels, i, params)
            partial = None if objective is None else lambda part, i=i: objective(_merged(labels, i, part, params))
            moved, kept = call_update(own, _part(labels, i, grads), kept, part, value=value, objective=partial)
            updates.append(moved)
            new.append(kept)
        return jax.tree.map(lambda i, *parts: parts[i], labels, *updates), tuple(new)

    def evaluation_params(self, state: Tree, params: Tree) -> Tree:
        labels = self._labels(params)
        found = [evaluation_params(own, kept, _part(labels, i, params)) for i, (own, kept) in enumerate(zip(self._optimizers, state))]
        return jax.tree.map(lambda i, *parts: parts[i], labels, *found)

    def parts(self, state: Tree) -> dict[str, tuple[Any, Tree]]:
        names = [*(f"groups.{pattern}" for pattern in self.groups), "rest"]
        return dict(zip(names, zip(self._optimizers, state)))

    def _labels(self, tree: Tree) -> Tree:
        """For each leaf the place of its optimizer in `_optimizers`."""
        rest = "no pattern"
        places = {name: i for i, name in enumerate((*self.groups, rest))}
        return jax.tree.map(places.get, core.group(tree, {pattern: pattern for pattern in self.groups}, rest))

    def in_optax(self, optax):
        theirs = [in_optax(own, optax) for own in self._optimizers]
        return None if None in theirs else optax.partition(dict(enumerate(theirs)), self._labels)

    def state_to_optax(self, theirs, ours):
        masked = theirs.inner_states
        fill = lambda i, own, kept: masked[i]._replace(inner_state=fill_theirs(own, masked[i].inner_state, kept))
        return theirs._replace(inner_states={i: fill(i, own, kept) for i, (own, kept) in enumerate(zip(self._optimizers, ours))})

    def state_from_optax(self, ours, theirs, step):
        masked = theirs.inner_states
        return tuple(fill_ours(own, kept, masked[i].inner_state, step) for i, (own, kept) in enumerate(zip(self._optimizers, ours)))


def _part(labels: Tree, i: int, tree: Tree) -> Tree:
    """A group's leaves at their paths; the others are left out."""
    return jax.tree.map(lambda label, x: x if label == i else None, labels, tree)


def _merged(labels: Tree, i: int, part: Tree, whole: Tree) -> Tree:
    """`whole` with a group's leaves from `part`."""
    return jax.tree.map(lambda label, x, y: x if label == i else y, labels, part, whole)
