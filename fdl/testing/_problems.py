"""What optimizers are compared on: gradients of every size, and a loss on which a run is no chaos."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

COUNTS = (*range(30), 0, 1, 999_999)
"""Steps taken before each compared step: thirty in a row, then the first, second and millionth from a used state."""


@functools.cache
def gradients(shape: str) -> Any:
    """A gradient for each of `COUNTS`; leaves (steps, ...) in float64.

    In a vector each coordinate keeps its size, 1e-9 to 1e3, and changes sign; some are zeros, some jump in size. In a matrix the
    size changes from step to step.
    """
    rng = np.random.default_rng(0)
    size = np.logspace(-9, 3, 25) * rng.uniform(0.5, 2, (len(COUNTS), 25))
    jumps = 10 ** rng.uniform(-9, 3, (len(COUNTS), 4))
    g = np.concatenate([size, jumps, np.zeros((len(COUNTS), 1)), np.ones((len(COUNTS), 2))], axis=1)
    g = g * rng.choice([-1, 1], g.shape) * (rng.uniform(size=g.shape) > 0.1)
    g[:15, -1] = 0  # asleep, then awake; the third from the end never wakes
    if shape == "vector":
        return g
    sized = lambda *shape: rng.normal(size=(len(COUNTS), *shape)) * 10 ** rng.uniform(-3, 1, (len(COUNTS), *[1] * len(shape)))
    return _tree(sized, g)


def _tree(make: Any, bias: Any) -> dict[str, Any]:
    """A matrix and a vector, a convolution's kernel, a scalar."""
    return {"dense": {"kernel": make(4, 6), "bias": bias}, "conv": {"kernel": make(2, 2, 3, 4)}, "norm": {"scale": make()}}


@functools.cache
def points(shape: str) -> Any:
    """Parameters for each of `COUNTS`, on a slow walk."""
    rng = np.random.default_rng(1)
    return jax.tree.map(lambda g: rng.normal(size=g.shape[1:]) + np.cumsum(0.1 * rng.normal(size=g.shape), axis=0), gradients(shape))


@functools.cache
def values() -> np.ndarray:
    """A loss for each of `COUNTS`."""
    return np.random.default_rng(2).uniform(0.5, 2, len(COUNTS))


class Problem(NamedTuple):
    """A loss to descend: log(1 + sum(c x^2)) / 2, badly scaled, coupled, and its gradient of +, *, / alone, alike everywhere."""

    start: Any
    curvature: Any

    def loss(self, x: Any) -> Any:
        return self._log(1 + self._sum(x)) / 2

    def gradient(self, x: Any) -> Any:
        total = 1 + self._sum(x)
        return jax.tree.map(lambda c, x: c * x / total, self.curvature, x)

    def _sum(self, x: Any) -> Any:
        return sum((c * a * a).sum() for c, a in zip(jax.tree.leaves(self.curvature), jax.tree.leaves(x)))

    def _log(self, total: Any) -> Any:
        return jnp.log(total) if isinstance(total, jax.Array) else np.log(total)


@functools.cache
def problem(shape: str) -> Problem:
    """Far enough from the minimum for no coordinate to arrive: around 0 the sign decides, chaos."""
    if shape == "vector":
        return Problem(np.array([4.0, -3.0, 3.5, 4.0, -3.5, 3.0]), np.logspace(-6, -0.5, 6))
    rng = np.random.default_rng(3)
    draw = lambda *shape: rng.uniform(3, 5, shape) * rng.choice([-1, 1], shape)
    start = _tree(draw, draw(5))
    return Problem(start, jax.tree.map(lambda x: 10 ** rng.uniform(-4, -1, x.shape), start))


def given(shape: str, dtype: str) -> Any:
    """Gradients, parameters and losses in `dtype`."""
    cast = lambda tree: jax.tree.map(lambda x: jnp.asarray(x, dtype), tree)
    return cast(gradients(shape)), cast(points(shape)), cast(values())
