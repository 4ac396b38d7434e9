"""The six classic optimizers with the ranges in which `fdl compare` searches their rates."""

from typing import Any

from fdl import optim
from fdl.compare import space

# Four decades each, around the rates that suit networks with standardised inputs.
classics: dict[str, Any] = {
    "sgd": optim.SGD(lr=space.log(1e-3, 10)),
    "momentum": optim.Momentum(lr=space.log(1e-4, 1)),
    "adagrad": optim.Adagrad(lr=space.log(1e-4, 1)),
    "adadelta": optim.Adadelta(lr=space.log(1e-2, 100)),
    "rmsprop": optim.RMSProp(lr=space.log(1e-5, 1e-1)),
    "adam": optim.Adam(lr=space.log(1e-5, 1e-1)),
}
