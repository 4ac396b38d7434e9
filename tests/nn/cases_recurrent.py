"""Recurrent layers for the laws of every layer."""

import numpy as np

from fdl import nn

LENGTHS = np.array([4, 2], np.int32)
MASK = np.array([[True, False, True, True], [False, True, True, False]])

CASES: dict[str, tuple[nn.Layer, tuple]] = {
    "RNN": (nn.Recurrent(nn.RNN(3)), ((2, 4, 3),)),
    "LSTM": (nn.Recurrent(nn.LSTM(3), "all"), ((2, 4, 3), LENGTHS)),
    "LSTM with peepholes": (nn.Recurrent(nn.LSTM(3, peephole=True)), ((2, 4, 2), MASK)),
    "LSTM with layer norm": (nn.Recurrent(nn.LSTM(3, layer_norm=True), "all"), ((2, 4, 2), LENGTHS)),
    "LSTM that keeps its carry": (nn.Carried(nn.Recurrent(nn.LSTM(3), "all")), ((2, 4, 3), np.array([True, False]))),
    "GRU": (nn.Recurrent(nn.GRU(3), reverse=True), ((2, 4, 3), LENGTHS)),
    "GRU with its reset before": (nn.Recurrent(nn.GRU(3, reset="before"), "all", remat=3), ((2, 4, 3), MASK)),
    "GRU with dropout of its state": (nn.Recurrent(nn.GRU(3, reset="before"), "all", recurrent_dropout=0.4), ((2, 4, 3), MASK)),
    "MGU": (nn.Recurrent(nn.MGU(3), "all", unroll=2), ((2, 4, 2), MASK)),
    "LRU": (nn.Recurrent(nn.LRU(3, states=2), "all"), ((2, 4, 2), MASK)),
    "Bidirectional": (nn.Bidirectional(nn.Recurrent(nn.GRU(2), "all")), ((2, 4, 3), LENGTHS)),
    "Stacked": (nn.Stacked(nn.Recurrent(nn.RNN(3), "all"), nn.Recurrent(nn.GRU(2)), dropout=0.3), ((2, 4, 3), MASK)),
}
