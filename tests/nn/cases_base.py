"""Dense, convolution, pooling, recurrence and their combinations, for the laws of every layer."""

from fdl import nn

CASES = {
    "Dense": (nn.Dense(4), ((2, 3),)),
    "Conv of few channels": (nn.Conv(3, (2, 3), 2), ((2, 5, 4, 3),)),
    "Conv of many channels": (nn.Conv(2, 3, padding="VALID", dilation=(1, 2)), ((2, 4, 5, 6),)),
    "MaxPool": (nn.MaxPool(2, padding="SAME"), ((2, 5, 4, 2),)),
    "AvgPool": (nn.AvgPool(3, 2), ((2, 5, 4, 2),)),
    "Flatten": (nn.Flatten(), ((2, 3, 2),)),
    "Residual": (nn.Residual(nn.Sequential(nn.Dense(3), nn.relu, nn.Dropout(0.2))), ((2, 3),)),
    "Sequential": (
        nn.Sequential(nn.Conv(3, 3), nn.BatchNorm(), nn.relu, nn.MaxPool(2), nn.Flatten(), nn.Dense(2)),
        ((2, 4, 4, 2),),
    ),
    "RNN": (nn.Recurrent(nn.RNN(3)), ((2, 4, 3),)),
    "LSTM": (nn.Recurrent(nn.LSTM(3), "all"), ((2, 4, 3),)),
    "GRU": (nn.Recurrent(nn.GRU(3)), ((2, 4, 3),)),
}
