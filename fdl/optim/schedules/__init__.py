"""Schedules: hyperparameters that are functions of the step, as pytrees whose leaves are their numbers.

A schedule stands in the place of any hyperparameter, `optim.SGD(lr=optim.Cosine(peak=0.1, steps=1000))`, and is called with
the step counted from 0. Its numbers are traced: another peak does not recompile.
"""

from fdl.optim.schedules._base import Schedule as Schedule
from fdl.optim.schedules._base import schedule as schedule
from fdl.optim.schedules._cycles import OneCycle as OneCycle
from fdl.optim.schedules._cycles import Restarts as Restarts
from fdl.optim.schedules._decays import Constant as Constant
from fdl.optim.schedules._decays import Exponential as Exponential
from fdl.optim.schedules._decays import Polynomial as Polynomial
from fdl.optim.schedules._pieces import Join as Join
from fdl.optim.schedules._pieces import Piecewise as Piecewise
from fdl.optim.schedules._pieces import Warmup as Warmup
from fdl.optim.schedules._warmed import Cosine as Cosine
from fdl.optim.schedules._warmed import InverseSqrt as InverseSqrt
from fdl.optim.schedules._warmed import Linear as Linear
from fdl.optim.schedules._warmed import WarmupStableDecay as WarmupStableDecay

named = {
    cls.__name__.lower(): cls
    for cls in (
        Constant, Cosine, Exponential, InverseSqrt, Join, Linear, OneCycle, Piecewise, Polynomial, Restarts, Warmup, WarmupStableDecay,
    )
}  # fmt: skip
"""The schedules by the names that files of contestants take."""
