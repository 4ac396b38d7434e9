"""What is proven of an optimizer: settings, an independent reference, and the limits of the laws that it has by design."""

import dataclasses
from collections.abc import Callable, Generator, Mapping
from typing import Any, Literal, NamedTuple

import jax
import numpy as np

from fdl import optim

Arrays = list[np.ndarray]


class Told(NamedTuple):
    """What a reference is told of the point that it asked for."""

    g: Any
    """The gradient: a list of arrays, or one array in a reference for one array."""
    value: float = 0.0
    """The loss."""
    objective: Callable[[Arrays], tuple[float, Arrays]] | None = None
    """Loss and gradient of the same batch elsewhere."""


class Evaluated(NamedTuple):
    """Parameters, and those to be measured, where a rule tells them apart."""

    params: Any
    evaluation: Any


Reference = Callable[[Any, Arrays], Generator[Any, Told, None]]
"""A rule written from its paper in NumPy: `reference(o, params)`, with fdl's optimizer `o` for its numbers and a list of float64
arrays, yields the parameters where it wants a gradient, is sent `Told`, and yields the next ones."""


def dot(a: Arrays, b: Arrays) -> Any:
    """The inner product of two lists of arrays."""
    return sum(np.sum(x * y) for x, y in zip(a, b))


def leafwise(reference: Callable[[Any, np.ndarray], Generator[Any, Told, None]]) -> Reference:
    """A reference for one array, applied to each of a list."""

    def whole(o: Any, params: Arrays) -> Generator[Any, Told, None]:
        runs = [reference(o, p) for p in params]
        points = [next(run) for run in runs]
        while True:
            told = yield Evaluated(*map(list, zip(*points))) if isinstance(points[0], Evaluated) else points
            points = [run.send(Told(g, told.value)) for run, g in zip(runs, told.g)]

    return whole


@dataclasses.dataclass(frozen=True, eq=False)
class Case:
    """An optimizer with its settings, what it is compared with, and where a law does not hold for it.

    Its optax counterpart is what `optim.to_optax` gives.
    """

    name: str
    ours: optim.Optimizer
    reference: Reference | None = None
    """The rule in NumPy."""
    torch: Callable[[Any, list[Any], Any], Any] | None = None
    """`torch(module, params, ours)` gives PyTorch's optimizer of the same rule."""
    shape: Literal["vector", "tree"] = "vector"
    """What is trained in comparisons: one vector suffices for rules that treat every coordinate alike."""
    tolerance: Mapping[str, float] = dataclasses.field(default_factory=dict)
    """By dtype, or by reference and dtype as in `"optax float64"`, where the general one is too tight; say why beside it."""
    forced: bool = True
    """Whether one step can be compared for gradients of every size: not where the rule needs the loss elsewhere."""
    free: bool = True
    """Whether a free run can be compared: not where the rule is chaotic."""
    steps: int = 200
    """Of the free run: fewer where the rule arrives before, and what follows is rounding."""
    smooth: Any = "eps"
    """The optimizer for derivatives by hyperparameters; `"eps"` for this one with an eps of 0.01; `None` if it has jumps."""
    idle: tuple[str, ...] = ()
    """Hyperparameters that change nothing in ten steps of the toy problem."""
    still: bool = True
    """Whether a gradient of zeros moves nothing."""
    rates: tuple[float, float] | None = (0.03, 0.01)
    """Learning rates with which it comes to the minimum of a quadratic and of Rosenbrock's function; `None`: another law."""

    @property
    def optax(self) -> Any:
        """optax's transformation of the same rule, or `None`."""
        import optax

        return self.ours.in_optax(optax)

    def __str__(self) -> str:
        return self.name


def hyperparameters(optimizer: Any) -> dict[str, Any]:
    """An optimizer's numbers by the paths of its leaves."""
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree.leaves_with_path(optimizer)}


def with_value(optimizer: Any, path: str, value: Any) -> Any:
    """The optimizer with another number at this path."""
    return jax.tree.map_with_path(lambda at, leaf: value if jax.tree_util.keystr(at) == path else leaf, optimizer)


def smoothed(case: Case) -> Any:
    """The optimizer whose derivatives finite differences can see; `None` if there are none."""
    return _with_eps(case.ours) if case.smooth == "eps" else case.smooth


def _with_eps(optimizer: Any) -> Any:
    seen = {"eps": 1e-2, "initial_accumulator": 0.1}
    return jax.tree.map_with_path(lambda at, leaf: seen.get(getattr(at[-1], "name", ""), leaf), optimizer)
