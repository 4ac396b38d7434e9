from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from fdl import nn


@dataclass(frozen=True)
class Point(nn.Layer):
    """A vector of parameters, without inputs: the model of a problem that looks for a place.

    Args:
        features: its length.
        init_point: its initializer; default ones.

    No input, output float32 `[features]`. Parameters: `point` `[features]`.
    """

    features: int
    init_point: Callable[..., jax.Array] = nn.initializers.ones

    def forward(self, scope: nn.Scope) -> jax.Array:
        return scope.param("point", self.init_point, (self.features,), jnp.float32)
