"""Recurrent networks that read and write text."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.nn import initializers

from fdl import nn


@dataclass(frozen=True)
class CharacterModel(nn.Layer):
    """Predicts each character of a text from those before it, also from those of the batches before.

    An embedding, LSTM layers with dropout before and after each, the logits. The state holds where every row's LSTMs stand
    after a batch, and the next batch goes on from there; gradients stay within a batch. DeepOBS's `tolstoi_char_rnn` is the
    default with a vocabulary of 83: 284,499 parameters.

    As there, weights start Glorot uniform, an LSTM's input and recurrent weights as one matrix; the logits' bias is uniform
    within sqrt(3 / vocabulary); an LSTM's forget gates have a bias of 1, its others of 0.

    Args:
        vocabulary: how many characters there are.
        features: size of the embedding and of each LSTM.
        layers: how many LSTMs.
        dropout: the rate before and after each of them.

    Inputs: `characters`, integers `[batch, time]` in 0..vocabulary-1, and `starts`, booleans `[batch]`: which rows begin a
    text and forget what was before; none where not given. Output logits `[batch, time, vocabulary]`.
    """

    vocabulary: int
    features: int = 128
    layers: int = 2
    dropout: float = 0.2

    def forward(self, scope: nn.Scope, characters: jax.Array, starts: jax.Array | None = None) -> jax.Array:
        glorot, n = initializers.glorot_uniform(), self.features
        joint = _uniform(math.sqrt(6 / (6 * n)))  # [2 n, 4 n]
        cell = nn.LSTM(n, kernel_init=joint, recurrent_init=joint)
        y = scope(nn.Embedding(self.vocabulary, n, glorot), characters)
        for layer in range(self.layers):
            y = scope(nn.Dropout(self.dropout), y)
            y = scope(nn.Carried(nn.Recurrent(cell, "all")), y, starts, name=f"lstm_{layer}")
            y = scope(nn.Dropout(self.dropout), y)
        bias = _uniform(math.sqrt(3 / self.vocabulary))
        return scope(nn.Dense(self.vocabulary, kernel_init=glorot, bias_init=bias), y, name="logits")


def _uniform(limit: float) -> Callable[..., jax.Array]:
    return lambda key, shape, dtype: jax.random.uniform(key, shape, dtype, -limit, limit)


@dataclass(frozen=True)
class Encoder(nn.Layer):
    """Source tokens, integers `[batch, time]` of these `lengths`, to `(memory [batch, time, features], carry)`."""

    vocabulary: int
    features: int

    def forward(self, scope: nn.Scope, tokens: jax.Array, lengths: jax.Array | None = None) -> tuple[jax.Array, Any]:
        x = scope(nn.Embedding(self.vocabulary, self.features), tokens)
        return scope(nn.Recurrent(nn.GRU(self.features), "all"), x, lengths, return_carry=True)


@dataclass(frozen=True)
class AttentionDecoder(nn.Layer):
    """Target tokens so far, integers `[batch, time]`, to the next ones' logits `[batch, time, vocabulary]`.

    A GRU goes on from `carry`; each of its outputs h looks at the encoder's memory, whose valid steps `lengths` gives, and
    logits follow from `tanh(W [h, context])`: Luong, Pham & Manning 2015, "Effective approaches to attention-based neural
    machine translation", equation 5, without input feeding. With the option `return_carry`, `(logits, carry)`.
    """

    vocabulary: int
    features: int

    def forward(
        self,
        scope: nn.Scope,
        tokens: jax.Array,
        memory: jax.Array,
        carry: Any,
        lengths: jax.Array | None = None,
        *,
        return_carry: bool = False,
    ) -> Any:
        x = scope(nn.Embedding(self.vocabulary, self.features), tokens)
        h, carry = scope(nn.Recurrent(nn.GRU(self.features), "all"), x, None, carry, return_carry=True)
        context = scope(nn.MultiHeadAttention(1), h, memory, lengths)
        y = nn.tanh(scope(nn.Dense(self.features), jnp.concatenate([h, context], -1)))
        logits = scope(nn.Dense(self.vocabulary), y, name="logits")
        return (logits, carry) if return_carry else logits


@dataclass(frozen=True)
class Seq2Seq(nn.Layer):
    """One sequence of tokens from another: an `Encoder`, and an `AttentionDecoder` that begins where it ends.

    Its children `encoder` and `decoder` are layers by themselves, for decoding: `model.decoder.apply(params["decoder"], ...)`.

    Args:
        source: size of the source's vocabulary; `target`: of the target's.
        features: of embeddings, GRUs and attention.

    Inputs: `tokens`, integers `[batch, time]`; `written`, the target so far, integers `[batch, time']`, a start token first;
    `lengths` of the source `[batch]`. Output: logits `[batch, time', target]` of the tokens after those written.
    """

    source: int
    target: int
    features: int = 64

    @property
    def encoder(self) -> Encoder:
        return Encoder(self.source, self.features)

    @property
    def decoder(self) -> AttentionDecoder:
        return AttentionDecoder(self.target, self.features)

    def forward(self, scope: nn.Scope, tokens: jax.Array, written: jax.Array, lengths: jax.Array | None = None) -> jax.Array:
        memory, carry = scope(self.encoder, tokens, lengths, name="encoder")
        return scope(self.decoder, written, memory, carry, lengths, name="decoder")


@dataclass(frozen=True)
class Captioner(nn.Layer):
    """Describes an image in tokens: an LSTM whose first input is the image's code.

    Vinyals, Toshev, Bengio & Erhan 2015, "Show and tell: a neural image caption generator", equations 10 to 12.

    Args:
        encoder: from an image to a vector, `[batch, ...]` to `[batch, n]`; a dense layer brings it to `features`.
        vocabulary: how many tokens.
        features: of embedding and LSTM.

    Inputs: `images`, what the encoder takes, and `written`, the caption so far, integers `[batch, time]`, a start token
    first. Output: logits `[batch, time, vocabulary]` of the tokens after those written.
    """

    encoder: nn.Layer
    vocabulary: int
    features: int = 64

    def forward(self, scope: nn.Scope, images: jax.Array, written: jax.Array) -> jax.Array:
        code = scope(nn.Dense(self.features), scope(self.encoder, images, name="encoder"), name="code")
        words = scope(nn.Embedding(self.vocabulary, self.features, dtype=code.dtype), written)
        y = scope(nn.Recurrent(nn.LSTM(self.features), "all"), jnp.concatenate([code[:, None], words], 1))
        return scope(nn.Dense(self.vocabulary), y[:, 1:], name="logits")
