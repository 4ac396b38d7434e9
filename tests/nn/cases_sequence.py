"""Layers of sequences and attention, with inputs: shapes are drawn, arrays are taken as they are."""

import numpy as np

from fdl import nn

LENGTHS = np.array([3, 1], np.int32)
CASES = {
    "MultiHeadAttention": (nn.MultiHeadAttention(2), ((2, 4, 6),)),
    "MultiHeadAttention, causal, rotary, of other features": (nn.MultiHeadAttention(2, 8, causal=True, rotary=True), ((2, 4, 3),)),
    "MultiHeadAttention with dropout": (nn.MultiHeadAttention(3, dropout=0.3, bias=False), ((2, 3, 6),)),
    "MultiHeadAttention of a context": (nn.MultiHeadAttention(2), ((2, 3, 4), (2, 5, 3))),
    "MultiHeadAttention of a padded context": (nn.MultiHeadAttention(2), ((2, 3, 4), (2, 4, 3), LENGTHS)),
    "AdditiveAttention": (nn.AdditiveAttention(3), ((2, 4), (2, 5, 3))),
    "AdditiveAttention of a padded memory": (nn.AdditiveAttention(3), ((2, 4), (2, 4, 3), LENGTHS)),
    "TransformerBlock": (nn.TransformerBlock(2, 5, dropout=0.2), ((2, 4, 6), LENGTHS)),
    "TransformerBlock, causal, rotary, of other parts": (
        nn.TransformerBlock(2, causal=True, rotary=True, activation=nn.gelu, norm=nn.RMSNorm()),
        ((2, 3, 4),),
    ),
    "TransformerBlock of a padded context": (nn.TransformerBlock(1, 4, True), ((2, 3, 3), LENGTHS, (2, 3, 2), LENGTHS)),
    "Embedding": (nn.Embedding(7, 3, dtype=float), (np.array([[1, 6, 0], [3, 3, 2]], np.int32),)),
    "SinusoidalPositions": (nn.SinusoidalPositions(), ((2, 5, 4),)),
    "LearnedPositions": (nn.LearnedPositions(6), ((2, 5, 3),)),
}
