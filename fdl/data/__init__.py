"""Data sets and batches."""

from fdl.data._adding import adding as adding
from fdl.data._batches import batch_indices as batch_indices
from fdl.data._cifar import cifar10 as cifar10
from fdl.data._cifar import cifar100 as cifar100
from fdl.data._dataset import Dataset as Dataset
from fdl.data._dataset import Split as Split
from fdl.data._dataset import examples as examples
from fdl.data._dataset import standardise as standardise
from fdl.data._digits import digits as digits
from fdl.data._idx import read_idx as read_idx
from fdl.data._mnist import fashion_mnist as fashion_mnist
from fdl.data._mnist import mnist as mnist
from fdl.data._quadratic import quadratic as quadratic
from fdl.data._svhn import svhn as svhn
from fdl.data._text import characters as characters
from fdl.data._text import sonnets as sonnets
from fdl.data._text import tolstoi as tolstoi
from fdl.data._vowels import vowels as vowels
