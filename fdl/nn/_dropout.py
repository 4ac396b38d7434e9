from dataclasses import dataclass
from typing import Literal, get_args

import jax
import jax.numpy as jnp

from fdl.core import FdlError, Layer, Scope

Each = Literal["element", "channel", "example"]


@dataclass(frozen=True)
class Dropout(Layer):
    """While training sets each element to 0 with probability `rate` and divides the others by `1 - rate`; else nothing.

    Srivastava et al. 2014, "Dropout: a simple way to prevent neural networks from overfitting", in the inverted form,
    whose expectation is the input. What is dropped as a whole is a choice:

    - `each="channel"`: an example's channel in every place (Tompson et al. 2015, "Efficient object localization using
      convolutional networks"); in `[batch, time, features]` one mask for all steps, the variational dropout of recurrent
      networks' inputs and outputs (Gal & Ghahramani 2016, "A theoretically grounded application of dropout in recurrent
      neural networks").
    - `each="example"`: an example. At the end of a residual body it is stochastic depth (Huang et al. 2016, "Deep networks
      with stochastic depth"): `Residual(Sequential(..., Dropout(0.2, each="example")))`.

    Args:
        rate: the probability of dropping, at least 0 and less than 1.
        each: `"element"` (default), `"channel"` or `"example"`.

    Input and output `[batch, ..., channels]`.

    Raises:
        FdlError: for a rate outside the range, another `each`, and when training without a key.
    """

    rate: float = 0.5
    each: Each = "element"

    def __post_init__(self) -> None:
        if not 0 <= self.rate < 1:
            raise FdlError("Dropout(rate)", repr(self.rate), "a probability of dropping in [0, 1)")
        if self.each not in get_args(Each):
            raise FdlError("Dropout(each)", repr(self.each), "'element', 'channel' or 'example'")

    def forward(self, scope: Scope, x: jax.Array) -> jax.Array:
        if not scope.train or self.rate == 0:
            return x
        if scope.key is None:
            raise FdlError(
                f"layer {scope.path}", "no key", "a random key while training", "model.apply(..., key=jax.random.key(0), train=True)"
            )
        if self.each == "element":
            shape = x.shape
        elif x.ndim < 2:
            raise ValueError(f"no {self.each} in {x.ndim} axes: expected [batch, ..., channels]")
        else:
            last = x.shape[-1] if self.each == "channel" else 1
            shape = (x.shape[0], *[1] * (x.ndim - 2), last)
        keep = jax.random.bernoulli(scope.key, 1 - self.rate, shape)
        return jnp.where(keep, x / (1 - self.rate), 0)
