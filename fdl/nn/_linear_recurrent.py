"""A linear recurrence, whose time steps need not wait for each other."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.nn import initializers

from fdl import ops
from fdl.core import FdlError, Scope
from fdl.nn._cells import Cell, at_least_float32
from fdl.ops._recurrence import mask


@dataclass(frozen=True)
class LRU(Cell):
    r"""Linear recurrent unit (Orvieto et al. 2023, "Resurrecting recurrent neural networks for long sequences", section 3).

    `h' = lambda h + gamma (x B)`, `y = Re(h' C) + x D`, with complex diagonal `lambda`, `|lambda| < 1`:
    `lambda = exp(-exp(nu) + i exp(theta))`. Along time it is computed by `jax.lax.associative_scan`, in a number of
    dependent steps that grows with the logarithm of the time.

    Args:
        features: size of the output.
        states: size of `h`; default `features`.
        r_min, r_max: `|lambda|` starts between them, uniform on the ring (lemma 3.2); default 0 to 1. Close to 1 for a
            long memory.
        max_phase: the phase of `lambda` starts uniform between 0 and this; default 2 pi.
        kernel_init, recurrent_init: not used: the weights start as in the paper, `B` and `C` complex normal of variances
            1 / inputs and 1 / states, `D` normal.

    Parameters: `eigenvalues` `[3, states]`, rows `nu`, `theta` and `log gamma`, which starts so that `h` has the size of
    `x B`, `gamma^2 = 1 - |lambda|^2` (equation 7); `kernel` `[2, inputs, states]`, real and imaginary part of `B`;
    `output` `[2, states, features]`, of `C`; `skip` `[inputs, features]`, `D`. The carry is real and imaginary part of
    `h`, `[batch, states]`. Computed in float32 at least.
    """

    states: int | None = None
    r_min: float = 0.0
    r_max: float = 1.0
    max_phase: float = 6.283185307179586

    def __post_init__(self) -> None:
        if not 0 <= self.r_min < self.r_max <= 1:
            raise FdlError("LRU(r_min, r_max)", f"{self.r_min}, {self.r_max}", "0 <= r_min < r_max <= 1, the size of eigenvalues")

    def start(self, batch: int, dtype: Any) -> Any:
        zeros = jnp.zeros((batch, self.states or self.features), at_least_float32(dtype))
        return zeros, zeros

    def forward(self, scope: Scope, carry: Any, x: jax.Array) -> tuple[Any, jax.Array]:
        params = self.params(scope, x)
        eigenvalues, inputs = self._driven(params, x)
        h = eigenvalues[None] * jax.lax.complex(*carry) + inputs
        return (h.real, h.imag), self._read(params, h, x)

    def along(
        self, params: Any, step: Callable[..., Any], carry: Any, x: jax.Array, valid: jax.Array | None, reverse: bool, unroll: int
    ) -> tuple[Any, jax.Array]:
        if type(self).forward is not LRU.forward:  # a user's own step
            return super().along(params, step, carry, x, valid, reverse, unroll)
        keep = None if valid is None else mask(valid, x)[..., None]
        if keep is not None:
            x = jnp.where(keep, x, 0)
        eigenvalues, inputs = self._driven(params, x)
        factors = jnp.broadcast_to(eigenvalues[None, None], inputs.shape)
        if keep is not None:  # a step that does not count: h' = h
            factors, inputs = jnp.where(keep, factors, 1), jnp.where(keep, inputs, 0)
        first, last = (-1, 0) if reverse else (0, -1)
        inputs = inputs.at[:, first].add(factors[:, first] * jax.lax.complex(*carry))

        def join(one: Any, two: Any) -> Any:
            return one[0] * two[0], two[0] * one[1] + two[1]

        _, h = jax.lax.associative_scan(join, (factors, inputs), reverse=reverse, axis=1)
        y = self._read(params, h, x)
        return (h[:, last].real, h[:, last].imag), y if keep is None else jnp.where(keep, y, 0)

    def params(self, scope: Scope, x: jax.Array) -> dict[str, jax.Array]:
        n, width = self.states or self.features, x.shape[-1]
        normal = initializers.normal
        return {
            "eigenvalues": scope.param("eigenvalues", self._ring, (3, n), x.dtype),
            "kernel": scope.param("kernel", normal((2 * width) ** -0.5), (2, width, n), x.dtype),
            "output": scope.param("output", normal((2 * n) ** -0.5), (2, n, self.features), x.dtype),
            "skip": scope.param("skip", normal(width**-0.5), (width, self.features), x.dtype),
        }

    def _ring(self, key: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.Array:
        size, phase = jax.random.uniform(key, (2, shape[1]), dtype, jnp.finfo(dtype).tiny)
        log_size = 0.5 * jnp.log(size * (self.r_max**2 - self.r_min**2) + self.r_min**2)
        gamma = 0.5 * jnp.log(-jnp.expm1(2 * log_size))
        return jnp.stack([jnp.log(-log_size), jnp.log(phase * self.max_phase), gamma])

    def _driven(self, params: Any, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The eigenvalues `[states]` and what each step adds, `gamma (x B)`, complex."""
        wide = at_least_float32(x.dtype)
        nu, theta, gamma = params["eigenvalues"].astype(wide)
        size, phase = jnp.exp(-jnp.exp(nu)), jnp.exp(theta)
        real, imaginary = (ops.matmul(x.astype(wide), part * jnp.exp(gamma)[None]) for part in params["kernel"].astype(wide))
        return jax.lax.complex(size * jnp.cos(phase), size * jnp.sin(phase)), jax.lax.complex(real, imaginary)

    def _read(self, params: Any, h: jax.Array, x: jax.Array) -> jax.Array:
        real, imaginary = params["output"].astype(h.real.dtype)
        return (ops.matmul(h.real, real) - ops.matmul(h.imag, imaginary)).astype(x.dtype) + ops.matmul(x, params["skip"])
