"""Layers in the place of another: the same names, parameters and initial weights, run in another way."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.nn import initializers

from fdl import ops
from fdl.core import FdlError, Scope, Wrapper, check_positive


@dataclass(frozen=True)
class Remat(Wrapper):
    """The same layer, whose inner values are computed again for the backward pass instead of being kept.

    `jax.checkpoint` around the layer: memory for time (Chen et al. 2016, "Training deep nets with sublinear memory cost").
    State and keys pass through: what a dropout drops is dropped the second time as well.

    Args:
        layer: any layer.
        policy: what is kept nevertheless, one of `jax.checkpoint_policies`; default nothing.
    """

    policy: Callable[..., Any] | None = None

    def forward(self, scope: Scope, *inputs: Any, **options: Any) -> Any:
        return scope.through(self.layer, *inputs, transform=partial(jax.checkpoint, policy=self.policy), **options)


@dataclass(frozen=True)
class Precision(Wrapper):
    """The same layer, with parameters, arithmetic and outputs in dtypes of their own: mixed precision.

    Micikevicius et al. 2018, "Mixed precision training". The parameters and the floating-point inputs are cast to
    `compute`, the outputs to `output`; gradients arrive in the dtype of the parameters. State stays as it is, and what a
    layer always computes in float32, such as statistics, remains so.

    Args:
        layer: any layer, mostly the whole model.
        compute: default bfloat16.
        params: in which `init` makes parameters; default float32.
        output: default float32.
    """

    compute: Any = jnp.bfloat16
    params: Any = jnp.float32
    output: Any = jnp.float32

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("compute", "params", "output"):
            try:
                good = jnp.issubdtype(jnp.dtype(getattr(self, name)), jnp.floating)
            except TypeError:
                good = False
            if not good:
                raise FdlError(f"Precision({name})", repr(getattr(self, name)), "a floating-point dtype, such as jnp.bfloat16")

    def forward(self, scope: Scope, *inputs: Any, **options: Any) -> Any:
        inside = self.params if scope.initialising is not None else self.compute
        inputs, options = _cast((inputs, options), inside)
        return _cast(scope.through(self.layer, *inputs, change=partial(_cast, dtype=self.compute), **options), self.output)


def _cast(tree: Any, dtype: Any) -> Any:
    floating = lambda leaf: hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.floating)
    return jax.tree.map(lambda leaf: leaf.astype(dtype) if floating(leaf) else leaf, tree)


@dataclass(frozen=True)
class _OtherKernel(Wrapper):
    """The same layer with a function of its kernel in the kernel's place."""

    def kernel(self, scope: Scope, kernel: jax.Array) -> jax.Array:
        raise NotImplementedError

    def forward(self, scope: Scope, *inputs: Any, **options: Any) -> Any:
        return scope.through(self.layer, *inputs, change=partial(self._changed, scope), **options)

    def _changed(self, scope: Scope, params: dict[str, Any]) -> dict[str, Any]:
        if not hasattr(params.get("kernel"), "shape"):
            where = f"layer {scope.path or '/'}"
            raise FdlError(where, f"parameters {sorted(params)}", f"a layer with a kernel of its own in {type(self).__name__}")
        return params | {"kernel": self.kernel(scope, params["kernel"])}


@dataclass(frozen=True)
class SpectralNorm(_OtherKernel):
    """The same layer with `kernel / sigma`, `sigma` the kernel's largest singular value: 1-Lipschitz as a matrix.

    Miyato et al. 2018, "Spectral normalization for generative adversarial networks", algorithm 1. With the kernel as a
    matrix `W` `[everything else, features]` and a state `u`, one step of the power iteration is `v = W u / |W u|`,
    `u = W^T v / |W^T v|`, and `sigma = v^T W u`, where `u` and `v` count as constants for the gradient. While training
    `steps` are made and `u` is kept; else `v` follows from the `u` that is there.

    Args:
        layer: a layer with a parameter `kernel`, such as `Dense` or `Conv`.
        steps: of the power iteration in each training step; default 1, as in the paper.
        eps: the least norm that is divided by; default 1e-12.

    State `kernel_u` `[features]`, a random unit vector at first, in float32 at least.
    """

    steps: int = 1
    eps: float = 1e-12

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("SpectralNorm(steps)", self.steps, int)

    def kernel(self, scope: Scope, kernel: jax.Array) -> jax.Array:
        matrix = ops.widened(kernel.reshape(-1, kernel.shape[-1]))
        u = scope.variable("kernel_u", lambda *how: self._unit(initializers.normal(1.0)(*how)), matrix.shape[1:], matrix.dtype)
        fixed = jax.lax.stop_gradient(matrix)
        v = self._unit(fixed @ u)
        if scope.train:
            for step in range(self.steps):
                v = v if step == 0 else self._unit(fixed @ u)
                u = self._unit(v @ fixed)
            scope.set("kernel_u", u)
        sigma = v @ matrix @ u
        return (kernel.astype(matrix.dtype) / sigma).astype(kernel.dtype)

    def _unit(self, vector: jax.Array) -> jax.Array:
        return vector / jnp.maximum(jnp.linalg.norm(vector), self.eps)


@dataclass(frozen=True)
class WeightNorm(_OtherKernel):
    """The same layer with `scale * kernel / |kernel|`: direction and length of each feature's weights apart.

    Salimans & Kingma 2016, "Weight normalization", equation 2. The norm is over every axis but the last. `scale` starts at
    `|kernel|`, so that the layer starts as it would without; a kernel of zeros has no direction and gives NaN.

    Args:
        layer: a layer with a parameter `kernel`, such as `Dense` or `Conv`.

    Parameter `scale` `[features]`, beside the layer's own, of the kernel's dtype.
    """

    def kernel(self, scope: Scope, kernel: jax.Array) -> jax.Array:
        norm = lambda kernel: jnp.sqrt(jnp.square(ops.widened(kernel)).sum(range(kernel.ndim - 1)))
        scale = scope.param("scale", lambda kernel, *_: norm(kernel), kernel.shape[-1:], kernel.dtype, of="kernel")
        factor = scale.astype(norm(kernel).dtype) / norm(kernel)
        return (ops.widened(kernel) * factor.reshape(*[1] * (kernel.ndim - 1), -1)).astype(kernel.dtype)
