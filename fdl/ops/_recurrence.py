"""Recurrence over padded sequences, and its form whose weight gradients are products outside the loop."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from fdl.ops._matmul import matmul

Carry = TypeVar("Carry")
CACHE = 2**19  # bytes of products: the half of a common second-level cache


class WeightedStep(NamedTuple):
    """A step for `recur` that multiplies with weight matrices: their gradients are one product each, after the loop.

    The transpose of a scanned step would add up the gradient of every matrix at each time step. Here a product
    `m_t = v_t U` is differentiated as `dm_t = dv_t U + e_t`, where `e = v dU` is one product for all time steps before
    the tangent's loop; its transpose, `dU = v^T dm`, then comes after the gradient's loop. Nothing else is derived by
    hand, so that derivatives of every order and mode follow. For the gradient's loop a step keeps what its products, or
    `sigmoid`, `tanh` and `remember` of this module, return, and computes all else again. On CPU long sequences are taken
    in pieces whose products stay in the cache.

    Args:
        step: a pure function `(params, product, carry, z_t) -> (carry, y_t)` that closes over no arrays;
            `product(name, v)` is `v @ weights[name]`, to be used once for each name, with `v` `[batch, k]`. The carry's
            leaves are floating point.
        project: what a step needs of its input, as a function of all inputs `[time, batch, features]` at once.
        weights: matrices `[k, n]` by name.
        params: a pytree of the other arrays that `step` needs.
        mask: factors `[batch, k]` of every `v`, the same at each step and without a gradient, such as dropout's; default none.
    """

    step: Callable[..., tuple[Any, jax.Array]]
    project: Callable[[jax.Array], jax.Array]
    weights: dict[str, jax.Array]
    params: Any = None
    mask: jax.Array | None = None


def recur(
    step: Callable[[Carry, jax.Array], tuple[Carry, jax.Array]] | WeightedStep,
    carry: Carry,
    x: jax.Array,
    valid: jax.Array | None = None,
    *,
    reverse: bool = False,
    unroll: int = 1,
) -> tuple[Carry, jax.Array]:
    """Runs `carry, y_t = step(carry, x_t)` along time.

    Args:
        step: a pure function; `x_t` is `[batch, features]`. Or a `WeightedStep`, whose gradient is faster.
        carry: the first carry, a pytree of arrays `[batch, ...]`.
        x: `[batch, time, features]`.
        valid: which steps count, all where not given: integers `[batch]`, the lengths, or booleans `[batch, time]`. A
            step that does not count changes neither carry nor any gradient, whatever stands in its place (NaN
            included), and outputs 0.
        reverse: whether to run from the last step to the first; outputs stay in the order of `x`.
        unroll: how many steps one pass of the compiled loop holds.

    Returns:
        The carry after each sequence's last counted step, and the outputs `[batch, time, ...]`.
    """
    keep, x = _counted(valid, x)
    scan = partial(jax.lax.scan, reverse=reverse, unroll=unroll)
    if isinstance(step, WeightedStep):
        carry, outputs = _by_pieces(_weighted(step, scan), step.weights, carry, (keep, x), reverse)
    else:
        carry, outputs = scan(lambda carry, now: _kept(now[0], step(carry, now[1]), carry), carry, (keep, x))
    return carry, outputs.swapaxes(0, 1)


def _weighted(weighted: WeightedStep, scan: Callable[..., Any]) -> Callable[..., Any]:
    """`(carry, (keep, x)) -> (carry, outputs)` with the gradient that `WeightedStep` tells of."""

    def loop(weights: Any, params: Any, carry: Carry, z: Any, still: Any, taps: Any) -> tuple[Any, dict[str, jax.Array]]:
        keep, mask = still

        @partial(jax.checkpoint, prevent_cse=False, policy=_POLICY)
        def body(carry: Carry, now: Any) -> tuple[Carry, Any]:
            (keep, z, taps), factors = now, {}

            def product(name: str, v: jax.Array) -> jax.Array:
                factors[name] = v if mask is None else v * mask
                return _tapped(factors[name] @ weights[name], taps[name])

            carry, y = _kept(keep, weighted.step(params, product, carry, z), carry)
            return carry, (y, factors)

        carry, (y, factors) = scan(body, carry, (keep, z, taps))
        return (carry, y), factors

    def no_taps(weights: dict[str, jax.Array], z: Any) -> dict[str, jax.Array]:
        return {name: jnp.zeros((*jax.tree.leaves(z)[0].shape[:2], u.shape[1]), u.dtype) for name, u in weights.items()}

    @jax.custom_jvp
    def run(weights: Any, params: Any, carry: Carry, z: Any, still: Any) -> tuple[Carry, jax.Array]:
        return loop(weights, params, carry, z, still, no_taps(weights, z))[0]

    @run.defjvp
    def run_jvp(primals: Any, tangents: Any) -> Any:
        weights, params, carry, z, still = primals
        free = lambda params, carry, z, taps: loop(weights, params, carry, z, still, taps)
        out, linear, factors = jax.linearize(free, params, carry, z, no_taps(weights, z), has_aux=True)
        along = {name: matmul(factors[name], tangents[0][name]) for name in weights}
        return out, linear(*tangents[1:4], along)

    def piece(carry: Carry, now: tuple[Any, jax.Array]) -> tuple[Carry, jax.Array]:
        keep, x = now
        return run(weighted.weights, weighted.params, carry, weighted.project(x), (keep, weighted.mask))

    return piece


def _by_pieces(
    run: Callable[..., Any], weights: dict[str, jax.Array], carry: Carry, now: tuple[Any, jax.Array], reverse: bool
) -> tuple[Carry, jax.Array]:
    """`run` over pieces of time whose products stay in the cache."""
    time, batch = now[1].shape[:2]
    size = _piece(time, batch * sum(u.shape[1] * u.dtype.itemsize for u in weights.values()))
    if size == time:
        return run(carry, now)
    carry, outputs = jax.lax.scan(run, carry, jax.tree.map(lambda a: a.reshape(-1, size, *a.shape[1:]), now), reverse=reverse)
    return carry, outputs.reshape(time, *outputs.shape[2:])


def _piece(time: int, step_bytes: int) -> int:
    """How many steps share one product: all, but on CPU, where it divides the time, what a core's own cache holds."""
    if jax.default_backend() != "cpu":
        return time
    most = max(1, CACHE // step_bytes)
    return next((size for size in range(min(most, time), most // 2, -1) if time % size == 0), time)


def mask(valid: jax.Array, x: jax.Array) -> jax.Array:
    """Which steps of `x` `[batch, time, ...]` count, booleans `[batch, time]`, from that or from lengths `[batch]`."""
    valid = jnp.asarray(valid)
    if valid.shape == x.shape[:2] and valid.dtype == bool:
        return valid
    if valid.shape == x.shape[:1] and jnp.issubdtype(valid.dtype, jnp.integer):
        return jnp.arange(x.shape[1], dtype=jnp.int32)[None] < valid.astype(jnp.int32)[:, None]
    raise ValueError(f"{valid.dtype}{list(valid.shape)} is neither lengths, integers [batch], nor a mask, booleans [batch, time]")


def _counted(valid: jax.Array | None, x: jax.Array) -> tuple[jax.Array | None, jax.Array]:
    """Mask and inputs, time first. A step that does not count runs on the sequence's first input that does.

    At 0 the step may have no gradient, and 0 times NaN is NaN.
    """
    if valid is None:
        return None, x.swapaxes(0, 1)
    keep = mask(valid, x)
    at = lambda a: a[..., None]
    first = jnp.take_along_axis(x, at(at(keep.argmax(1))), 1)
    x = jnp.where(at(keep), x, jnp.where(at(keep.any(1, keepdims=True)), first, 0))
    return keep.T, x.swapaxes(0, 1)


def _kept(keep: jax.Array | None, new: tuple[Carry, jax.Array], old: Carry) -> tuple[Carry, jax.Array]:
    if keep is None:
        return new
    choose = lambda n, o: jnp.where(keep.reshape(-1, *[1] * (n.ndim - 1)), n, o)
    return jax.tree.map(choose, new[0], old), choose(new[1], jnp.zeros((), new[1].dtype))


@jax.custom_jvp
def _tapped(m: jax.Array, tap: jax.Array) -> jax.Array:
    """`m`, whose tangent is that of `m + tap`: nothing reads the tap's value, 0."""
    return m


@_tapped.defjvp
def _(primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    return primals[0], tangents[0] + tangents[1]


def remember(a: jax.Array) -> jax.Array:
    """`a`, kept for the gradient's loop of a `WeightedStep`, where it would be computed again."""
    return checkpoint_name(a, "remembered")


_POLICY = jax.checkpoint_policies.save_from_both_policies(
    jax.checkpoint_policies.save_only_these_names("remembered"), jax.checkpoint_policies.dots_saveable
)


@jax.custom_jvp
def sigmoid(x: jax.Array) -> jax.Array:
    """The logistic function; its gradient remembers the output alone."""
    return jax.nn.sigmoid(x)


@sigmoid.defjvp
def _(primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    y = remember(jax.nn.sigmoid(*primals))
    return y, y * (1 - y) * tangents[0]


@jax.custom_jvp
def tanh(x: jax.Array) -> jax.Array:
    """The hyperbolic tangent; its gradient remembers the output alone."""
    return jnp.tanh(x)


@tanh.defjvp
def _(primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    y = remember(jnp.tanh(*primals))
    return y, (1 - y * y) * tangents[0]
