"""Functions of two numbers whose minima are known: what an optimizer does on them can be seen."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fdl.core import check_positive
from fdl.tasks._functions import FunctionTask, from_loss

Numbers = Any  # arrays of one shape


@dataclass(frozen=True)
class Landscape:
    """A function of two numbers, shifted so that its least value is 0.

    Args:
        name: of its task.
        function: `(x, y)`, arrays of one shape, to an array of that shape; what `jax.grad` can differentiate.
        equation: the function as text.
        start: where the literature starts, or a place from which the way is instructive.
        minima: every place where the function is 0.
        domain: `((left, right), (bottom, top))`, what a picture shows.
        source: who stated it.
        steps: of a run.
    """

    name: str
    function: Callable[[Numbers, Numbers], Numbers]
    equation: str
    start: tuple[float, float]
    minima: tuple[tuple[float, float], ...]
    domain: tuple[tuple[float, float], tuple[float, float]]
    source: str = ""
    steps: int = 200

    def begin(self, key: jax.Array) -> jax.Array:
        """Where a run begins, `[2]`: normal around `start`, with 2.5 % of the domain's sides as standard deviations."""
        spread = jnp.array([0.025 * (high - low) for low, high in self.domain])
        return jnp.array(self.start, spread.dtype) + spread * jax.random.normal(key, (2,), spread.dtype)

    def task(self, noise: float = 0.0) -> FunctionTask:
        """The landscape as a task: `params` are its two numbers, the loss its value, which is also what is judged.

        Its seeds differ in where they begin. After every step `x` and `y` are measured as metrics: the trajectory.

        Args:
            noise: standard deviation of what is added to both components of the gradient at every step, drawn from 1000 fixed
                vectors with mean 0. The measured loss is without it, as the test loss of the two-dimensional problems of
                DeepOBS (Schneider, Balles & Hennig 2019), whose noise has the same form.
        """
        vectors, source = np.zeros((1, 2)), f"{self.equation}; {self.source}"
        if noise:
            check_positive(f"landscape {self.name}, noise", noise)
            vectors = np.random.default_rng(0).normal(scale=noise, size=(1000, 2))
            vectors, source = vectors - vectors.mean(0), f"{source}; gradient noise {noise:g}"

        def loss_fn(params: jax.Array, batch: jax.Array) -> jax.Array:
            return self.function(params[0], params[1]) + jnp.dot(batch.mean(0), params)

        metrics = {"x": lambda params, batch: params[0], "y": lambda params, batch: params[1]}
        calm = np.zeros((1, 2))
        return from_loss(
            self.name, loss_fn, self.begin, vectors, calm, calm,
            batch_size=1, steps=self.steps, evaluate_every=1, metrics=metrics, source=source,
        )  # fmt: skip


def rosenbrock(x: Numbers, y: Numbers) -> Numbers:
    """`(1 - x)^2 + 100 (y - x^2)^2`: a curved valley, easy to find and slow to follow."""
    return (1 - x) ** 2 + 100 * (y - x**2) ** 2


def beale(x: Numbers, y: Numbers) -> Numbers:
    """`sum_k (c_k - x (1 - y^k))^2`, k = 1, 2, 3 and c = 1.5, 2.25, 2.625: plains between steep corners."""
    return sum((c - x * (1 - y**k)) ** 2 for k, c in ((1, 1.5), (2, 2.25), (3, 2.625)))


def branin(x: Numbers, y: Numbers) -> Numbers:
    """`(y - 5.1 x^2 / (4 pi^2) + 5 x / pi - 6)^2 + 10 (1 - 1 / (8 pi)) (1 + cos x)`: three minima alike.

    Less its least value, 5 / (4 pi). `1 + cos x` is computed as `2 cos(x/2)^2`, which is exact near 0.
    """
    return (y - 5.1 / (4 * math.pi**2) * x**2 + 5 / math.pi * x - 6) ** 2 + 20 * (1 - 1 / (8 * math.pi)) * jnp.cos(x / 2) ** 2


def himmelblau(x: Numbers, y: Numbers) -> Numbers:
    """`(x^2 + y - 11)^2 + (x + y^2 - 7)^2`: four minima alike."""
    return (x**2 + y - 11) ** 2 + (x + y**2 - 7) ** 2


def camel(x: Numbers, y: Numbers) -> Numbers:
    """`(4 - 2.1 x^2 + x^4 / 3) x^2 + x y + 4 (y^2 - 1) y^2 + 1.0316...`: six humps, two of four minima no global ones."""
    return (4 - 2.1 * x**2 + x**4 / 3) * x**2 + x * y + 4 * (y**2 - 1) * y**2 + 1.0316284534898774


def rastrigin(x: Numbers, y: Numbers) -> Numbers:
    """`sum_z z^2 + 10 (1 - cos(2 pi z))` over z = x, y: a bowl full of local minima.

    `1 - cos(2 pi z)` is computed as `2 sin(pi z)^2`, which is exact near 0.
    """
    return sum(z**2 + 20 * jnp.sin(math.pi * z) ** 2 for z in (x, y))


def saddle(x: Numbers, y: Numbers) -> Numbers:
    """`x^2 / 2 + (y^2 - 1)^2 / 4`: near the origin the saddle `x^2 / 2 - y^2 / 2`."""
    return x**2 / 2 + (y**2 - 1) ** 2 / 4


def monkey_saddle(x: Numbers, y: Numbers) -> Numbers:
    """`((x^3 - 3 x y^2 + 1)^2 + (3 x^2 y - y^3)^2) / 2`: at the origin gradient and Hessian are 0, three valleys lead away.

    It is `|z^3 + 1|^2 / 2` for `z = x + i y`: near the origin the monkey saddle `1/2 + x^3 - 3 x y^2`, far from it bounded.
    """
    return ((x**3 - 3 * x * y**2 + 1) ** 2 + (3 * x**2 * y - y**3) ** 2) / 2


def _landscape(function: Callable[[Numbers, Numbers], Numbers], *rest: Any, **options: Any) -> Landscape:
    equation = (function.__doc__ or "").split("`")[1]
    return Landscape(function.__name__.replace("_", "-"), function, equation, *rest, **options)


_HALF_ROOT = math.sqrt(0.75)
landscapes: dict[str, Landscape] = {
    made.name: made
    for made in (
        _landscape(rosenbrock, (-1.2, 1), ((1, 1),), ((-2, 2), (-1, 3)), "Rosenbrock 1960, The Computer Journal 3", steps=300),
        _landscape(beale, (1, 1), ((3, 0.5),), ((-1, 4.5), (-1.5, 2)), "Beale 1958; Moré, Garbow & Hillstrom 1981, problem 5"),
        _landscape(
            branin,
            (2.5, 12.5),
            ((-math.pi, 12.275), (math.pi, 2.275), (3 * math.pi, 2.475)),
            ((-5, 10), (0, 15)),
            "Branin 1972, IBM Journal of Research and Development 16",
        ),
        _landscape(
            himmelblau,
            (0, 0),
            (
                (3, 2),
                (-2.805118086952745, 3.131312518250573),
                (-3.779310253377747, -3.283185991286170),
                (3.584428340330492, -1.848126526964404),
            ),
            ((-5, 5), (-5, 5)),
            "Himmelblau 1972, Applied Nonlinear Programming",
        ),
        _landscape(
            camel,
            (-1.8, 0.6),
            ((0.08984201310031806, -0.7126564030207396), (-0.08984201310031806, 0.7126564030207396)),
            ((-2.4, 2.4), (-1.4, 1.4)),
            "Dixon & Szegő 1978, Towards Global Optimization 2",
        ),
        _landscape(rastrigin, (2.4, -1.6), ((0, 0),), ((-4, 4), (-4, 4)), "Rastrigin 1974, Systems of Extremal Control"),
        _landscape(saddle, (1.5, 0), ((0, 1), (0, -1)), ((-1, 2), (-1.5, 1.5)), "x^2 - y^2, bounded"),
        _landscape(
            monkey_saddle,
            (1.2, 0),
            ((-1, 0), (0.5, _HALF_ROOT), (0.5, -_HALF_ROOT)),
            ((-1.5, 1.5), (-1.5, 1.5)),
            "x^3 - 3 x y^2, bounded",
        ),
    )
}
"""Landscapes by the name of their task."""
