"""Ready networks, each a short composition of layers."""

from fdl.models._classic import all_cnn_c as all_cnn_c
from fdl.models._classic import lenet5 as lenet5
from fdl.models._deepobs import deepobs_2c2d as deepobs_2c2d
from fdl.models._deepobs import deepobs_3c3d as deepobs_3c3d
from fdl.models._deepobs import deepobs_logreg as deepobs_logreg
from fdl.models._deepobs import deepobs_mlp as deepobs_mlp
from fdl.models._images import CifarInput as CifarInput
from fdl.models._point import Point as Point
from fdl.models._residual import cifar_resnet as cifar_resnet
from fdl.models._residual import resnet as resnet
from fdl.models._residual import wide_resnet as wide_resnet
from fdl.models._segment import UNet as UNet
from fdl.models._small import cnn as cnn
from fdl.models._small import mlp as mlp
from fdl.models._small import recurrent_classifier as recurrent_classifier
from fdl.models._text import AttentionDecoder as AttentionDecoder
from fdl.models._text import Captioner as Captioner
from fdl.models._text import CharacterModel as CharacterModel
from fdl.models._text import Encoder as Encoder
from fdl.models._text import Seq2Seq as Seq2Seq
from fdl.models._variational import VAE as VAE
from fdl.models._variational import deepobs_vae as deepobs_vae
