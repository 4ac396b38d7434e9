"""Training: the run as one pure function, and the run watched from the host."""

from fdl.train._fit import Fit as Fit
from fdl.train._fit import fit as fit
from fdl.train._fit import save as save
from fdl.train._run import Progress as Progress
from fdl.train._run import Trainable as Trainable
from fdl.train._run import device_arrays as device_arrays
from fdl.train._run import evaluate as evaluate
from fdl.train._run import run as run
from fdl.train._run import segment as segment
from fdl.train._run import start as start
from fdl.train._trainer import Trainer as Trainer
