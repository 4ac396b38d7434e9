"""Attention over masked sequences. Softmax runs in float32 at least; jax.nn's own, in float32 alone, would spoil float64."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp


def length_mask(lengths: jax.Array, time: int) -> jax.Array:
    """Booleans `[batch, time]`, true in the first `lengths` steps of each sequence (`lengths`: integers `[batch]`)."""
    return jnp.arange(time, dtype=jnp.int32)[None, :] < jnp.asarray(lengths).astype(jnp.int32)[:, None]


def masked_softmax(scores: jax.Array, mask: jax.Array | None = None) -> jax.Array:
    """Softmax along the last axis over the places that the mask keeps; exactly 0 elsewhere, and in a row that keeps none.

    Args:
        scores: `[..., places]`; what stands in masked places, NaN included, changes neither result nor gradient.
        mask: booleans that broadcast to the scores' shape, of the same number of axes.
    """
    if mask is None:
        return jax.nn.softmax(scores, -1)
    scores = jnp.where(mask, scores, jnp.finfo(scores.dtype).min)
    weights = jnp.where(mask, jnp.exp(scores - jax.lax.stop_gradient(scores.max(-1, keepdims=True))), 0)
    total = weights.sum(-1, keepdims=True)
    return weights / jnp.where(total == 0, 1, total)


def attention(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    mask: jax.Array | None = None,
    *,
    bias: jax.Array | None = None,
    causal: bool = False,
    scale: float | None = None,
    drop: Callable[[jax.Array], jax.Array] | None = None,
) -> jax.Array:
    """`softmax(scale Q K^T + bias) V` for each head (Vaswani et al. 2017, "Attention Is All You Need", equation 1).

    Args:
        query: `[batch, queries, heads, features]`.
        key: `[batch, keys, heads, features]`; `value` `[batch, keys, heads, features']`.
        mask: booleans of four axes that broadcast to `[batch, heads, queries, keys]`: which keys a query may look at. A query
            that may look at none gets 0. Keys and values that no query may look at change nothing, NaN included.
        bias: added to the scores, of a shape that broadcasts likewise.
        causal: whether query i sees keys 0..i alone.
        scale: default `1 / sqrt(features)`.
        drop: a function of the weights, such as dropout.

    Returns:
        `[batch, queries, heads, features']`, of the value's dtype.

    Raises:
        ValueError: for shapes that do not fit.
    """
    weights = attention_weights(query, key, mask, bias=bias, causal=causal, scale=scale)
    if value.ndim != 4 or value.shape[:3] != key.shape[:3]:
        raise ValueError(f"keys of shape {key.shape} and values of shape {value.shape}: batch, time and heads differ")
    weights = (weights if drop is None else drop(weights)).astype(value.dtype)
    return jnp.einsum("bhqk,bkhd->bqhd", weights, _seen(value, mask))


def attention_weights(
    query: jax.Array,
    key: jax.Array,
    mask: jax.Array | None = None,
    *,
    bias: jax.Array | None = None,
    causal: bool = False,
    scale: float | None = None,
) -> jax.Array:
    """The weights of `attention`, `[batch, heads, queries, keys]`, in float32 at least. Arguments and errors as there."""
    (batch, queries, heads, features), keys = query.shape, key.shape[1]
    if key.shape != (batch, keys, heads, features):
        raise ValueError(f"queries of shape {query.shape} and keys of shape {key.shape}: batch, heads or features differ")
    if mask is not None and (mask.ndim != 4 or mask.dtype != bool):
        raise ValueError(f"a mask is boolean [batch, heads, queries, keys], not {mask.dtype}{mask.shape}")
    wide = jnp.float64 if query.dtype == jnp.float64 else jnp.float32
    scores = jnp.einsum("bqhd,bkhd->bhqk", query, _seen(key, mask), preferred_element_type=wide)
    scores = scores * (1 / math.sqrt(features) if scale is None else scale)
    if bias is not None:
        scores = scores + bias.astype(wide)
    if causal:
        past = jnp.tril(jnp.ones((1, 1, queries, keys), bool))
        mask = past if mask is None else past & mask
    return masked_softmax(scores, mask)


def _seen(x: jax.Array, mask: jax.Array | None) -> jax.Array:
    """Keys or values, 0 where no query of any head looks: 0 times NaN is NaN, in products and in their gradients."""
    return x if mask is None else jnp.where(mask.any((1, 2))[:, :, None, None], x, 0)


def additive_weights(query: jax.Array, key: jax.Array, vector: jax.Array, mask: jax.Array | None = None) -> jax.Array:
    """`softmax_k(v . tanh(q + k))` (Bahdanau et al. 2015, "Neural Machine Translation by Jointly Learning to Align", appendix A.1.2).

    Args:
        query: `[batch, features]`, already projected.
        key: `[batch, keys, features]`, likewise; in a decoder that is once for all its steps.
        vector: `v`, `[features]`.
        mask: booleans `[batch, keys]`, as from `length_mask`.

    Returns:
        `[batch, keys]`, in float32 at least.
    """
    if mask is not None:
        key = jnp.where(mask[:, :, None], key, 0)
    scores = jnp.tanh(query[:, None, :] + key) @ vector
    return masked_softmax(scores.astype(jnp.float64 if scores.dtype == jnp.float64 else jnp.float32), mask)
