"""Step lengths along a direction: the first of a falling sequence, or one that Wolfe's conditions accept."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


def backtracked(phi: Callable[[jax.Array], jax.Array], value: Any, slope: Any, first: Any, shrink: Any, c1: Any, most: int) -> jax.Array:
    r"""The largest of `first`, `first shrink`, `first shrink^2`, ... with Armijo's decrease, $\phi(a) \le \phi(0) + c_1 a \phi'(0)$.

    The count of halvings alone is searched for, so that derivatives pass through `first` and `shrink`. Where none of
    `most + 1` suffices it is the last, and 0 if even there the loss is not finite.
    """
    fixed = jax.lax.stop_gradient
    length = lambda k: fixed(first) * fixed(shrink) ** k
    enough = lambda k, f: f <= fixed(value) + fixed(c1) * length(k) * fixed(slope)
    at = lambda k: fixed(phi(length(k)))
    zero = fixed(first) * 0
    more = lambda carry: ~enough(*carry) & (carry[0] < most)
    k, f = jax.lax.while_loop(more, lambda carry: (carry[0] + 1, at(carry[0] + 1)), (zero, at(zero)))
    return jnp.where(jnp.isfinite(f), first * shrink**k, 0)


class _Point(NamedTuple):
    a: Any
    f: Any
    slope: Any


class _Search(NamedTuple):
    trial: Any
    count: Any
    low: _Point
    high: _Point
    done: Any


def wolfe(phi: Callable[[Any], tuple[Any, Any]], value: Any, slope: Any, first: Any, c1: Any, c2: Any, most: int) -> jax.Array:
    r"""A step length that fulfils the strong Wolfe conditions: Armijo's decrease and $|\phi'(a)| \le c_2 |\phi'(0)|$.

    Nocedal & Wright 2006, "Numerical optimization", algorithms 3.5 and 3.6, as one loop: `low` is the best length with
    enough decrease, and `high`, infinite until one is found, bounds an interval with it that holds a solution. The next
    trial is the double, later the cubic's minimum, equation 3.59, or the middle where that is near an end. After `most`
    trials it is `low`, which may be 0. It has no derivative.
    """
    value, slope, first, c1, c2 = jax.lax.stop_gradient((value, slope, first, c1, c2))

    def step(now: _Search) -> _Search:
        point = _Point(now.trial, *jax.lax.stop_gradient(phi(now.trial)))
        fails = ~(point.f <= value + c1 * point.a * slope) | (point.f >= now.low.f)
        done = ~fails & (abs(point.slope) <= -c2 * slope)
        beyond = point.slope * (now.high.a - now.low.a) >= 0
        pick = lambda condition, a, b: jax.tree.map(lambda x, y: jnp.where(condition, x, y), a, b)
        high = pick(fails, point, pick(beyond, now.low, now.high))
        low = pick(fails, now.low, point)
        trial = jnp.where(jnp.isinf(high.a), 2 * point.a, _between(low, high))
        return _Search(trial, now.count + 1, low, high, done)

    start = _Point(first * 0, value, slope)
    infinite = _Point(first * 0 + jnp.inf, value, slope)
    more = lambda now: ~now.done & (now.count < most)
    return jax.lax.while_loop(more, step, _Search(first, jnp.int32(0), start, infinite, first != first)).low.a


def _between(low: _Point, high: _Point) -> jax.Array:
    d = low.slope + high.slope - 3 * (low.f - high.f) / (low.a - high.a)
    inside = d**2 - low.slope * high.slope
    root = jnp.sign(high.a - low.a) * jnp.sqrt(jnp.maximum(inside, 0))
    cubic = high.a - (high.a - low.a) * (high.slope + root - d) / (high.slope - low.slope + 2 * root)
    left, right = jnp.minimum(low.a, high.a), jnp.maximum(low.a, high.a)
    margin = 0.1 * (right - left)
    good = (inside >= 0) & (cubic >= left + margin) & (cubic <= right - margin)
    return jnp.where(good, cubic, (left + right) / 2)
