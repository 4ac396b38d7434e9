"""Losses that take a mask, with inputs, and what draws inputs."""

import functools

import numpy as np
import scipy.special

from fdl import losses

N, T, C = 4, 3, 5


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape) * 2


def simplex(*shape, seed=0):
    return scipy.special.softmax(draw(*shape, seed=seed), -1)


def classes(*shape, seed=1, of=C):
    return np.random.default_rng(seed).integers(0, of, shape).astype(np.int32)


def boxes(n, seed=0):
    corner, size = draw(n, 2, seed=seed) / 2, abs(draw(n, 2, seed=seed + 10)) + 0.3
    return np.concatenate([corner, corner + size], -1)


WEIGHTS = np.array([0.5, 2.0, 1.0, 3.0, 0.1])
LENGTHS, LABEL_LENGTHS = np.array([7, 5, 4, 7], np.int32), np.array([3, 2, 1, 0], np.int32)


BAD = -7  # no class
MASKED = {
    "cross_entropy": (losses.cross_entropy, draw(N, T, C), classes(N, T)),
    "cross_entropy with both": (
        functools.partial(losses.cross_entropy, class_weights=WEIGHTS, label_smoothing=0.2), draw(N, T, C), classes(N, T)
    ),
    "soft_cross_entropy": (losses.soft_cross_entropy, draw(N, T, C), simplex(N, T, C, seed=5)),
    "kl_divergence": (losses.kl_divergence, draw(N, T, C), simplex(N, T, C, seed=5)),
    "focal": (losses.focal, draw(N, T, C), classes(N, T)),
    "hinge": (losses.hinge, draw(N, T, C), classes(N, T)),
    "binary_cross_entropy": (losses.binary_cross_entropy, draw(N, T, 2), simplex(N, T, 2, seed=5)),
    "binary_focal": (losses.binary_focal, draw(N, T), classes(N, T, of=2)),
    "binary_hinge": (losses.binary_hinge, draw(N, T), classes(N, T, of=2)),
    "mean_squared_error": (losses.mean_squared_error, draw(N, T, 2), draw(N, T, 2, seed=1)),
    "mean_absolute_error": (losses.mean_absolute_error, draw(N, T, 2), draw(N, T, 2, seed=1)),
    "huber": (losses.huber, draw(N, T), draw(N, T, seed=1)),
    "smooth_l1": (losses.smooth_l1, draw(N, T), draw(N, T, seed=1)),
    "log_cosh": (losses.log_cosh, draw(N, T), draw(N, T, seed=1)),
    "quantile": (functools.partial(losses.quantile, q=0.3), draw(N, T), draw(N, T, seed=1)),
    "cosine_distance": (losses.cosine_distance, draw(N, T, 3), draw(N, T, 3, seed=1)),
    "gaussian_nll": (lambda m, t, mask=None: losses.gaussian_nll((m, 0.1 * m), t, mask=mask), draw(N, T), draw(N, T, seed=1)),
    "tversky": (functools.partial(losses.tversky, alpha=0.2), draw(N, T, C), classes(N, T)),
    "iou": (losses.iou, boxes(12).reshape(N, T, 4), boxes(12, 1).reshape(N, T, 4)),
    "giou": (losses.giou, boxes(12).reshape(N, T, 4), boxes(12, 1).reshape(N, T, 4)),
}  # fmt: skip
