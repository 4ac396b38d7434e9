"""Ready networks, each a short composition of layers."""

from fdl.models._deepobs import deepobs_2c2d as deepobs_2c2d
from fdl.models._deepobs import deepobs_3c3d as deepobs_3c3d
from fdl.models._deepobs import deepobs_logreg as deepobs_logreg
from fdl.models._deepobs import deepobs_mlp as deepobs_mlp
from fdl.models._images import CifarInput as CifarInput
from fdl.models._point import Point as Point
from fdl.models._small import cnn as cnn
from fdl.models._small import mlp as mlp
from fdl.models._small import recurrent_classifier as recurrent_classifier
