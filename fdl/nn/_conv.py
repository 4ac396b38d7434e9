from collections.abc import Callable
from dataclasses import dataclass

import jax
from jax.nn import initializers

from fdl import ops
from fdl.core import Layer, Scope


@dataclass(frozen=True)
class Conv(Layer):
    """Two-dimensional convolution (cross-correlation) plus a bias; `ops.conv` has the equation.

    Args:
        features: output channels.
        kernel_size: height and width, one integer for both.
        strides: as `ops.conv` takes them; so are `padding` (default `"SAME"`), `dilation` and `form`.
        bias: whether one is added to every feature.
        kernel_init: default LeCun normal, variance 1 / (height x width x input channels).
        bias_init: default zeros.

    Input `[batch, height, width, channels]`, output `[batch, height', width', features]`. Parameters: `kernel`
    `[height, width, channels, features]`, `bias` `[features]`, of the input's dtype.
    """

    features: int
    kernel_size: int | tuple[int, int] = 3
    strides: int | tuple[int, int] = 1
    padding: str | tuple[tuple[int, int], tuple[int, int]] = "SAME"
    dilation: int | tuple[int, int] = 1
    bias: bool = True
    kernel_init: Callable[..., jax.Array] = initializers.lecun_normal()
    bias_init: Callable[..., jax.Array] = initializers.zeros
    form: ops.Form = "auto"

    def forward(self, scope: Scope, x: jax.Array) -> jax.Array:
        shape = (*ops.per_axis(self.kernel_size, x.ndim - 2), x.shape[-1], self.features)
        kernel = scope.param("kernel", self.kernel_init, shape, x.dtype)
        y = ops.conv(x, kernel, self.strides, self.padding, self.dilation, form=self.form)
        if self.bias:
            y = y + scope.param("bias", self.bias_init, (self.features,), x.dtype).reshape(1, 1, 1, -1)
        return y
