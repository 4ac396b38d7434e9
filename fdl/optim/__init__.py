"""Optimizers, one a file, each derived from its paper: `from fdl import optim`."""

from fdl.optim._base import Hyperparameter as Hyperparameter
from fdl.optim._base import Objective as Objective
from fdl.optim._base import Optimizer as Optimizer
from fdl.optim._base import apply_updates as apply_updates
from fdl.optim._base import evaluation_params as evaluation_params
from fdl.optim._base import optimizer as optimizer
from fdl.optim._base import static as static
from fdl.optim._base import step as step
from fdl.optim._optax import as_optax as as_optax
from fdl.optim._optax import as_pytree as as_pytree
from fdl.optim._optax import from_optax as from_optax
from fdl.optim._optax import state_from_optax as state_from_optax
from fdl.optim._optax import state_to_optax as state_to_optax
from fdl.optim._optax import to_optax as to_optax
from fdl.optim._rule import Decayed as Decayed
from fdl.optim._rule import Leafwise as Leafwise
from fdl.optim._rule import Treewise as Treewise
from fdl.optim._rule import safe_sqrt as safe_sqrt
from fdl.optim._wrapper import Wrapper as Wrapper
from fdl.optim._wrapper import hyperparameters as hyperparameters
from fdl.optim.accumulate import Accumulate as Accumulate
from fdl.optim.adabelief import AdaBelief as AdaBelief
from fdl.optim.adabound import AdaBound as AdaBound
from fdl.optim.adadelta import Adadelta as Adadelta
from fdl.optim.adafactor import Adafactor as Adafactor
from fdl.optim.adagrad import Adagrad as Adagrad
from fdl.optim.adam import Adam as Adam
from fdl.optim.adamax import Adamax as Adamax
from fdl.optim.adamw import AdamW as AdamW
from fdl.optim.adan import Adan as Adan
from fdl.optim.ademamix import AdEMAMix as AdEMAMix
from fdl.optim.adopt import ADOPT as ADOPT
from fdl.optim.amsgrad import AMSGrad as AMSGrad
from fdl.optim.asgd import ASGD as ASGD
from fdl.optim.averaged import Averaged as Averaged
from fdl.optim.came import CAME as CAME
from fdl.optim.cautious import Cautious as Cautious
from fdl.optim.centralise import Centralise as Centralise
from fdl.optim.chain import Chain as Chain
from fdl.optim.clipping import ClipAdaptively as ClipAdaptively
from fdl.optim.clipping import ClipByGlobalNorm as ClipByGlobalNorm
from fdl.optim.clipping import ClipByNorm as ClipByNorm
from fdl.optim.clipping import ClipByRMS as ClipByRMS
from fdl.optim.clipping import ClipByValue as ClipByValue
from fdl.optim.cocob import COCOB as COCOB
from fdl.optim.dadapt import DAdaptAdam as DAdaptAdam
from fdl.optim.dadapt import DAdaptSGD as DAdaptSGD
from fdl.optim.decay import CoupledDecay as CoupledDecay
from fdl.optim.decay import DecoupledDecay as DecoupledDecay
from fdl.optim.dog import DoG as DoG
from fdl.optim.dog import DoWG as DoWG
from fdl.optim.finite import IfFinite as IfFinite
from fdl.optim.groups import Frozen as Frozen
from fdl.optim.groups import Groups as Groups
from fdl.optim.lamb import LAMB as LAMB
from fdl.optim.laprop import LaProp as LaProp
from fdl.optim.lars import LARS as LARS
from fdl.optim.lbfgs import LBFGS as LBFGS
from fdl.optim.lion import Lion as Lion
from fdl.optim.lookahead import Lookahead as Lookahead
from fdl.optim.mars import MARS as MARS
from fdl.optim.mechanic import Mechanic as Mechanic
from fdl.optim.momentum import Momentum as Momentum
from fdl.optim.momo import MoMo as MoMo
from fdl.optim.momo import MoMoAdam as MoMoAdam
from fdl.optim.muon import Muon as Muon
from fdl.optim.nadam import NAdam as NAdam
from fdl.optim.nadam import NAdamW as NAdamW
from fdl.optim.noise import Noise as Noise
from fdl.optim.novograd import NovoGrad as NovoGrad
from fdl.optim.polyak import Polyak as Polyak
from fdl.optim.prodigy import Prodigy as Prodigy
from fdl.optim.psgd import PSGD as PSGD
from fdl.optim.radam import RAdam as RAdam
from fdl.optim.rmsprop import RMSProp as RMSProp
from fdl.optim.rprop import Rprop as Rprop
from fdl.optim.sam import SAM as SAM
from fdl.optim.schedule_free import ScheduleFreeAdamW as ScheduleFreeAdamW
from fdl.optim.schedule_free import ScheduleFreeSGD as ScheduleFreeSGD
from fdl.optim.schedules import Constant as Constant
from fdl.optim.schedules import Cosine as Cosine
from fdl.optim.schedules import Exponential as Exponential
from fdl.optim.schedules import InverseSqrt as InverseSqrt
from fdl.optim.schedules import Join as Join
from fdl.optim.schedules import Linear as Linear
from fdl.optim.schedules import OneCycle as OneCycle
from fdl.optim.schedules import Piecewise as Piecewise
from fdl.optim.schedules import Polynomial as Polynomial
from fdl.optim.schedules import Restarts as Restarts
from fdl.optim.schedules import Schedule as Schedule
from fdl.optim.schedules import Warmup as Warmup
from fdl.optim.schedules import WarmupStableDecay as WarmupStableDecay
from fdl.optim.sgd import SGD as SGD
from fdl.optim.shampoo import Shampoo as Shampoo
from fdl.optim.signum import Signum as Signum
from fdl.optim.sm3 import SM3 as SM3
from fdl.optim.soap import SOAP as SOAP
from fdl.optim.sophia import Sophia as Sophia
from fdl.optim.yogi import Yogi as Yogi

_RULES = (
    SGD, Momentum, ASGD, Adagrad, Adadelta, RMSProp, Rprop,
    Adam, AdamW, Adamax, NAdam, NAdamW, AMSGrad, RAdam, AdaBelief, Yogi, AdaBound, LaProp, Adan, ADOPT, AdEMAMix, Lion, Signum, MARS,
    LARS, LAMB, NovoGrad, SM3, Adafactor, CAME,
    Muon, Shampoo, SOAP, PSGD, Sophia, LBFGS,
    DAdaptSGD, DAdaptAdam, Prodigy, DoG, DoWG, Polyak, MoMo, MoMoAdam, ScheduleFreeSGD, ScheduleFreeAdamW,
)  # fmt: skip
named = {cls.__name__.lower(): cls for cls in _RULES}
"""The optimizers by the names that commands take, which give them a learning rate."""

wrappers = {cls.__name__.lower(): cls for cls in (Accumulate, Averaged, Cautious, IfFinite, Lookahead, Mechanic, SAM)}
"""What stands around an optimizer, by name: `lookahead(adam)`."""

stages = {
    cls.__name__.lower(): cls
    for cls in (
        Centralise, Chain, ClipAdaptively, ClipByGlobalNorm, ClipByNorm, ClipByRMS, ClipByValue, CoupledDecay, DecoupledDecay, Frozen,
        Groups, Noise,
    )
}  # fmt: skip
"""What optimizers are put together from, by the names that files of contestants take."""
