"""Residual networks: the forms of He et al. 2016 for CIFAR and for ImageNet, and the wide ones."""

from dataclasses import dataclass
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
from jax.nn import initializers

from fdl import nn
from fdl.core import FdlError, choose
from fdl.nn._combine import Child

_HE = initializers.variance_scaling(2.0, "fan_out", "normal")
_STAGES = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}


def _conv(features: int, size: int = 3, strides: int = 1) -> nn.Conv:
    """Padded alike on both sides, as PyTorch does it."""
    side = (size // 2, size // 2)
    return nn.Conv(features, size, strides, padding=(side, side), bias=False, kernel_init=_HE)


@dataclass(frozen=True)
class _Subsample(nn.Layer):
    """Every `strides`-th place, and zeros in the channels that `features` has more: a shortcut without parameters."""

    features: int
    strides: int

    def forward(self, scope: nn.Scope, x: jax.Array) -> jax.Array:
        return jnp.pad(x[:, :: self.strides, :: self.strides], ((0, 0), (0, 0), (0, 0), (0, self.features - x.shape[-1])))


def _basic(features: int, strides: int) -> nn.Sequential:
    return nn.Sequential(_conv(features, 3, strides), nn.BatchNorm(), nn.relu, _conv(features), nn.BatchNorm())


def _bottleneck(features: int, strides: int) -> nn.Sequential:
    """The stride stands at the 3 x 3 convolution, not at the first one as in the paper: ResNet "v1.5", as in torchvision."""
    return nn.Sequential(
        _conv(features, 1), nn.BatchNorm(), nn.relu,
        _conv(features, 3, strides), nn.BatchNorm(), nn.relu,
        _conv(4 * features, 1), nn.BatchNorm(),
    )  # fmt: skip


def cifar_resnet(depth: int = 20, classes: int = 10) -> nn.Sequential:
    """The residual network for CIFAR of He et al. 2016, section 4.2, with `depth` = 6n + 2 layers.

    A 3 x 3 convolution of 16 features, three stages of n blocks (two 3 x 3 convolutions each) with 16, 32 and 64, the mean
    over all places, the logits. A shortcut that must halve takes every second place and pads with zero channels (the
    paper's option A), so it has no parameters. Convolutions start He normal by outputs.

    Input `[batch, height, width, channels]`, output logits `[batch, classes]`. Parameters for 3 channels and 10 classes:
    269,722, 464,154, 658,586, 853,018 and 1,727,962 with depths 20, 32, 44, 56 and 110 (the paper: 0.27, 0.46, 0.66, 0.85
    and 1.7 million).

    He, Zhang, Ren & Sun 2016, "Deep residual learning for image recognition".

    Raises:
        FdlError: for a depth that is not 6n + 2.
    """
    blocks, rest = divmod(depth - 2, 6)
    if blocks < 1 or rest:
        raise FdlError("cifar_resnet(depth)", repr(depth), "6n + 2 layers, such as 20, 32, 44, 56 or 110")
    layers: list[Child] = []
    for features in (16, 32, 64):
        for block in range(blocks):
            strides = 2 if block == 0 and features > 16 else 1
            shortcut = _Subsample(features, strides) if strides > 1 else None
            layers += [nn.Residual(_basic(features, strides), shortcut), nn.relu]
    return nn.Sequential(_conv(16), nn.BatchNorm(), nn.relu, *layers, nn.GlobalAvgPool(), nn.Dense(classes))


def resnet(depth: Literal[18, 34, 50] = 18, classes: int = 1000, stem: Literal["imagenet", "cifar"] = "imagenet") -> nn.Sequential:
    """The residual network of He et al. 2016, table 1: four stages with 64, 128, 256 and 512 features.

    Blocks are two 3 x 3 convolutions, with depth 50 a bottleneck of 1 x 1, 3 x 3 and 1 x 1 to four times the features.
    Shortcuts that change the shape are 1 x 1 convolutions with batch normalisation (option B). Convolutions start He
    normal by outputs.

    Input `[batch, height, width, channels]`, output logits `[batch, classes]`. Parameters for 3 channels and 1,000 classes,
    as in torchvision: 11,689,512, 21,797,672 and 25,557,032 with depths 18, 34 and 50. `resnet(18, 10, "cifar")` has
    11,173,962.

    Args:
        depth: 18, 34 or 50.
        classes: how many logits.
        stem: `"imagenet"`, a 7 x 7 convolution of stride 2 and 3 x 3 maxima of stride 2; or `"cifar"`, for images of 32 x 32,
            a 3 x 3 convolution of stride 1 alone.

    Raises:
        FdlError: for another depth or stem.
    """
    if depth not in _STAGES:
        raise FdlError("resnet(depth)", repr(depth), "18, 34 or 50")
    first = {"imagenet": (7, 2), "cifar": (3, 1)}
    size, strides = choose("resnet(stem)", stem, first)
    layers: list[Child] = [nn.MaxPool(3, 2, ((1, 1), (1, 1)))] if stem == "imagenet" else []
    block, growth = (_bottleneck, 4) if depth == 50 else (_basic, 1)
    channels = 64
    for stage, blocks in enumerate(_STAGES[depth]):
        for i in range(blocks):
            features, step = 64 * 2**stage, 2 if i == 0 and stage > 0 else 1
            changed = step > 1 or channels != growth * features
            channels = growth * features
            shortcut = nn.Sequential(_conv(channels, 1, step), nn.BatchNorm()) if changed else None
            layers += [nn.Residual(block(features, step), shortcut), nn.relu]
    return nn.Sequential(_conv(64, size, strides), nn.BatchNorm(), nn.relu, *layers, nn.GlobalAvgPool(), nn.Dense(classes))


@dataclass(frozen=True)
class _Wide(nn.Layer):
    """A unit that normalises first; a shortcut that changes the shape starts after the first ReLU."""

    features: int
    strides: int
    dropout: float

    def forward(self, scope: nn.Scope, x: jax.Array) -> jax.Array:
        conv = partial(nn.Conv, bias=False, kernel_init=initializers.glorot_uniform())
        y = scope(nn.relu, scope(nn.BatchNorm(), x))
        changes = self.strides > 1 or x.shape[-1] != self.features
        shortcut = scope(conv(self.features, 1, self.strides), y, name="shortcut") if changes else x
        y = scope(nn.relu, scope(nn.BatchNorm(), scope(conv(self.features, 3, self.strides), y)))
        return shortcut + scope(conv(self.features), scope(nn.Dropout(self.dropout), y))


def wide_resnet(depth: int, width: int, classes: int = 10, dropout: float = 0.0) -> nn.Sequential:
    """The wide residual network WRN-`depth`-`width`, `depth` = 6n + 4, with normalisation before convolution.

    A 3 x 3 convolution of 16 features, three stages of n units (two 3 x 3 convolutions each) with `width` times 16, 32 and
    64, normalisation, ReLU, the mean over all places, the logits. Weights start Glorot uniform, as in DeepOBS.

    Input `[batch, height, width, channels]`, output logits `[batch, classes]`. Parameters for 3 channels and 10 classes:
    2,748,890 for WRN-16-4, 36,479,194 for WRN-28-10 (the paper: 2.8 and 36.5 million).

    Zagoruyko & Komodakis 2016, "Wide residual networks".

    Args:
        depth: layers.
        width: the factor of the features.
        classes: how many logits.
        dropout: the rate between a unit's convolutions; the paper's 0.3, where it uses one.

    Raises:
        FdlError: for a depth that is not 6n + 4.
    """
    units, rest = divmod(depth - 4, 6)
    if units < 1 or rest:
        raise FdlError("wide_resnet(depth)", repr(depth), "6n + 4 layers, such as 16, 22, 28 or 40")
    glorot = initializers.glorot_uniform()
    stages = [_Wide(f * width, 2 if f > 16 and i == 0 else 1, dropout) for f in (16, 32, 64) for i in range(units)]
    return nn.Sequential(
        nn.Conv(16, 3, bias=False, kernel_init=glorot), *stages, nn.BatchNorm(), nn.relu, nn.GlobalAvgPool(),
        nn.Dense(classes, kernel_init=glorot),
    )  # fmt: skip
