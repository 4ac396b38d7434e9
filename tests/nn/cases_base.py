"""Dense layers and what composes layers, for the laws of every layer."""

from fdl import nn

CASES = {
    "Dense": (nn.Dense(4), ((2, 3),)),
    "Flatten": (nn.Flatten(), ((2, 3, 2),)),
    "Residual": (nn.Residual(nn.Sequential(nn.Dense(3), nn.relu, nn.Dropout(0.2))), ((2, 3),)),
    "Sequential": (
        nn.Sequential(nn.Conv(3, 3), nn.BatchNorm(), nn.relu, nn.MaxPool(2), nn.Flatten(), nn.Dense(2)),
        ((2, 4, 4, 2),),
    ),
}
