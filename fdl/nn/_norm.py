"""Normalisations: `y = scale (x - mean) / sqrt(var + eps) + bias`, each with a mean and variance of its own."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax.nn import initializers

from fdl import ops
from fdl.core import FdlError, Layer, Scope, check_positive


class _Norm(Layer):
    """What normalisations share."""

    eps: float
    scale: bool
    bias: bool

    def scaled(self, scope: Scope, values: jax.Array, x: jax.Array, axes: tuple[int, ...] = (-1,)) -> jax.Array:
        """`scale * values + bias`, parameters over `axes`, in the dtype of `x`."""
        axes = tuple(sorted(axis % x.ndim for axis in axes))
        shape = tuple(x.shape[axis] for axis in axes)
        spread = [n if axis in axes else 1 for axis, n in enumerate(x.shape)]
        if self.scale:
            values = values * scope.param("scale", initializers.ones, shape, x.dtype).astype(values.dtype).reshape(spread)
        if self.bias:
            values = values + scope.param("bias", initializers.zeros, shape, x.dtype).astype(values.dtype).reshape(spread)
        return values.astype(x.dtype)

    def by_group(self, scope: Scope, x: jax.Array, groups: int, mask: jax.Array | None) -> jax.Array:
        """Normalised over all axes but the first and, of the channels, those of a group; 0 where the mask is False."""
        if x.ndim < 2 or x.shape[-1] % groups:
            raise ValueError(f"{groups} groups do not part the channels of [batch, ..., channels] evenly")
        valid = None if mask is None else ops.spread_mask(mask, x)
        apart = lambda a: a.reshape(*x.shape[:-1], groups, x.shape[-1] // groups)
        values = apart(ops.widened(x) if valid is None else jnp.where(valid, ops.widened(x), 0))
        mean, var, _ = ops.moments(values, (*range(1, x.ndim - 1), -1), None if valid is None else apart(valid))
        y = self.scaled(scope, ((values - mean) * jax.lax.rsqrt(var + self.eps)).reshape(x.shape), x)
        return y if valid is None else jnp.where(valid, y, 0)


@dataclass(frozen=True)
class BatchNorm(_Norm):
    r"""`y = scale (x - mean) / sqrt(var + eps) + bias` for each channel, the last axis.

    Ioffe & Szegedy 2015, "Batch Normalization", algorithms 1 and 2. While training, mean and (biased) variance are the
    batch's, over every axis but the last, and the running values follow them; else the running values are used. The
    running variance takes the unbiased estimate, times m / (m - 1) over m values, as in the paper and in PyTorch.

    Args:
        momentum: what the running values keep of themselves a step: `new = momentum old + (1 - momentum) batch`
            (PyTorch's `momentum` is `1 - momentum`). Default 0.9.
        eps: added to the variance. Default 1e-5.
        scale: whether there is one; so for `bias`.
        axis_name: the axes of a surrounding `shard_map` or `vmap` over which the batch is spread: statistics are then of
            the whole. Not needed under `jit`, where an array spread over devices is one array.

    Inputs: `x` `[batch, ..., channels]`, and `mask`, booleans over `x`'s first axes (`[batch]`, `[batch, time]`, ...), True
    where a value is valid: statistics are of valid values alone, and other outputs are 0. A batch without a valid value
    leaves the running values as they are. Parameters `scale` (starts at 1) and `bias` (0), state `mean` (0) and `var` (1),
    each `[channels]`. Statistics are computed in float32 at least; the output has the input's dtype.

    Raises:
        FdlError: for a momentum outside [0, 1], and for an `axis_name` without such an axis around.
    """

    momentum: float = 0.9
    eps: float = 1e-5
    scale: bool = True
    bias: bool = True
    axis_name: str | tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.momentum <= 1:
            raise FdlError("BatchNorm(momentum)", repr(self.momentum), "what is kept of the running values, in [0, 1]")

    def forward(self, scope: Scope, x: jax.Array, mask: jax.Array | None = None) -> jax.Array:
        values = ops.widened(x)
        mean = scope.variable("mean", initializers.zeros, x.shape[-1:], values.dtype)
        var = scope.variable("var", initializers.ones, x.shape[-1:], values.dtype)
        row = (1,) * (x.ndim - 1) + x.shape[-1:]
        if scope.train:
            running = {"mean": mean, "var": var}
            mean, var, count = self._moments(scope, values, mask)
            batch = {"mean": mean, "var": var * (count / jnp.maximum(count - 1, 1))}
            for name, old in running.items():
                new = self.momentum * old + (1 - self.momentum) * batch[name].reshape(-1)
                scope.set(name, jnp.where(count.reshape(-1) > 0, new, old))
        if mask is not None:
            valid = ops.spread_mask(mask, x)
            values = jnp.where(valid, values, 0)
        y = self.scaled(scope, (values - mean.reshape(row)) * jax.lax.rsqrt(var.reshape(row) + self.eps), x)
        return y if mask is None else jnp.where(valid, y, 0)

    def _moments(self, scope: Scope, values: jax.Array, mask: jax.Array | None) -> tuple[jax.Array, jax.Array, jax.Array]:
        spread = None if scope.initialising is not None else self.axis_name  # `init` runs once, outside of any axis
        try:
            return ops.moments(values, range(values.ndim - 1), mask, spread)
        except NameError as error:
            raise FdlError(
                f"layer {scope.path}", f"no axis {spread!r} around", "a call inside shard_map or vmap with this axis_name",
                "Under jit leave axis_name out: an array spread over devices is one array.",
            ) from error  # fmt: skip


@dataclass(frozen=True)
class LayerNorm(_Norm):
    """`y = scale (x - mean) / sqrt(var + eps) + bias`, statistics over the last axis, for each place by itself.

    Ba, Kiros & Hinton 2016, "Layer Normalization", equation 3.

    Args:
        eps: added to the (biased) variance. Default 1e-5, as in PyTorch.
        scale: whether there is one; so for `bias`.
        axes: over which statistics are taken; default the last. The parameters have their sizes.

    Input and output `[batch, ..., features]`. Parameters `scale` (starts at 1) and `bias` (0). Statistics are computed in
    float32 at least; the output has the input's dtype.
    """

    eps: float = 1e-5
    scale: bool = True
    bias: bool = True
    axes: int | tuple[int, ...] = -1

    def forward(self, scope: Scope, x: jax.Array) -> jax.Array:
        axes = (self.axes,) if isinstance(self.axes, int) else self.axes
        mean, var, _ = ops.moments(x, axes)
        return self.scaled(scope, (ops.widened(x) - mean) * jax.lax.rsqrt(var + self.eps), x, axes)


@dataclass(frozen=True)
class RMSNorm(_Norm):
    """`y = scale x / sqrt(mean(x^2) + eps) + bias`, the mean over the last axis.

    Zhang & Sennrich 2019, "Root Mean Square Layer Normalization", equation 4.

    Args:
        eps: added to the mean square. Default 1e-6.
        scale: whether there is one.
        bias: whether there is one; default not, as in the paper.

    Input and output `[batch, ..., features]`. Parameters `[features]`. The mean is computed in float32 at least; the
    output has the input's dtype.
    """

    eps: float = 1e-6
    scale: bool = True
    bias: bool = False

    def forward(self, scope: Scope, x: jax.Array) -> jax.Array:
        values = ops.widened(x)
        square = jnp.square(values).mean(-1, keepdims=True)
        return self.scaled(scope, values * jax.lax.rsqrt(square + self.eps), x)


@dataclass(frozen=True)
class InstanceNorm(_Norm):
    """`y = scale (x - mean) / sqrt(var + eps) + bias`, statistics over space, for each example and channel.

    Ulyanov, Vedaldi & Lempitsky 2016, "Instance Normalization", equation 2. It is `GroupNorm` with a group a channel.

    Args:
        eps: added to the (biased) variance. Default 1e-5.
        scale: whether there is one; so for `bias` (PyTorch's default is neither).

    Inputs: `x` `[batch, ..., channels]`, and `mask`, booleans over `x`'s first axes: statistics are of valid places alone,
    and other outputs are 0. Parameters `scale` (starts at 1) and `bias` (0), `[channels]`. Statistics are computed in
    float32 at least; the output has the input's dtype.
    """

    eps: float = 1e-5
    scale: bool = True
    bias: bool = True

    def forward(self, scope: Scope, x: jax.Array, mask: jax.Array | None = None) -> jax.Array:
        return self.by_group(scope, x, x.shape[-1], mask)


@dataclass(frozen=True)
class GroupNorm(_Norm):
    """`y = scale (x - mean) / sqrt(var + eps) + bias`, statistics over space and a group of neighbouring channels.

    Wu & He 2018, "Group Normalization", equations 1, 2 and 7.

    Args:
        groups: how many; the channels must be a multiple. Default 32, as in the paper.
        eps, scale, bias: as for `InstanceNorm`; so are inputs, output and parameters.

    Raises:
        FdlError: for channels that are no multiple of `groups`.
    """

    groups: int = 32
    eps: float = 1e-5
    scale: bool = True
    bias: bool = True

    def __post_init__(self) -> None:
        check_positive("GroupNorm(groups)", self.groups, int)

    def forward(self, scope: Scope, x: jax.Array, mask: jax.Array | None = None) -> jax.Array:
        return self.by_group(scope, x, self.groups, mask)
