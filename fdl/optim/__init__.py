"""Optimizers, one a file, each derived from its paper: `from fdl import optim`."""

from fdl.optim._base import Hyperparameter as Hyperparameter
from fdl.optim._base import Objective as Objective
from fdl.optim._base import Optimizer as Optimizer
from fdl.optim._base import apply_updates as apply_updates
from fdl.optim._base import evaluation_params as evaluation_params
from fdl.optim._base import optimizer as optimizer
from fdl.optim._base import static as static
from fdl.optim._base import step as step
from fdl.optim._optax import as_pytree as as_pytree
from fdl.optim._optax import from_optax as from_optax
from fdl.optim._optax import state_from_optax as state_from_optax
from fdl.optim._optax import state_to_optax as state_to_optax
from fdl.optim._optax import to_optax as to_optax
from fdl.optim._rule import Decayed as Decayed
from fdl.optim._rule import Leafwise as Leafwise
from fdl.optim._rule import Treewise as Treewise
from fdl.optim._rule import safe_sqrt as safe_sqrt
from fdl.optim.adadelta import Adadelta as Adadelta
from fdl.optim.adagrad import Adagrad as Adagrad
from fdl.optim.adam import Adam as Adam
from fdl.optim.momentum import Momentum as Momentum
from fdl.optim.rmsprop import RMSProp as RMSProp
from fdl.optim.schedules import Cosine as Cosine
from fdl.optim.schedules import Linear as Linear
from fdl.optim.sgd import SGD as SGD

named = {cls.__name__.lower(): cls for cls in (SGD, Momentum, Adagrad, Adadelta, RMSProp, Adam)}
"""The optimizers by the names that commands take."""
