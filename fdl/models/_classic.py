"""Convolutional networks from the literature."""

from functools import partial

import jax
import jax.numpy as jnp
from jax.nn import initializers

from fdl import nn


def lenet5(classes: int = 10) -> nn.Sequential:
    """LeNet-5 (LeCun, Bottou, Bengio & Haffner 1998, "Gradient-based learning applied to document recognition"), read anew.

    5 x 5 convolutions of 6, 16 and 120 features without padding, 2 x 2 means after the first two, 84 units, the logits; tanh
    between them. It is the usual modern reading: the second convolution sees all six maps (the paper's table 1 connects only
    some), pooling is a plain mean (the paper's has two weights a map and a sigmoid), the output is linear, for cross-entropy
    (the paper's are radial basis functions), and tanh is not scaled.

    Input `[batch, 32, 32, channels]`, or `[batch, 28, 28, channels]`, which is padded to 32 with zeros as the paper pads
    MNIST's digits; output logits `[batch, classes]`. 61,706 parameters for one channel and 10 classes (the paper's sparse
    form: 60,000).

    Args:
        classes: how many logits.
    """
    conv = partial(nn.Conv, kernel_size=5, padding="VALID")
    return nn.Sequential(
        _to_32,
        conv(6), nn.tanh, nn.AvgPool(2),
        conv(16), nn.tanh, nn.AvgPool(2),
        conv(120), nn.tanh,
        nn.Flatten(),
        nn.Dense(84), nn.tanh,
        nn.Dense(classes),
    )  # fmt: skip


def _to_32(x: jax.Array) -> jax.Array:
    sides = [((32 - side) // 2, (33 - side) // 2) for side in x.shape[1:3]]
    return jnp.pad(x, ((0, 0), *sides, (0, 0)))


def all_cnn_c(classes: int = 10) -> nn.Sequential:
    """All-CNN-C: convolutions alone, in place of pooling such of stride 2.

    3 x 3 convolutions: twice 96 features and one of stride 2, twice 192 and one of stride 2, 192 without padding; 1 x 1
    convolutions of 192 and of one feature a class; ReLU after each, the last one included; the mean over all places. While
    training, a fifth of the input is dropped, and half of what each convolution of stride 2 gives. The paper does not say how
    weights start; as in DeepOBS, they are Glorot normal (truncated at two deviations), biases 0.1.

    Input `[batch, height, width, channels]`, output `[batch, classes]`, logits of at least 0. 1,369,738 parameters for 3
    channels and 10 classes (the paper: 1.4 million), 1,387,108 for 100.

    Springenberg, Dosovitskiy, Brox & Riedmiller 2015, "Striving for simplicity: the all convolutional net".

    Args:
        classes: how many logits.
    """
    conv = partial(nn.Conv, kernel_init=initializers.glorot_normal(), bias_init=initializers.constant(0.1))
    return nn.Sequential(
        nn.Dropout(0.2),
        conv(96), nn.relu, conv(96), nn.relu, conv(96, strides=2), nn.relu, nn.Dropout(0.5),
        conv(192), nn.relu, conv(192), nn.relu, conv(192, strides=2), nn.relu, nn.Dropout(0.5),
        conv(192, padding="VALID"), nn.relu, conv(192, 1), nn.relu, conv(classes, 1), nn.relu,
        nn.GlobalAvgPool(),
    )  # fmt: skip
