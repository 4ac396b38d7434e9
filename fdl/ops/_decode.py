"""Decoding: sequences from a model of the next token, as pure functions.

The model is a pure `step(carry, token) -> (logits, carry)`: tokens are integers `[batch]`, logits `[batch, vocabulary]`, and the
carry is a pytree of arrays `[batch, ...]`, such as the carry of a recurrent cell. Every function here runs a fixed number of
steps, so that it can be compiled, and mapped over.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fdl.core import FdlError, check_positive

Step = Callable[[Any, jax.Array], tuple[jax.Array, Any]]


class Decoded(NamedTuple):
    """Decoded sequences.

    Attributes:
        tokens: int32 `[..., length]`, without the start token; after the end token there is nothing but that token.
        lengths: int32 `[...]`, how many of them count, the end token included.
        scores: `[...]`, the sum of their log-probabilities under the model (in `beam_search` with its length penalty).
    """

    tokens: jax.Array
    lengths: jax.Array
    scores: jax.Array


def greedy_decode(step: Step, carry: Any, start: jax.Array, length: int, *, end: int | None = None) -> Decoded:
    """Takes the likeliest token at each step, the first of equals.

    Args:
        step: the model, `(carry, token) -> (logits, carry)`.
        carry: the first carry, a pytree of arrays `[batch, ...]`.
        start: the token before the first, integers `[batch]`.
        length: how many tokens at most, at least 1.
        end: the token that ends a sequence; none where not given.

    Returns:
        `Decoded`, its leading axis the batch.
    """
    return _decode(step, carry, start, length, end, lambda t, logits: logits.argmax(-1))


def sample_decode(
    step: Step,
    carry: Any,
    start: jax.Array,
    length: int,
    *,
    key: jax.Array,
    end: int | None = None,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
) -> Decoded:
    """Draws each token from `softmax(filter_logits(logits, temperature, top_k, top_p))`.

    `key` is a `jax.random.key`; each step folds its number into it, so that a longer decoding begins like a shorter one. Other
    arguments and the result as for `greedy_decode`; scores are of the unfiltered model.

    Raises:
        FdlError: as for `filter_logits`.
    """

    def draw(t: jax.Array, logits: jax.Array) -> jax.Array:
        return jax.random.categorical(jax.random.fold_in(key, t), filter_logits(logits, temperature, top_k, top_p))

    return _decode(step, carry, start, length, end, draw)


def filter_logits(
    logits: jax.Array, temperature: float | jax.Array = 1.0, top_k: int | jax.Array | None = None, top_p: float | jax.Array | None = None
) -> jax.Array:
    """Logits of a narrower distribution: `-inf` outside what `top_k`, and then `top_p`, keep.

    Args:
        logits: `[..., vocabulary]`.
        temperature: what they are divided by; towards 0 all goes to the largest, and 0 is that limit.
        top_k: keep so many of the largest (Fan et al. 2018), the first of equals.
        top_p: keep the fewest of the largest whose probabilities, among those kept so far, sum to at least `top_p` (nucleus
            sampling, Holtzman et al. 2020): always one.

    Each may be traced: another value compiles nothing anew. The result is in float32 at least.

    Raises:
        FdlError: for a temperature below 0, `top_k` below 1, or `top_p` outside (0, 1].
    """
    known = lambda value: isinstance(value, int | float)
    if known(temperature) and not temperature >= 0:
        raise FdlError("filter_logits(temperature)", repr(temperature), "a number of at least 0")
    if known(top_k):
        check_positive("filter_logits(top_k)", top_k, int)
    if known(top_p) and not 0 < top_p <= 1:  # type: ignore[operator]
        raise FdlError("filter_logits(top_p)", repr(top_p), "a probability in (0, 1]")
    wide = jnp.float64 if logits.dtype == jnp.float64 else jnp.float32
    logits = logits.astype(wide)
    scaled = (logits - logits.max(-1, keepdims=True)) / jnp.maximum(jnp.asarray(temperature, wide), jnp.finfo(wide).tiny)
    if top_k is None and top_p is None:
        return scaled
    order = jnp.argsort(scaled, -1, descending=True, stable=True)
    kept = jnp.take_along_axis(scaled, order, -1)
    if top_k is not None:
        kept = jnp.where(jax.lax.broadcasted_iota(jnp.int32, kept.shape, kept.ndim - 1) < top_k, kept, -jnp.inf)
    if top_p is not None:
        p = jax.nn.softmax(kept, -1)
        before = jnp.cumsum(p, -1) - p  # what all larger ones sum to: 0 for the largest, which therefore stays
        kept = jnp.where(before < top_p, kept, -jnp.inf)
    return jnp.take_along_axis(kept, jnp.argsort(order, -1), -1)


def _decode(
    step: Step, carry: Any, start: jax.Array, length: int, end: int | None, choose: Callable[[jax.Array, jax.Array], jax.Array]
) -> Decoded:
    start = _check(start, length)

    def one(state: Any, t: jax.Array) -> Any:
        carry, token, done, score = state
        logits, carry = step(carry, token)
        log_p = _log_softmax(logits)
        token = choose(t, logits).astype(jnp.int32)
        if end is not None:
            token = jnp.where(done, end, token)
        score = score + jnp.where(done, 0, jnp.take_along_axis(log_p, token[:, None], -1)[:, 0])
        ended = done if end is None else done | (token == end)
        return (carry, token, ended, score), (token, ~done)

    wide = jax.eval_shape(lambda: _log_softmax(step(carry, start)[0])).dtype
    first = (carry, start, jnp.zeros(start.shape, bool), jnp.zeros(start.shape, wide))
    (_, _, _, score), (tokens, valid) = jax.lax.scan(one, first, jnp.arange(length, dtype=jnp.int32))
    return Decoded(tokens.T, valid.sum(0, dtype=jnp.int32), score)


def beam_search(
    step: Step, carry: Any, start: jax.Array, length: int, beams: int, *, end: int | None = None, length_penalty: float = 0.0
) -> Decoded:
    """The best sequences found by keeping, at each step, the `beams` likeliest unfinished ones.

    Finished sequences leave the search and are kept apart, the best `beams` of them; at the end the unfinished ones join them. Their
    order is by `log p / ((5 + n) / 6)^length_penalty`, n the number of tokens, the end token included (Wu et al. 2016, "Google's
    Neural Machine Translation System", equation 14, whose coverage penalty is left out).

    Args:
        step: the model, run on `batch * beams` sequences at once; leaves of the carry without axes are left alone.
        carry: as for `greedy_decode`, as are `start`, `length` and `end`.
        beams: how many, at least 1.
        length_penalty: 0 by default, the plain log-probability, which favours short sequences; the paper's range is 0.6 to 0.7.

    Returns:
        `Decoded` with leading axes `[batch, beams]`, the best first; `scores` are what they are ordered by. Where there are fewer
        sequences than beams the last scores are `-inf`.

    Raises:
        FdlError: for beams or a length below 1.
    """
    start = _check(start, length)
    check_positive("beam_search(beams)", beams, int)
    batch = start.shape[0]
    spread = lambda a: jnp.repeat(a, beams, axis=0) if a.ndim else a
    carry = jax.tree.map(spread, carry)
    wide = jax.eval_shape(lambda: _log_softmax(step(carry, spread(start))[0])).dtype
    penalty = lambda n: ((5 + n) / 6) ** length_penalty
    empty = jnp.zeros((batch, beams, length), jnp.int32) if end is None else jnp.full((batch, beams, length), end, jnp.int32)
    lowest = jnp.full((batch, beams), -jnp.inf, wide)

    def pick(a: jax.Array, places: jax.Array) -> jax.Array:
        """`a[b, places[b]]`, along the first two axes."""
        return jax.vmap(lambda row, place: row[place])(a, places)

    def follow(a: jax.Array, parents: jax.Array) -> jax.Array:
        return pick(a.reshape(batch, beams, *a.shape[1:]), parents).reshape(a.shape) if a.ndim else a

    def best(a: Decoded, b: Decoded) -> Decoded:
        both = Decoded(*(jnp.concatenate(pair, 1) for pair in zip(a, b, strict=True)))
        _, places = jax.lax.top_k(both.scores, beams)
        return Decoded(*(pick(leaf, places) for leaf in both))

    def one(state: Any, t: jax.Array) -> Any:
        carry, token, tokens, score, finished = state
        logits, carry = step(carry, token)
        each = score[:, :, None] + _log_softmax(logits).reshape(batch, beams, -1)
        if end is not None:
            lengths = jnp.full((batch, beams), t + 1, jnp.int32)
            ended = Decoded(tokens, lengths, each[:, :, end] / penalty((t + 1).astype(wide)))  # `tokens` has the end in every free place
            finished = best(finished, ended)
            each = each.at[:, :, end].set(-jnp.inf)
        vocabulary = each.shape[-1]
        score, places = jax.lax.top_k(each.reshape(batch, -1), beams)
        parents, chosen = places // vocabulary, (places % vocabulary).astype(jnp.int32)
        carry = jax.tree.map(lambda a: follow(a, parents), carry)
        tokens = jax.lax.dynamic_update_index_in_dim(pick(tokens, parents), chosen, t, 2)
        return (carry, chosen.reshape(-1), tokens, score, finished), None

    none = Decoded(empty, jnp.zeros((batch, beams), jnp.int32), lowest)
    state = (carry, spread(start), empty, lowest.at[:, 0].set(0), none)
    (_, _, tokens, score, finished), _ = jax.lax.scan(one, state, jnp.arange(length, dtype=jnp.int32))
    return best(finished, Decoded(tokens, jnp.full((batch, beams), length, jnp.int32), score / penalty(length)))


def _check(start: jax.Array, length: int) -> jax.Array:
    check_positive("decoding, length", length, int)
    start = jnp.asarray(start)
    if start.ndim != 1 or not jnp.issubdtype(start.dtype, jnp.integer):
        raise FdlError("decoding, start", f"{start.dtype}{start.shape}", "integers [batch], the token before the first of each sequence")
    return start.astype(jnp.int32)


def _log_softmax(logits: jax.Array) -> jax.Array:
    return jax.nn.log_softmax(logits.astype(jnp.float64 if logits.dtype == jnp.float64 else jnp.float32))
