"""Data sets and batches."""

from fdl.data._batches import batch_indices as batch_indices
from fdl.data._dataset import Dataset as Dataset
from fdl.data._dataset import Split as Split
from fdl.data._dataset import examples as examples
from fdl.data._dataset import standardise as standardise
from fdl.data._digits import digits as digits
from fdl.data._vowels import vowels as vowels
