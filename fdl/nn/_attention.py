"""Layers of attention."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax.nn import initializers

from fdl import ops
from fdl.core import FdlError, Layer, Scope, check_positive
from fdl.nn._dense import Dense
from fdl.nn._dropout import Dropout


@dataclass(frozen=True)
class MultiHeadAttention(Layer):
    """Attention of `heads` heads side by side (Vaswani et al. 2017, "Attention Is All You Need", section 3.2.2).

    `y = concat_h(attention(x W_q, c W_k, c W_v)) W_o`, each product with a bias; `c` is `x` itself, or a context.

    Args:
        heads: how many; divides `features`.
        features: size of queries, keys and values of all heads together, and of the output; the input's where not given.
        causal: whether step i sees steps 0..i alone.
        rotary: whether `ops.rotary` turns queries and keys.
        dropout: the probability with which a weight is dropped in training; needs a key.
        bias: whether the four products have one.
        kernel_init: initializer of the four weights; default Glorot uniform.

    Inputs: `x` `[batch, time, inputs]`; `context` `[batch, keys, ...]`, `x` where `None`; `lengths`, integers `[batch]`: how
    many keys are valid, all where `None`; `mask`, booleans of four axes that broadcast to `[batch, heads, time, keys]`: what may
    be looked at besides. A step that may look at nothing gets the output's bias. Without a context the lengths are those of `x`
    too: output is 0 after a sequence's end, and what stands there changes nothing.

    Output `[batch, time, features]`. Parameters of the input's dtype: `query`, `key`, `value`, `out`, each as in `Dense`.
    """

    heads: int
    features: int | None = None
    causal: bool = False
    rotary: bool = False
    dropout: float = 0.0
    bias: bool = True
    kernel_init: Callable[..., jax.Array] = initializers.glorot_uniform()

    def __post_init__(self) -> None:
        check_positive("MultiHeadAttention(heads)", self.heads, int)
        if self.features is not None and self.features % self.heads:
            raise FdlError("MultiHeadAttention(features)", str(self.features), f"a multiple of its {self.heads} heads")
        Dropout(self.dropout)  # which refuses a rate out of range

    def forward(
        self, scope: Scope, x: jax.Array, context: jax.Array | None = None, lengths: jax.Array | None = None, mask: jax.Array | None = None
    ) -> jax.Array:
        features = x.shape[-1] if self.features is None else self.features
        if x.ndim != 3 or features % self.heads:
            raise ValueError(f"x is [batch, time, a multiple of {self.heads} heads], not {x.shape}")
        source = x if context is None else context
        if lengths is not None:
            valid = ops.length_mask(lengths, source.shape[1])
            source = jnp.where(valid[..., None], source, 0)  # 0 times NaN is NaN in a kernel's gradient
            within = valid[:, None, None, :]
            mask = within if mask is None else within & mask
        x = source if context is None else x

        def project(x: jax.Array, name: str) -> jax.Array:
            y = scope(Dense(features, self.bias, self.kernel_init), x, name=name)
            return y.reshape(*x.shape[:2], self.heads, features // self.heads)

        q, k, v = project(x, "query"), project(source, "key"), project(source, "value")
        if self.rotary:
            q, k = ops.rotary(q), ops.rotary(k)
        drop = (lambda weights: scope(Dropout(self.dropout), weights, name="dropout")) if self.dropout else None
        y = ops.attention(q, k, v, mask, causal=self.causal, drop=drop)
        y = scope(Dense(features, self.bias, self.kernel_init), y.reshape(*x.shape[:2], features), name="out")
        return y if lengths is None or context is not None else jnp.where(valid[..., None], y, 0)


@dataclass(frozen=True)
class AdditiveAttention(Layer):
    """What a recurrent decoder looks at: `c = sum_k a_k memory_k`, `a = softmax_k(v . tanh(W query + U memory_k + b))`.

    Bahdanau et al. 2015, "Neural Machine Translation by Jointly Learning to Align and Translate", equations 5 and 6.

    Args:
        features: size of the hidden layer that compares the two.
        kernel_init: initializer of `W` and `U`; default Glorot uniform; `v` is drawn from a normal of variance `1 / features`.

    Inputs: `query` `[batch, inputs]`; `memory` `[batch, keys, values]`; `lengths`, integers `[batch]`: how many places of the
    memory are valid, all where `None`. Output `[batch, values]`. Parameters: `query` and `memory` as in `Dense` (the bias is in the
    memory's), `vector` `[features]`. `ops.additive_weights` has the weights alone.
    """

    features: int
    kernel_init: Callable[..., jax.Array] = initializers.glorot_uniform()

    def __post_init__(self) -> None:
        check_positive("AdditiveAttention(features)", self.features, int)

    def forward(self, scope: Scope, query: jax.Array, memory: jax.Array, lengths: jax.Array | None = None) -> jax.Array:
        if query.ndim != 2 or memory.ndim != 3:
            raise ValueError(f"takes a query [batch, inputs] and a memory [batch, keys, values], not {query.shape} and {memory.shape}")
        mask = None
        if lengths is not None:
            mask = ops.length_mask(lengths, memory.shape[1])
            memory = jnp.where(mask[..., None], memory, 0)
        q = scope(Dense(self.features, False, self.kernel_init), query, name="query")
        k = scope(Dense(self.features, True, self.kernel_init), memory, name="memory")
        v = scope.param("vector", initializers.normal(self.features**-0.5), (self.features,), query.dtype)
        weights = ops.additive_weights(q, k, v, mask).astype(memory.dtype)
        return (weights[:, None, :] @ memory)[:, 0]
