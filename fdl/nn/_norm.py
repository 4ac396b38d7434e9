from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax.nn import initializers

from fdl.core import Layer, Scope


@dataclass(frozen=True)
class BatchNorm(Layer):
    r"""`y = scale (x - mean) / sqrt(var + eps) + bias` for each channel, the last axis.

    Ioffe & Szegedy 2015, "Batch Normalization", algorithms 1 and 2. While training, mean and (biased) variance are the
    batch's, over every axis but the last, and the running values follow them; else the running values are used. The
    running variance takes the unbiased estimate, times m / (m - 1) over m values, as in the paper and in PyTorch.

    Args:
        momentum: what the running values keep of themselves a step: `new = momentum old + (1 - momentum) batch`
            (PyTorch's `momentum` is `1 - momentum`). Default 0.9.
        eps: added to the variance. Default 1e-5.

    Parameters `scale` (starts at 1) and `bias` (0), state `mean` (0) and `var` (1), each `[channels]`. Statistics are
    computed in float32 at least; the output has the input's dtype.
    """

    momentum: float = 0.9
    eps: float = 1e-5

    def forward(self, scope: Scope, x: jax.Array) -> jax.Array:
        wide = jnp.float64 if x.dtype == jnp.float64 else jnp.float32
        shape, row = x.shape[-1:], (1,) * (x.ndim - 1) + x.shape[-1:]
        scale = scope.param("scale", initializers.ones, shape, x.dtype)
        bias = scope.param("bias", initializers.zeros, shape, x.dtype)
        mean = scope.variable("mean", initializers.zeros, shape, wide)
        var = scope.variable("var", initializers.ones, shape, wide)
        values = x.astype(wide)
        if scope.train:
            axes = tuple(range(x.ndim - 1))
            running = {"mean": mean, "var": var}
            mean, var = values.mean(axes), values.var(axes)
            count = x.size // x.shape[-1]
            batch = {"mean": mean, "var": var * (count / max(count - 1, 1))}
            for name, old in running.items():
                scope.set(name, self.momentum * old + (1 - self.momentum) * batch[name])
        factor = jax.lax.rsqrt(var + self.eps) * scale.astype(wide)
        y = (values - mean.reshape(row)) * factor.reshape(row) + bias.astype(wide).reshape(row)
        return y.astype(x.dtype)
