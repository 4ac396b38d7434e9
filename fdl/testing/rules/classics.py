"""SGD, momentum, Adagrad, Adadelta, RMSProp and Adam."""

from fdl import optim
from fdl.testing._cases import Case, leafwise


def adagrad(o, p):
    """Duchi, Hazan & Singer 2011, figure 1, with a diagonal matrix: optax has it with eps inside the root alone."""
    G = 0 * p + o.initial_accumulator
    while True:
        told = yield p
        G = G + told.g**2
        p = p - o.lr * told.g / (G**0.5 + o.eps)


def _sgd(torch, params, o):
    return torch.optim.SGD(params, lr=o.lr)


def _momentum(torch, params, o):
    return torch.optim.SGD(params, lr=o.lr, momentum=o.momentum, nesterov=o.nesterov)


def _adagrad(torch, params, o):
    return torch.optim.Adagrad(params, lr=o.lr, initial_accumulator_value=o.initial_accumulator, eps=o.eps)


def _adadelta(torch, params, o):
    return torch.optim.Adadelta(params, lr=o.lr, rho=o.rho, eps=o.eps)


def _rmsprop(torch, params, o):
    return torch.optim.RMSprop(params, lr=o.lr, alpha=o.decay, eps=o.eps)  # PyTorch's alpha is the decay


def _adam(torch, params, o):
    return torch.optim.Adam(params, lr=o.lr, betas=(o.b1, o.b2), eps=o.eps)


CASES = [
    Case("sgd", optim.SGD(0.1), torch=_sgd, rates=(0.1, 0.001)),
    Case("momentum", optim.Momentum(0.1), torch=_momentum, rates=(0.05, 0.001)),
    Case("momentum-half", optim.Momentum(0.1, momentum=0.5), torch=_momentum, rates=(0.05, 0.001)),
    Case("nesterov", optim.Momentum(0.1, nesterov=True), torch=_momentum, rates=(0.05, 0.001)),
    Case("adagrad", optim.Adagrad(0.1), reference=leafwise(adagrad), torch=_adagrad, rates=(0.3, 0.3)),
    Case("adagrad-warm", optim.Adagrad(0.1, 0.1, 1e-3), reference=leafwise(adagrad), torch=_adagrad, rates=(0.3, 0.3)),
    Case("adagrad-in-sqrt", optim.Adagrad(0.1, eps=1e-7, eps_in_sqrt=True), rates=(0.3, 0.3)),
    Case("adagrad-optax", optim.Adagrad(0.1, 0.1, 1e-7, eps_in_sqrt=True), rates=(0.3, 0.3)),
    Case("adadelta", optim.Adadelta(), torch=_adadelta, rates=(1.0, 0.03)),
    Case("adadelta-slow", optim.Adadelta(0.5, rho=0.9, eps=1e-4), torch=_adadelta, rates=None),  # its steps stay above the root of eps
    Case("rmsprop", optim.RMSProp(0.01), torch=_rmsprop, rates=(0.003, 0.001)),
    Case("rmsprop-torch", optim.RMSProp(0.01, decay=0.99, eps=1e-3), torch=_rmsprop, rates=(0.003, 0.001)),
    Case("rmsprop-in-sqrt", optim.RMSProp(0.01, eps_in_sqrt=True), rates=(0.003, 0.001)),
    Case("adam", optim.Adam(0.01), torch=_adam),
    Case("adam-short", optim.Adam(0.01, b1=0.8, b2=0.9, eps=1e-3), torch=_adam),
    Case("adam-no-mean", optim.Adam(0.01, b1=0.0, b2=0.99), torch=_adam),
]
