"""Penalties on parameters, functions of them that are added to a loss."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp


@dataclass(frozen=True)
class L2:
    """The penalty `scale / 2 * sum of w^2` over parameters of one name, as a function of the parameters.

    Its gradient is `scale * w`: as part of the loss (not as decoupled weight decay) it passes through the optimizer.

    Args:
        scale: at least 0.
        of: which parameters, by the last part of their path; the default leaves biases and scales alone.
    """

    scale: float
    of: str = "kernel"

    def __call__(self, params: Any) -> jax.Array:
        leaves = [leaf for path, leaf in jax.tree.leaves_with_path(params) if path and getattr(path[-1], "key", None) == self.of]
        wide = (leaf.astype(jnp.float64 if leaf.dtype == jnp.float64 else jnp.float32) for leaf in leaves)
        return jnp.asarray(self.scale / 2 * sum(jnp.square(w).sum() for w in wide))

    def __str__(self) -> str:
        return f"{self.scale:g}/2 * sum({self.of}^2), part of the recorded loss"
