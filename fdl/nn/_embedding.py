"""Tokens and positions as vectors."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.nn import initializers

from fdl import ops
from fdl.core import Layer, Scope, check_positive


@dataclass(frozen=True)
class Embedding(Layer):
    """A vector for each token: `y = table[token]`; and, tied to it, logits of tokens: `y = x table^T`.

    Args:
        vocabulary: how many tokens.
        features: size of a vector.
        table_init: initializer of the table; default normal of variance `1 / features`, with which tied logits start near variance 1.
        dtype: of the table; default float32.

    Inputs: tokens, integers `[...]` in 0..vocabulary-1; output `[..., features]`. A token out of range gives NaN. With
    `output=True` instead: `x` `[..., features]` to logits `[..., vocabulary]`, of the dtype of `x` (Press & Wolf 2017, "Using the
    Output Embedding to Improve Language Models"). Both uses share the table under one name::

        h = scope(embedding, tokens, name="embedding")
        logits = scope(embedding, h, name="embedding", output=True)

    Parameter `table` `[vocabulary, features]`.
    """

    vocabulary: int
    features: int
    table_init: Callable[..., jax.Array] = initializers.variance_scaling(1.0, "fan_in", "normal", in_axis=1, out_axis=0)  # noqa: RUF009
    dtype: Any = jnp.float32

    def __post_init__(self) -> None:
        check_positive("Embedding(vocabulary)", self.vocabulary, int)
        check_positive("Embedding(features)", self.features, int)

    def forward(self, scope: Scope, x: jax.Array, *, output: bool = False) -> jax.Array:
        table = scope.param("table", self.table_init, (self.vocabulary, self.features), jax.dtypes.canonicalize_dtype(self.dtype))
        if output:
            return ops.matmul(x, table.T.astype(x.dtype))
        if not jnp.issubdtype(x.dtype, jnp.integer):
            raise ValueError(f"tokens are integers, not {x.dtype}")
        x = x.astype(jnp.int32) if x.dtype.itemsize < 4 else x
        tokens = jnp.where(x < 0, self.vocabulary, x)  # a negative index would count from the end
        return table.at[tokens].get(mode="fill", fill_value=jnp.nan)


@dataclass(frozen=True)
class SinusoidalPositions(Layer):
    """Adds `ops.sinusoidal` to `[batch, time, features]`: fixed, of any length.

    Args:
        base: the longest wave is `2 pi base` steps long. Default 10000.
    """

    base: float = 10000.0

    def forward(self, scope: Scope, x: jax.Array) -> jax.Array:
        _, time, features = x.shape
        return x + ops.sinusoidal(time, features, x.dtype, base=self.base)[None]


@dataclass(frozen=True)
class LearnedPositions(Layer):
    """Adds a learned vector for each position to `[batch, time, features]` (Gehring et al. 2017).

    Args:
        limit: the longest time that there is.
        table_init: initializer of the parameter `table` `[limit, features]`; default normal of deviation 0.02.
    """

    limit: int
    table_init: Callable[..., jax.Array] = initializers.normal(0.02)  # noqa: RUF009

    def __post_init__(self) -> None:
        check_positive("LearnedPositions(limit)", self.limit, int)

    def forward(self, scope: Scope, x: jax.Array) -> jax.Array:
        _, time, features = x.shape
        if time > self.limit:
            raise ValueError(f"{time} steps, of which LearnedPositions({self.limit}) knows {self.limit}")
        return x + scope.param("table", self.table_init, (self.limit, features), x.dtype)[None, :time]
