"""Penalties on parameters, functions of them that are added to a loss."""

import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from fdl.core import FdlError, select


@dataclass(frozen=True)
class Penalty:
    """A sum over chosen parameters, as a function of all of them. Base of the penalties here and of your own.

    As part of the loss (not as decoupled weight decay) its gradient passes through the optimizer.

    Args:
        scale: at least 0.
        of: which parameters, by shell patterns of their paths as `fdl.core.select` takes them; the default leaves biases
            and scales alone.

    Raises:
        FdlError: when called, for a pattern that fits no parameter, with the nearest paths.
    """

    scale: float
    of: str | tuple[str, ...] = "kernel"

    def __post_init__(self) -> None:
        if not 0 <= self.scale < math.inf:
            raise FdlError(f"{type(self).__name__}(scale)", repr(self.scale), "a finite number of at least 0")

    def term(self, w: jax.Array) -> jax.Array:
        """The penalty of one element, for an array of them, without the scale."""
        raise NotImplementedError

    def formula(self, of: str) -> str:
        """As a record shows it, of parameters of this name."""
        raise NotImplementedError

    def __call__(self, params: Any) -> jax.Array:
        chosen = select(params, self.of, f"{type(self).__name__}(of)")
        wide = lambda w: w.astype(jnp.float64 if w.dtype == jnp.float64 else jnp.float32)
        terms = jax.tree.map(lambda w, of: self.term(wide(w)).sum() if of else None, params, chosen)
        return jnp.asarray(self.scale * sum(jax.tree.leaves(terms)))

    def __str__(self) -> str:
        of = self.of if isinstance(self.of, str) else " and ".join(self.of)
        return f"{self.formula(of)}, part of the recorded loss"


@dataclass(frozen=True)
class L1(Penalty):
    """`scale * sum of |w|` (Tibshirani 1996, "the lasso"): its gradient, `scale * sign(w)`, is 0 at 0.

    Arguments as for `Penalty`.
    """

    def term(self, w: jax.Array) -> jax.Array:
        return w * jnp.sign(w)  # whose gradient at 0 is 0: JAX gives |w| one of 1 there

    def formula(self, of: str) -> str:
        return f"{self.scale:g} * sum(|{of}|)"


@dataclass(frozen=True)
class L2(Penalty):
    """`scale / 2 * sum of w^2`, whose gradient is `scale * w`. Arguments as for `Penalty`."""

    def term(self, w: jax.Array) -> jax.Array:
        return jnp.square(w) / 2

    def formula(self, of: str) -> str:
        return f"{self.scale:g}/2 * sum({of}^2)"


@dataclass(frozen=True)
class ElasticNet(Penalty):
    """`scale * sum of (ratio |w| + (1 - ratio) / 2 w^2)` (Zou & Hastie 2005, as scikit-learn parts it).

    Args:
        scale: and `of`, as for `Penalty`.
        ratio: the share of the absolute values, in [0, 1]; default 0.5.
    """

    ratio: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.ratio <= 1:
            raise FdlError("ElasticNet(ratio)", repr(self.ratio), "the share of the absolute values, in [0, 1]")

    def term(self, w: jax.Array) -> jax.Array:
        return self.ratio * w * jnp.sign(w) + (1 - self.ratio) / 2 * jnp.square(w)

    def formula(self, of: str) -> str:
        return f"{self.scale:g} * sum({self.ratio:g} |{of}| + {1 - self.ratio:g}/2 {of}^2)"
