"""Normalisation, regularisation and wrappers, for the laws of every layer."""

import numpy as np

from fdl import nn

MASK = np.array([[True, True, False], [True, False, False], [True, True, True]])
CASES = {
    "BatchNorm": (nn.BatchNorm(), ((4, 3, 2),)),
    "BatchNorm with a mask": (nn.BatchNorm(0.7, bias=False), ((3, 3, 2), MASK)),
    "LayerNorm": (nn.LayerNorm(), ((2, 3, 5),)),
    "LayerNorm over two axes": (nn.LayerNorm(scale=False, axes=(-2, -1)), ((2, 3, 2),)),
    "GroupNorm": (nn.GroupNorm(2), ((2, 3, 2, 4),)),
    "GroupNorm with a mask": (nn.GroupNorm(2), ((3, 3, 4), MASK)),
    "InstanceNorm": (nn.InstanceNorm(), ((2, 3, 2, 2),)),
    "InstanceNorm with a mask": (nn.InstanceNorm(), ((3, 3, 2), MASK)),
    "RMSNorm": (nn.RMSNorm(bias=True), ((2, 3, 5),)),
    "SpectralNorm": (nn.SpectralNorm(nn.Dense(4)), ((2, 3),)),
    "SpectralNorm of a Conv": (nn.SpectralNorm(nn.Conv(3, 2), steps=2), ((2, 3, 3, 2),)),
    "WeightNorm": (nn.WeightNorm(nn.Dense(4)), ((2, 3),)),
    "WeightNorm of a Conv": (nn.WeightNorm(nn.Conv(3, 2)), ((2, 3, 3, 2),)),
    "Dropout": (nn.Dropout(0.3), ((3, 5),)),
    "Dropout of channels": (nn.Dropout(0.3, each="channel"), ((3, 2, 4),)),
    "Dropout of examples": (nn.Residual(nn.Sequential(nn.Dense(3), nn.Dropout(0.3, each="example"))), ((5, 3),)),
    "Remat": (nn.Remat(nn.Sequential(nn.Dense(3), nn.BatchNorm(), nn.tanh, nn.Dropout(0.2))), ((4, 3),)),
}
