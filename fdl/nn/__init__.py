"""Layers and what composes them: `from fdl import nn`. Everything is channel-last."""

from jax.nn import elu as elu
from jax.nn import gelu as gelu
from jax.nn import initializers as initializers
from jax.nn import leaky_relu as leaky_relu
from jax.nn import log_softmax as log_softmax
from jax.nn import relu as relu
from jax.nn import sigmoid as sigmoid
from jax.nn import silu as silu
from jax.nn import softmax as softmax
from jax.nn import softplus as softplus
from jax.numpy import tanh as tanh

from fdl.core import Layer as Layer
from fdl.core import Scope as Scope
from fdl.nn._attention import AdditiveAttention as AdditiveAttention
from fdl.nn._attention import MultiHeadAttention as MultiHeadAttention
from fdl.nn._combine import Flatten as Flatten
from fdl.nn._combine import Residual as Residual
from fdl.nn._combine import Sequential as Sequential
from fdl.nn._conv import Conv as Conv
from fdl.nn._dense import Dense as Dense
from fdl.nn._dropout import Dropout as Dropout
from fdl.nn._embedding import Embedding as Embedding
from fdl.nn._embedding import LearnedPositions as LearnedPositions
from fdl.nn._embedding import SinusoidalPositions as SinusoidalPositions
from fdl.nn._norm import BatchNorm as BatchNorm
from fdl.nn._pool import AvgPool as AvgPool
from fdl.nn._pool import MaxPool as MaxPool
from fdl.nn._recurrent import GRU as GRU
from fdl.nn._recurrent import LSTM as LSTM
from fdl.nn._recurrent import RNN as RNN
from fdl.nn._recurrent import Cell as Cell
from fdl.nn._recurrent import Recurrent as Recurrent
from fdl.nn._summary import Summary as Summary
from fdl.nn._summary import flops as flops
from fdl.nn._summary import summary as summary
