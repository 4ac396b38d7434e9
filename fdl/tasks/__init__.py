"""Learning problems: data, model, loss, metrics and budget in one."""

from fdl.tasks._functions import FunctionTask as FunctionTask
from fdl.tasks._functions import from_loss as from_loss
from fdl.tasks._landscapes import Landscape as Landscape
from fdl.tasks._landscapes import landscapes as landscapes
from fdl.tasks._named import get as get
from fdl.tasks._named import named as named
from fdl.tasks._task import Task as Task
