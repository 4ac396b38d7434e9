"""What Transformers are stacked of."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from fdl import ops
from fdl.core import Layer, Scope, check_positive
from fdl.nn._attention import MultiHeadAttention
from fdl.nn._combine import Sequential
from fdl.nn._dense import Dense
from fdl.nn._dropout import Dropout
from fdl.nn._norm import LayerNorm


@dataclass(frozen=True)
class TransformerBlock(Layer):
    """One block of a Transformer, pre-norm: `x + attend(norm(x))`, then `x + feed(norm(x))`.

    Vaswani et al. 2017, "Attention Is All You Need", section 3; with the norm before each part instead of after it, so that
    gradients keep their size through any depth: Xiong et al. 2020, "On layer normalization in the Transformer architecture".
    What a stack of blocks gives is not normalised: end it with a norm.

    - An encoder's block: `scope(block, x, lengths)`.
    - A language model's, `causal=True`: each step sees those before it.
    - A decoder's: with a `context`, the encoder's output, `x + attend(norm(x), context)` stands between the two parts.

    Args:
        heads: of each `MultiHeadAttention`; divides the input's features.
        hidden: size of the hidden layer of `feed`, `Dense(hidden)`, `activation`, `Dense(features)`; default 4 times the features.
        causal: whether step i of `x` sees steps 0..i alone.
        rotary: whether `ops.rotary` turns the queries and keys of `x`.
        dropout: the probability with which attention weights, elements of the hidden layer and of what each part adds are
            dropped in training; default 0; needs a key.
        activation: a function or layer; default `relu`, as in the paper.
        norm: the layer before each part; default `LayerNorm()`.

    Inputs: `x` `[batch, time, features]`; `lengths`, integers `[batch]`: how many of its steps are valid, all where `None`;
    `context` `[batch, keys, ...]` and `context_lengths` likewise. Output `[batch, time, features]`, 0 after a sequence's end;
    what stands there changes nothing. Children: `attention`, `cross_attention` (with a context) and `feed_forward`, and before
    each a norm: `attention_norm`, ...
    """

    heads: int
    hidden: int | None = None
    causal: bool = False
    rotary: bool = False
    dropout: float = 0.0
    activation: Callable[..., Any] | Layer = jax.nn.relu
    norm: Layer = LayerNorm()  # noqa: RUF009

    def __post_init__(self) -> None:
        MultiHeadAttention(self.heads, dropout=self.dropout)  # which refuses what does not fit
        if self.hidden is not None:
            check_positive("TransformerBlock(hidden)", self.hidden, int)

    def forward(
        self,
        scope: Scope,
        x: jax.Array,
        lengths: jax.Array | None = None,
        context: jax.Array | None = None,
        context_lengths: jax.Array | None = None,
    ) -> jax.Array:
        if x.ndim != 3:
            raise ValueError(f"x is [batch, time, features], not {x.shape}")
        features, drop = x.shape[-1], Dropout(self.dropout)
        within = lambda x: x if lengths is None else jnp.where(ops.length_mask(lengths, x.shape[1])[..., None], x, 0)

        def add(x: jax.Array, name: str, part: Layer, *inputs: Any) -> jax.Array:
            y = scope(part, scope(self.norm, x, name=f"{name}_norm"), *inputs, name=name)
            return x + scope(drop, y, name=f"{name}_dropout")

        feed = Sequential(Dense(self.hidden or 4 * features), self.activation, drop, Dense(features))
        attend = MultiHeadAttention(self.heads, causal=self.causal, rotary=self.rotary, dropout=self.dropout)
        x = add(within(x), "attention", attend, None, lengths)
        if context is not None:
            x = add(x, "cross_attention", MultiHeadAttention(self.heads, dropout=self.dropout), context, context_lengths)
        return within(add(x, "feed_forward", feed))
