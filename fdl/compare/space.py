"""Search spaces: an optimizer with distributions in the place of hyperparameters.

`optim.Adam(lr=space.log(1e-4, 1e-1))` is Adam with its learning rate to be chosen. A distribution may stand anywhere: at a
number, at an option (`nesterov=space.choice(False, True)`), in the place of a schedule, or inside one.
"""

import dataclasses
import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal

import jax
import numpy as np

from fdl.core import FdlError, check_positive
from fdl.optim._optax import Fixed, Optax

Sampler = Literal["auto", "grid", "sobol", "halton"]


@dataclasses.dataclass(frozen=True)
class Distribution:
    """A range of values, by its quantile function. Made by `log` or `uniform`."""

    low: float
    high: float
    logarithmic: bool

    def __post_init__(self) -> None:
        if self.logarithmic:
            check_positive("space.log(low)", self.low)
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise FdlError("search space", f"{self.low} to {self.high}", "two finite numbers, the lower one first")

    def ppf(self, u: float) -> float:
        """The value below which a share `u` of the distribution lies, 0 <= u <= 1."""
        if self.logarithmic:
            return float(self.low * (self.high / self.low) ** u)
        return float(self.low + (self.high - self.low) * u)

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}" + (", log" if self.logarithmic else "")


@dataclasses.dataclass(frozen=True)
class Choice:
    """One of several values, each as probable as the others. Made by `choice`."""

    options: tuple[Any, ...]

    def __post_init__(self) -> None:
        if len(self.options) < 2:
            raise FdlError("space.choice", f"{len(self.options)} options", "two or more")

    def ppf(self, u: float) -> Any:
        """The option at a share `u` of the row."""
        return self.options[min(int(u * len(self.options)), len(self.options) - 1)]

    def __str__(self) -> str:
        return "one of " + ", ".join(map(_text, self.options))


def log(low: float, high: float) -> Distribution:
    """Uniform in the logarithm; `0 < low < high`."""
    return Distribution(low, high, True)


def uniform(low: float, high: float) -> Distribution:
    """Uniform between `low` and `high`."""
    return Distribution(low, high, False)


def choice(*options: Any) -> Choice:
    """One of `options`: numbers, flags, schedules (which may hold distributions themselves)."""
    return Choice(options)


def is_distribution(leaf: Any) -> bool:
    return isinstance(leaf, (Distribution, Choice))


def hyperparameters(optimizer: Any) -> dict[str, Any]:
    """An optimizer's hyperparameters by name: numbers and distributions, parts of schedules (`lr.peak`), options as text."""
    leaves = jax.tree_util.tree_flatten_with_path(optimizer, is_leaf=is_distribution)[0]
    found = {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}
    for name, value in _options(optimizer):
        found.setdefault(name, value if is_distribution(value) else _text(value))
    return found


def _options(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """What is no number: flags, and the kinds of schedules and optimizers within, by name."""
    marks = {f.name for f in dataclasses.fields(node) if f.metadata.get("static")} if dataclasses.is_dataclass(node) else set()
    within = node.hyperparameters if isinstance(node, Optax) else {} if isinstance(node, Choice) else _parts(node)
    for name, value in within.items():
        kind = dataclasses.is_dataclass(value) and not isinstance(value, type) and not is_distribution(value)
        if name in marks or kind:
            yield f"{prefix}{name}", value
        if name not in marks and (kind or isinstance(value, (tuple, dict))):
            yield from _options(value, f"{prefix}{name}.")


def searched(optimizer: Any) -> list[Distribution | Choice]:
    """Every distribution in it, those within a choice's options included."""
    return list(_distributions(optimizer))


def trials(optimizer: Any, count: int, sampler: Sampler = "auto", seed: int = 0) -> list[Any]:
    """Optimizers with numbers in the place of distributions.

    Args:
        optimizer: the space. Where nothing is searched it is the only trial.
        count: how many, at least 2.
        sampler: `"grid"` takes equal steps along each dimension, ends included, in every combination, and every option of a
            choice; `"sobol"` and `"halton"` draw scrambled quasi-random points (Owen 1998; `scipy.stats.qmc`), which fill
            any number of dimensions evenly; `"auto"` is a grid for one dimension and Sobol's points for more.
        seed: of the scrambling.

    Raises:
        FdlError: where no grid has `count` points.
    """
    space = searched(optimizer)
    if not space:
        return [optimizer]
    if count < 2:
        raise FdlError("trials", repr(count), "at least 2 points in a search space")
    if sampler == "auto":
        sampler = "grid" if len(space) == 1 else "sobol"
    points = _grid(space, count) if sampler == "grid" else _quasi_random(len(space), count, sampler, seed)
    return [_fill(optimizer, iter(point)) for point in points]


def defaults(optimizer: Any) -> Any | None:
    """The optimizer with its own default wherever something is searched; `None` where there is none or nothing is searched."""
    if not searched(optimizer):
        return None
    try:
        return _default(optimizer)
    except LookupError:
        return None


def _default(node: Any) -> Any:
    """`node` with defaults of the fields in which something is searched; of those without one, of the fields within."""
    if not searched(node):
        return node
    if isinstance(node, (tuple, dict)):
        return _rebuilt(node, {name: _default(part) for name, part in _parts(node).items()})
    if is_distribution(node):
        raise LookupError(node)
    own = {f.name: f.default for f in dataclasses.fields(node) if f.default is not dataclasses.MISSING}
    wanted = {name: part for name, part in _parts(node).items() if searched(part)}
    return dataclasses.replace(node, **{name: own[name] if name in own else _default(part) for name, part in wanted.items()})


def _grid(space: Sequence[Distribution | Choice], count: int) -> Iterable[tuple[float, ...]]:
    options = [len(d.options) if isinstance(d, Choice) else 0 for d in space]
    free = options.count(0)
    points = round((count / math.prod(filter(None, options))) ** (1 / free)) if free else 0
    if math.prod(n or points for n in options) != count or points == 1:
        found = " x ".join(str(n) if n else "n" for n in options)
        raise FdlError("trials", f"{count}", f"a number that a grid of {found} points can have", "Or draw them: sampler sobol.")
    quantiles = [(np.arange(n) + 0.5) / n if n else np.linspace(0, 1, points) for n in options]
    return itertools.product(*quantiles)


def _quasi_random(dimensions: int, count: int, sampler: Sampler, seed: int) -> Any:
    from scipy.stats import qmc

    if sampler == "halton":
        return qmc.Halton(dimensions, rng=seed).random(count)
    return qmc.Sobol(dimensions, rng=seed).random_base2(max(count - 1, 1).bit_length())[:count]


def _distributions(node: Any) -> Iterator[Distribution | Choice]:
    if is_distribution(node):
        yield node
    for part in _parts(node).values():
        yield from _distributions(part)


def _fill(node: Any, quantiles: Iterator[float]) -> Any:
    """`node` with the values at these quantiles, one for each distribution in the order of `_distributions`."""
    u = next(quantiles) if is_distribution(node) else 0.0
    parts = {name: _fill(part, quantiles) for name, part in _parts(node).items()}
    if isinstance(node, Choice):
        return Choice(tuple(parts.values())).ppf(u)
    if isinstance(node, Distribution):
        return node.ppf(u)
    return _rebuilt(node, parts) if any(True for _ in _distributions(node)) else node


def _rebuilt(node: Any, parts: dict[Any, Any]) -> Any:
    """A node of this kind with other parts."""
    if isinstance(node, dict):
        return parts
    return tuple(parts.values()) if isinstance(node, tuple) else dataclasses.replace(node, **parts)


def _parts(node: Any) -> dict[Any, Any]:
    if isinstance(node, Choice):
        return dict(enumerate(node.options))
    if isinstance(node, dict):
        return dict(node)
    if isinstance(node, tuple):
        return dict(enumerate(node))
    if dataclasses.is_dataclass(node) and not isinstance(node, (Distribution, type)):
        return {f.name: getattr(node, f.name) for f in dataclasses.fields(node) if f.init}
    return {}


def _text(value: Any) -> str:
    if dataclasses.is_dataclass(value):
        return value.name if isinstance(value, Fixed) else type(value).__name__
    return f"{value:g}" if isinstance(value, float) else str(getattr(value, "__name__", value))
