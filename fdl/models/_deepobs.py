from functools import partial

from jax.nn import initializers

from fdl import nn


def deepobs_2c2d(classes: int = 10) -> nn.Sequential:
    """Two convolutional and two dense layers: the net of DeepOBS's `mnist_2c2d` and `fmnist_2c2d`.

    Schneider, Balles & Hennig 2019, "DeepOBS: a deep learning optimizer benchmark suite" (arXiv 1903.05499). Twice a
    5x5 convolution (32, then 64 features, the image's size kept), ReLU and 2x2 maxima; 1024 ReLU units; the logits.
    Weights start truncated normal, of standard deviation 0.05 cut at two of them, every bias at 0.05.

    Args:
        classes: how many logits.

    Input `[batch, height, width, channels]`, output `[batch, classes]`. 3,274,634 parameters for 28x28x1 and 10
    classes.
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
