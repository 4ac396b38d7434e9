"""Search spaces: an optimizer with distributions among its leaves.

`optim.Adam(lr=space.log(1e-4, 1e-1))` is Adam with its learning rate to be chosen.
"""

import dataclasses
import itertools
import math
from typing import Any

import jax
import numpy as np

from fdl.core import FdlError, check_positive


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


def log(low: float, high: float) -> Distribution:
    """Uniform in the logarithm; `0 < low < high`."""
    return Distribution(low, high, True)


def uniform(low: float, high: float) -> Distribution:
    """Uniform between `low` and `high`."""
    return Distribution(low, high, False)


def is_distribution(leaf: Any) -> bool:
    return isinstance(leaf, Distribution)


def hyperparameters(optimizer: Any) -> dict[str, Any]:
    """An optimizer's leaves by name: numbers, distributions, or parts of schedules (`lr.peak`)."""
    leaves = jax.tree_util.tree_flatten_with_path(optimizer, is_leaf=is_distribution)[0]
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}


def grid(space: Any, points: int) -> list[Any]:
    """The optimizers of a regular grid: `points` values in each distribution, its ends among them, in every combination.

    Args:
        space: an optimizer with distributions among its leaves.
        points: at least 2.
    """
    if points < 2:
        raise FdlError("trials", repr(points), "at least 2 points in each searched dimension")
    tree: Any
    leaves, tree = jax.tree.flatten(space, is_leaf=is_distribution)
    quantiles = np.linspace(0, 1, points)
    axes = [[leaf.ppf(u) for u in quantiles] if is_distribution(leaf) else [leaf] for leaf in leaves]
    return [tree.unflatten(values) for values in itertools.product(*axes)]
