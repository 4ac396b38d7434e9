from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import jax
from jax.nn import initializers

from fdl import ops
from fdl.core import FdlError, Layer, Scope, check_positive


class _Windowed(Layer):
    """What layers with a kernel share: options that are checked before anything is traced, and parameters."""

    kernel_size: int | tuple[int, ...]
    padding: int | str | tuple[int | tuple[int, int], ...]
    bias: bool
    kernel_init: Callable[..., jax.Array]
    bias_init: Callable[..., jax.Array]
    modes: ClassVar[tuple[str, ...]] = ("SAME", "VALID", "CIRCULAR", "REFLECT")

    def check(self, *counts: str) -> None:
        """Positive whole numbers, as many for each option, and a padding that there is."""
        where, rank = f"nn.{type(self).__name__}", 0
        for name in counts:
            check_positive(f"{where} {name}", getattr(self, name), int)
        for name in ("kernel_size", "strides", "dilation"):
            value = getattr(self, name)
            for number in value if isinstance(value, tuple) else (value,):
                check_positive(f"{where} {name}", number, int)
            rank = rank or (len(value) if isinstance(value, tuple) else 0)
            if isinstance(value, tuple) and len(value) != rank:
                raise FdlError(f"{where} {name}", f"{len(value)} numbers", f"{rank}, as many as in the options before it")
        if isinstance(self.padding, str) and self.padding not in self.modes:
            expected = f"one of {', '.join(self.modes)}, or a number, or (low, high) for each axis"
            raise FdlError(f"{where} padding", repr(self.padding), expected)

    def weigh(self, scope: Scope, x: jax.Array, groups: int, features: int) -> jax.Array:
        """The kernel `[height, width, channels / groups, features]`."""
        if x.shape[-1] % groups:
            raise ValueError(f"{x.shape[-1]} channels do not divide into {groups} groups")
        window = ops.per_axis(self.kernel_size, ops.spatial_rank(x), "kernel_size")
        return scope.param("kernel", self.kernel_init, (*window, x.shape[-1] // groups, features), x.dtype)

    def shift(self, scope: Scope, y: jax.Array) -> jax.Array:
        """Plus the bias `[features]`, where there is one."""
        if not self.bias:
            return y
        return y + scope.param("bias", self.bias_init, y.shape[-1:], y.dtype).reshape(*(1 for _ in y.shape[:-1]), -1)


@dataclass(frozen=True)
class _Grouped(_Windowed):
    """What a convolution and its transpose share: `Conv` describes it."""

    features: int
    kernel_size: int | tuple[int, ...] = 3
    strides: int | tuple[int, ...] = 1
    padding: int | str | tuple[int | tuple[int, int], ...] = "SAME"
    dilation: int | tuple[int, ...] = 1
    groups: int = 1
    bias: bool = True
    kernel_init: Callable[..., jax.Array] = initializers.lecun_normal()
    bias_init: Callable[..., jax.Array] = initializers.zeros

    def __post_init__(self) -> None:
        self.check("features", "groups")
        if self.features % self.groups:
            raise FdlError(f"nn.{type(self).__name__} features", str(self.features), f"a multiple of the {self.groups} groups")


@dataclass(frozen=True)
class Conv(_Grouped):
    """Convolution (cross-correlation) over one, two or three axes plus a bias; `ops.conv` has the equation.

    Args:
        features: output channels.
        kernel_size: one integer for all spatial axes, or one for each.
        strides: as `ops.conv` takes them; so are `padding` (default `"SAME"`), `dilation`, `groups` and `form`.
        bias: whether one is added to every feature.
        kernel_init: default LeCun normal, variance 1 / (elements of the window x input channels of a group).
        bias_init: default zeros.

    Input `[batch, height, width, channels]`, output `[batch, height', width', features]`, or with one axis or three between
    batch and channels. Parameters: `kernel` `[height, width, channels / groups, features]`, `bias` `[features]`, of the
    input's dtype.
    """

    form: ops.Form = "auto"

    def forward(self, scope: Scope, x: jax.Array) -> jax.Array:
        kernel = self.weigh(scope, x, self.groups, self.features)
        return self.shift(scope, ops.conv(x, kernel, self.strides, self.padding, self.dilation, self.groups, self.form))


@dataclass(frozen=True)
class ConvTranspose(_Grouped):
    """The transpose of a convolution plus a bias, to enlarge feature maps; `ops.conv_transpose` has equation and output size.

    Args:
        strides: how many times larger the output is, with padding `"SAME"` (default); all other arguments as for `Conv`.
        padding: as `ops.conv_transpose` takes it; so are `dilation`, `groups` and `output_padding`.

    Input, output and parameters as of `Conv`.
    """

    output_padding: int | tuple[int, ...] = 0
    modes = ("SAME", "VALID")

    def forward(self, scope: Scope, x: jax.Array) -> jax.Array:
        kernel = self.weigh(scope, x, self.groups, self.features)
        y = ops.conv_transpose(x, kernel, self.strides, self.padding, self.dilation, self.groups, self.output_padding)
        return self.shift(scope, y)


@dataclass(frozen=True)
class DepthwiseConv(_Windowed):
    """A convolution of each channel by itself: `Conv` with as many groups as channels.

    Args:
        kernel_size: as `Conv` takes it; so are `strides`, `padding`, `dilation`, `bias` and the initializers.
        multiplier: features made of each channel; feature `c m + i` is the `i`-th of channel `c`.

    Input and output as `Conv`'s, with `channels x multiplier` features. Parameters: `kernel`
    `[height, width, 1, channels x multiplier]`, `bias`.
    """

    kernel_size: int | tuple[int, ...] = 3
    strides: int | tuple[int, ...] = 1
    padding: int | str | tuple[int | tuple[int, int], ...] = "SAME"
    dilation: int | tuple[int, ...] = 1
    multiplier: int = 1
    bias: bool = True
    kernel_init: Callable[..., jax.Array] = initializers.lecun_normal()
    bias_init: Callable[..., jax.Array] = initializers.zeros

    def __post_init__(self) -> None:
        self.check("multiplier")

    def forward(self, scope: Scope, x: jax.Array) -> jax.Array:
        channels = x.shape[-1]
        kernel = self.weigh(scope, x, channels, channels * self.multiplier)
        return self.shift(scope, ops.conv(x, kernel, self.strides, self.padding, self.dilation, channels))


@dataclass(frozen=True)
class SeparableConv(_Windowed):
    """A depthwise convolution, then one over channels alone.

    As in Chollet 2017, "Xception: Deep Learning with Depthwise Separable Convolutions".

    Args:
        features: output channels.
        kernel_size: of the depthwise part, as `DepthwiseConv` takes it; so are `strides`, `padding`, `dilation` and
            `multiplier`.
        bias: whether one is added to every feature, at the end.
        kernel_init: of both kernels.
        bias_init: default zeros.

    Input and output as `Conv`'s. Parameters: `depthwise` and `pointwise`, those of a `DepthwiseConv` without bias and of a
    `Conv` of size 1.
    """

    features: int
    kernel_size: int | tuple[int, ...] = 3
    strides: int | tuple[int, ...] = 1
    padding: int | str | tuple[int | tuple[int, int], ...] = "SAME"
    dilation: int | tuple[int, ...] = 1
    multiplier: int = 1
    bias: bool = True
    kernel_init: Callable[..., jax.Array] = initializers.lecun_normal()
    bias_init: Callable[..., jax.Array] = initializers.zeros

    def __post_init__(self) -> None:
        self.check("features", "multiplier")

    def forward(self, scope: Scope, x: jax.Array) -> jax.Array:
        depthwise = DepthwiseConv(
            self.kernel_size, self.strides, self.padding, self.dilation, self.multiplier, bias=False, kernel_init=self.kernel_init
        )
        pointwise = Conv(self.features, 1, bias=self.bias, kernel_init=self.kernel_init, bias_init=self.bias_init)
        return scope(pointwise, scope(depthwise, x, name="depthwise"), name="pointwise")
