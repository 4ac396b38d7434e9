"""The nets of DeepOBS (Schneider, Balles & Hennig 2019, "DeepOBS: a deep learning optimizer benchmark suite", arXiv 1903.05499)."""

from collections.abc import Callable
from functools import partial
from typing import Any

from jax.nn import initializers

from fdl import nn


def deepobs_logreg(classes: int = 10) -> nn.Sequential:
    """Logistic regression: the net of DeepOBS's `mnist_logreg` and `fmnist_logreg`. Weights and biases start at 0.

    Input `[batch, ...]`, output logits `[batch, classes]`. 7,850 parameters for 28 x 28 x 1 and 10 classes.

    Args:
        classes: how many logits.
    """
    return nn.Sequential(nn.Flatten(), nn.Dense(classes, kernel_init=initializers.zeros))


def deepobs_mlp(classes: int = 10) -> nn.Sequential:
    """Dense layers of 1000, 500 and 100 ReLU units, then the logits: the net of DeepOBS's `mnist_mlp` and `fmnist_mlp`.

    Weights start truncated normal, of standard deviation 0.03 cut at two of them (0.026 after the cut), biases at 0.

    Input `[batch, ...]`, output logits `[batch, classes]`. 1,336,610 parameters for 28 x 28 x 1 and 10 classes.

    Args:
        classes: how many logits.
    """
    dense = partial(nn.Dense, kernel_init=initializers.truncated_normal(0.03))
    return nn.Sequential(nn.Flatten(), dense(1000), nn.relu, dense(500), nn.relu, dense(100), nn.relu, dense(classes))


def deepobs_2c2d(classes: int = 10) -> nn.Sequential:
    """Two convolutional and two dense layers: the net of DeepOBS's `mnist_2c2d` and `fmnist_2c2d`.

    Twice a 5 x 5 convolution (32, then 64 features, the image's size kept), ReLU and 2 x 2 maxima; 1024 ReLU units; the
    logits. Weights start truncated normal, of standard deviation 0.05 cut at two of them, every bias at 0.05.

    Input `[batch, height, width, channels]`, output logits `[batch, classes]`. 3,274,634 parameters for 28 x 28 x 1 and 10
    classes.

    Args:
        classes: how many logits.
    """
    kernel, bias = initializers.truncated_normal(0.05), initializers.constant(0.05)
    conv = partial(nn.Conv, kernel_size=5, kernel_init=kernel, bias_init=bias)
    dense = partial(nn.Dense, kernel_init=kernel, bias_init=bias)
    return nn.Sequential(
        conv(32), nn.relu, nn.MaxPool(2),
        conv(64), nn.relu, nn.MaxPool(2),
        nn.Flatten(),
        dense(1024), nn.relu,
        dense(classes),
    )  # fmt: skip


def deepobs_3c3d(classes: int = 10, before: Callable[..., Any] | nn.Layer | None = None) -> nn.Sequential:
    """Three convolutional and three dense layers: the net of DeepOBS's `cifar10_3c3d`, `cifar100_3c3d` and `svhn_3c3d`.

    Convolutions of 64 features (5 x 5, no padding), 96 (3 x 3, no padding) and 128 (3 x 3, the size kept), each with ReLU
    and 3 x 3 maxima of stride 2; 512 and 256 ReLU units; the logits. Convolutions start Glorot normal (truncated at two
    deviations, the variance kept), dense layers Glorot uniform, biases at 0.

    Input `[batch, 32, 32, 3]`, output logits `[batch, classes]`. 895,210 parameters for 10 classes.

    Args:
        classes: how many logits.
        before: a layer or function that the input goes through first.
    """
    conv = partial(nn.Conv, kernel_init=initializers.glorot_normal())
    dense = partial(nn.Dense, kernel_init=initializers.glorot_uniform())
    pool = nn.MaxPool(3, 2, "SAME")
    return nn.Sequential(
        *([] if before is None else [before]),
        conv(64, 5, padding="VALID"), nn.relu, pool,
        conv(96, 3, padding="VALID"), nn.relu, pool,
        conv(128, 3), nn.relu, pool,
        nn.Flatten(),
        dense(512), nn.relu,
        dense(256), nn.relu,
        dense(classes),
    )  # fmt: skip
