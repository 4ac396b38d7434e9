"""Every optimizer with several settings, and how optax and PyTorch spell the same rule."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import optax

from fdl import optim


def optax_adagrad_outside(o):
    """optax has no Adagrad with eps outside the root, but one step of its RMSProp with decay 1/2 is one.

    From nu = G it makes nu' = (G + g^2) / 2 = G' / 2 and the step g / (sqrt(G' / 2) + eps'), which for eps' = eps / sqrt(2)
    is sqrt(2) g / (sqrt(G') + eps). Doubling nu' afterwards is exact.
    """
    root = 2**0.5
    half = optax.rmsprop(o.lr, 0.5, o.eps / root, o.initial_accumulator, eps_in_sqrt=False)

    def update(grads, state, params=None):
        updates, state = half.update(grads, state, params)
        nu = jax.tree.map(lambda nu: 2 * nu, optax.tree_utils.tree_get(state, "nu"))
        return jax.tree.map(lambda u: u / root, updates), optax.tree_utils.tree_set(state, nu=nu)

    return optax.GradientTransformation(half.init, update)


def optax_adagrad(o):
    """optax's own has eps inside the root; its start is 0.1 and its eps 1e-7 unless told."""
    return optax.adagrad(o.lr, o.initial_accumulator, o.eps) if o.eps_in_sqrt else optax_adagrad_outside(o)


def torch_rmsprop(torch, params, o):
    return torch.optim.RMSprop(params, lr=o.lr, alpha=o.decay, eps=o.eps)  # PyTorch's alpha is the decay


def torch_adagrad(torch, params, o):
    return torch.optim.Adagrad(params, lr=o.lr, initial_accumulator_value=o.initial_accumulator, eps=o.eps)


def torch_momentum(torch, params, o):
    return torch.optim.SGD(params, lr=o.lr, momentum=o.momentum, nesterov=o.nesterov)


@dataclasses.dataclass(frozen=True)
class Rule:
    """One class: its optax builder, the optax names of its slots, and its PyTorch builder, each from fdl's settings."""

    optax: Callable[[Any], optax.GradientTransformation]
    slots: dict[str, str]
    torch: Callable[[Any, Any, Any], Any]


RULES = {
    optim.SGD: Rule(lambda o: optax.sgd(o.lr), {}, lambda torch, p, o: torch.optim.SGD(p, lr=o.lr)),
    optim.Momentum: Rule(lambda o: optax.sgd(o.lr, o.momentum, o.nesterov), {"b": "trace"}, torch_momentum),
    optim.Adagrad: Rule(optax_adagrad, {"G": "sum_of_squares"}, torch_adagrad),
    # optax.adadelta without a rate ascends: its sign comes with the rate.
    optim.Adadelta: Rule(
        lambda o: optax.adadelta(o.lr, o.rho, o.eps),
        {"E": "e_g", "D": "e_x"},
        lambda torch, p, o: torch.optim.Adadelta(p, lr=o.lr, rho=o.rho, eps=o.eps),
    ),
    # optax's default is eps inside the root.
    optim.RMSProp: Rule(lambda o: optax.rmsprop(o.lr, o.decay, o.eps, eps_in_sqrt=o.eps_in_sqrt), {"v": "nu"}, torch_rmsprop),
    optim.Adam: Rule(
        lambda o: optax.adam(o.lr, o.b1, o.b2, o.eps),
        {"m": "mu", "v": "nu"},
        lambda torch, p, o: torch.optim.Adam(p, lr=o.lr, betas=(o.b1, o.b2), eps=o.eps),
    ),
}


@dataclasses.dataclass(frozen=True)
class Case:
    """One optimizer with its settings."""

    name: str
    ours: optim.Optimizer

    @property
    def optax(self) -> optax.GradientTransformation:
        return RULES[type(self.ours)].optax(self.ours)

    @property
    def slots(self) -> dict[str, str]:
        """From fdl's slots to optax's names of them."""
        names = dict(RULES[type(self.ours)].slots)
        return {"G": "nu"} if isinstance(self.ours, optim.Adagrad) and not self.ours.eps_in_sqrt else names

    def torch(self, torch: Any, params: list[Any]) -> Any:
        """PyTorch's optimizer over `params`; it knows eps only outside the root."""
        assert not getattr(self.ours, "eps_in_sqrt", False)
        return RULES[type(self.ours)].torch(torch, params, self.ours)

    def __str__(self) -> str:
        return self.name


CASES = [
    Case("sgd", optim.SGD(0.1)),
    Case("sgd-large-rate", optim.SGD(3.0)),
    Case("momentum", optim.Momentum(0.1)),
    Case("momentum-half", optim.Momentum(0.1, momentum=0.5)),
    Case("nesterov", optim.Momentum(0.1, nesterov=True)),
    Case("adagrad", optim.Adagrad(0.1)),
    Case("adagrad-warm", optim.Adagrad(0.1, initial_accumulator=0.1, eps=1e-3)),
    Case("adagrad-in-sqrt", optim.Adagrad(0.1, eps=1e-7, eps_in_sqrt=True)),
    Case("adagrad-optax", optim.Adagrad(0.1, initial_accumulator=0.1, eps=1e-7, eps_in_sqrt=True)),
    Case("adadelta", optim.Adadelta()),
    Case("adadelta-slow", optim.Adadelta(0.5, rho=0.9, eps=1e-4)),
    Case("rmsprop", optim.RMSProp(0.01)),
    Case("rmsprop-torch", optim.RMSProp(0.01, decay=0.99, eps=1e-3)),
    Case("rmsprop-in-sqrt", optim.RMSProp(0.01, eps_in_sqrt=True)),
    Case("adam", optim.Adam(0.01)),
    Case("adam-short", optim.Adam(0.01, b1=0.8, b2=0.9, eps=1e-3)),
    Case("adam-no-mean", optim.Adam(0.01, b1=0.0, b2=0.99)),
]

BY_NAME = {case.name: case for case in CASES}

KINDS = [
    BY_NAME[n] for n in ["sgd", "momentum", "nesterov", "adagrad", "adagrad-in-sqrt", "adadelta", "rmsprop", "rmsprop-in-sqrt", "adam"]
]
"""One case of each structure: each class with each value of its static fields. The laws run over these."""


def hyperparameters(optimizer: Any) -> dict[str, float]:
    """The optimizer's numbers: its fields that are leaves."""
    return {f.name: getattr(optimizer, f.name) for f in dataclasses.fields(optimizer) if not f.metadata.get("static")}
