from collections.abc import Callable
from dataclasses import dataclass

import jax
from jax.nn import initializers

from fdl import ops
from fdl.core import Layer, Scope


@dataclass(frozen=True)
class Dense(Layer):
    """`y = x W + b`, on the last axis.

    Args:
        features: size of the output's last axis.
        bias: whether `b` is there.
        kernel_init: initializer of `W`; default LeCun normal, variance 1 / inputs (LeCun et al. 1998, "Efficient
            BackProp").
        bias_init: initializer of `b`; default zeros.

    Input `[..., inputs]`, output `[..., features]`. Parameters: `kernel` `[inputs, features]`, `bias` `[features]`, of
    the input's dtype.
    """

    features: int
    bias: bool = True
    kernel_init: Callable[..., jax.Array] = initializers.lecun_normal()
    bias_init: Callable[..., jax.Array] = initializers.zeros

    def forward(self, scope: Scope, x: jax.Array) -> jax.Array:
        y = ops.matmul(x, scope.param("kernel", self.kernel_init, (x.shape[-1], self.features), x.dtype))
        if self.bias:
            b = scope.param("bias", self.bias_init, (self.features,), x.dtype)
            y = y + b.reshape((1,) * (y.ndim - 1) + b.shape)
        return y
