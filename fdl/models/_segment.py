from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from fdl import nn


@dataclass(frozen=True)
class UNet(nn.Layer):
    """A label for every pixel: features are halved in place while they grow in number, then back, with what there was put beside.

    Each level has two 3 x 3 convolutions with ReLU; 2 x 2 maxima lead down, transposed 2 x 2 convolutions of stride 2 up;
    the last is a 1 x 1 convolution. Unlike in the paper convolutions keep the size, so nothing is cropped, and there are
    fewer features.

    Ronneberger, Fischer & Brox 2015, "U-Net: convolutional networks for biomedical image segmentation".

    Args:
        classes: logits of a pixel.
        features: of each level, the finest first. Default 16, 32, 64: 116,770 parameters for one channel and 2 classes; the
            paper's 64, 128, 256, 512, 1024: 31,030,658.

    Input `[batch, height, width, channels]`, both sides divisible by 2 to the power of the levels but one; output logits
    `[batch, height, width, classes]`.
    """

    classes: int
    features: Sequence[int] = (16, 32, 64)

    def forward(self, scope: nn.Scope, x: jax.Array) -> jax.Array:
        divisor = 2 ** (len(self.features) - 1)
        if x.shape[1] % divisor or x.shape[2] % divisor:
            raise ValueError(f"a side is not divisible by {divisor}")
        *fine, coarsest = self.features
        beside = []
        for level, features in enumerate(fine):
            x = scope(_twice(features), x, name=f"down_{level}")
            beside.append(x)
            x = scope(nn.MaxPool(2), x)
        x = scope(_twice(coarsest), x, name="bottom")
        for level, features in reversed(list(enumerate(fine))):
            x = scope(nn.ConvTranspose(features, 2, 2), x, name=f"widen_{level}")
            x = scope(_twice(features), jnp.concatenate([beside[level], x], -1), name=f"up_{level}")
        return scope(nn.Conv(self.classes, 1), x, name="logits")


def _twice(features: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv(features, 3), nn.relu, nn.Conv(features, 3), nn.relu)
