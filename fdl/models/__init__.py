"""Ready networks, each a short composition of layers."""

from fdl.models._small import cnn as cnn
from fdl.models._small import mlp as mlp
from fdl.models._small import recurrent_classifier as recurrent_classifier
