from dataclasses import dataclass

import jax
import jax.numpy as jnp

from fdl.core import FdlError, Layer, Scope


@dataclass(frozen=True)
class Dropout(Layer):
    """While training sets each element to 0 with probability `rate` and divides the others by `1 - rate`; else nothing.

    Srivastava et al. 2014, "Dropout: a simple way to prevent neural networks from overfitting", in the inverted form,
    whose expectation is the input.

    Args:
        rate: the probability of dropping, at least 0 and less than 1.

    Raises:
        FdlError: for a rate outside the range, and when training without a key.
    """

    rate: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.rate < 1:
            raise FdlError("Dropout(rate)", repr(self.rate), "a probability of dropping in [0, 1)")

    def forward(self, scope: Scope, x: jax.Array) -> jax.Array:
        if not scope.train or self.rate == 0:
            return x
        if scope.key is None:
            raise FdlError(
                f"layer {scope.path}", "no key", "a random key while training", "model.apply(..., key=jax.random.key(0), train=True)"
            )
        keep = jax.random.bernoulli(scope.key, 1 - self.rate, x.shape)
        return jnp.where(keep, x / (1 - self.rate), 0)
