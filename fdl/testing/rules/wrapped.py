"""Optimizers made of others: chains with a transform, groups, and wrappers."""

import numpy as np

from fdl import optim
from fdl.optim import Adam, Chain, Momentum
from fdl.testing._cases import Case, Evaluated, leafwise

HEAVY_BALL = Momentum(0.1, momentum=0.8)


def _heavy_ball(o, b, g):
    """The inner optimizer of these references: its new buffer, and its step."""
    b = o.momentum * b + g
    return b, -o.lr * b


def clip_by_norm(o, p):
    """Pascanu, Mikolov & Bengio 2013, algorithm 1, of each array."""
    clip, inner = o.stages
    b = 0 * p
    while True:
        g = (yield p).g
        norm = np.sqrt((g * g).sum())
        if norm > clip.limit:
            g = clip.limit / norm * g
        b, step = _heavy_ball(inner, b, g)
        p = p + step


def centralise(o, p):
    """Yong et al. 2020, equation 1: a unit's gradients are a column."""
    _, inner = o.stages
    b = 0 * p
    while True:
        g = (yield p).g
        if g.ndim > 1:
            columns = g.reshape(-1, g.shape[-1])
            g = (columns - columns.mean(axis=0)).reshape(g.shape)
        b, step = _heavy_ball(inner, b, g)
        p = p + step


def accumulate(o, p):
    """A step by the mean of so many gradients."""
    b = 0 * p
    while True:
        gradients = []
        for _ in range(round(o.every)):
            gradients.append((yield p).g)
        b, step = _heavy_ball(o.inner, b, sum(gradients) / len(gradients))
        p = p + step


def averaged(o, p):
    """The weights of all parameters so far, as they follow from the recursion."""
    d, b, history, start = o.decay, 0 * p, [], p
    average = p
    while True:
        g = (yield Evaluated(p, average)).g
        b, step = _heavy_ball(o.inner, b, g)
        p = p + step
        history.append(p)
        weights = [(1 - d) * d**age for age in range(len(history))][::-1]
        total = sum(w * x for w, x in zip(weights, history))
        average = total / sum(weights) if o.debias else total + d ** len(history) * start


def lookahead(o, phi):
    """Zhang et al. 2019, algorithm 1: two loops."""
    b = 0 * phi
    while True:
        theta = phi
        b = 0 * b if o.reset else b
        for _ in range(round(o.k)):
            g = (yield Evaluated(theta, phi)).g
            b, step = _heavy_ball(o.inner, b, g)
            theta = theta + step
        phi = phi + o.alpha * (theta - phi)


def asam(o, params):
    """Kwon et al. 2021, algorithm 1, with their T + eta of section 4."""
    buffers = [0 * p for p in params]
    while True:
        told = yield params
        scales = [abs(p) + o.eta for p in params]
        norm = np.sqrt(sum(((T * g) ** 2).sum() for T, g in zip(scales, told.g)))
        epsilon = [o.rho * T * T * g / norm for T, g in zip(scales, told.g)]
        _, gradients = told.objective([p + e for p, e in zip(params, epsilon)])
        moved = [_heavy_ball(o.inner, b, g) for b, g in zip(buffers, gradients)]
        buffers = [b for b, _ in moved]
        params = [p + step for p, (_, step) in zip(params, moved)]


def cautious_adamw(o, p):
    """Liang et al. 2024, algorithm 2 for AdamW, with alpha(x) = dim(x) / (nnz(x > 0) + xi)."""
    a = o.inner
    m, v, t = 0 * p, 0 * p, 0
    while True:
        g = (yield p).g
        t += 1
        m = a.b1 * m + (1 - a.b1) * g
        v = a.b2 * v + (1 - a.b2) * g**2
        u = m / (1 - a.b1**t) / (np.sqrt(v / (1 - a.b2**t)) + a.eps)
        mask = np.sign(u) * np.sign(g) > 0
        p = p - a.lr * p.size / (np.count_nonzero(mask) + o.xi) * u * mask - a.lr * a.weight_decay * p


def cautious_lion(o, p):
    """Liang et al. 2024, algorithm 1 for Lion."""
    a, m = o.inner, 0 * p
    while True:
        g = (yield p).g
        u = np.sign(a.b1 * m + (1 - a.b1) * g)
        m = a.b2 * m + (1 - a.b2) * g
        mask = u * np.sign(g) > 0
        p = p - a.lr * p.size / (np.count_nonzero(mask) + o.xi) * u * mask - a.lr * a.weight_decay * p


_RATES = (0.02, 0.001)
_ABOVE_EPS = Chain(optim.ClipAdaptively(0.1, 1.5), HEAVY_BALL)  # which some of the toy problem's units are, and some not

CASES = [
    Case("clip-by-value", Chain(optim.ClipByValue(0.3), HEAVY_BALL), rates=_RATES),
    Case("clip-by-rms", Chain(optim.ClipByRMS(0.01), HEAVY_BALL), shape="tree", rates=(0.5, 0.1)),
    Case("clip-by-norm", Chain(optim.ClipByNorm(0.02), HEAVY_BALL), reference=leafwise(clip_by_norm), shape="tree", rates=(0.5, 0.1)),
    Case("clip-by-global-norm", Chain(optim.ClipByGlobalNorm(0.05), HEAVY_BALL), shape="tree", rates=(0.5, 0.1)),
    Case("clip-adaptively", Chain(optim.ClipAdaptively(0.002, 0.01), HEAVY_BALL), shape="tree", rates=None, smooth=_ABOVE_EPS),
    Case("clip-adaptively-small", Chain(optim.ClipAdaptively(0.002, 1.5), HEAVY_BALL), shape="tree", rates=None, smooth=_ABOVE_EPS),
    Case("coupled-decay", Chain(optim.CoupledDecay(0.1), HEAVY_BALL), still=False, rates=_RATES),
    Case("coupled-decay-of-some", Chain(optim.CoupledDecay(0.1, "bias"), HEAVY_BALL), shape="tree", still=False, rates=None),
    Case("coupled-decay-of-adam", Chain(optim.CoupledDecay(0.1), Adam(0.01)), still=False),
    Case("decoupled-decay", Chain(Adam(0.01), optim.DecoupledDecay(0.01, 0.1)), still=False),
    Case("centralise", Chain(optim.Centralise(), HEAVY_BALL), reference=leafwise(centralise), shape="tree", rates=None),
    Case("centralise-optax", Chain(optim.Centralise(units_first=True), HEAVY_BALL), shape="tree", rates=None),
    Case("accumulate", optim.Accumulate(HEAVY_BALL, 3.0), reference=leafwise(accumulate), rates=_RATES),
    Case("accumulate-adam", optim.Accumulate(Adam(0.01), 2.0)),
    # The average acts on what is measured alone: tests/optim/test_optim_wrappers.py differentiates by its decay.
    Case("averaged", optim.Averaged(HEAVY_BALL, 0.9), idle=("decay",), reference=leafwise(averaged), rates=_RATES),
    Case("averaged-biased", optim.Averaged(HEAVY_BALL, 0.9, debias=False), idle=("decay",), reference=leafwise(averaged), rates=_RATES),
    Case("if-finite", optim.IfFinite(HEAVY_BALL, 5.0), idle=("most",), rates=_RATES),
    Case("lookahead", optim.Lookahead(HEAVY_BALL, 3.0, 0.4), reference=leafwise(lookahead), rates=_RATES),
    Case("lookahead-reset", optim.Lookahead(HEAVY_BALL, 3.0, 0.4, reset=True), reference=leafwise(lookahead), rates=_RATES),
    Case("sam", optim.SAM(HEAVY_BALL, 0.1), shape="tree", forced=False, idle=("eta",), rates=None),
    Case("asam", optim.SAM(HEAVY_BALL, 0.5, 0.02, adaptive=True), reference=asam, shape="tree", forced=False, rates=None),
    Case("groups", optim.Groups({"bias": optim.SGD(0.05)}, rest=HEAVY_BALL), shape="tree", rates=None),
    Case(
        "groups-of-chains",
        optim.Groups({"bias": Adam(0.01)}, rest=Chain(optim.ClipByGlobalNorm(0.2), HEAVY_BALL)),
        shape="tree",
        rates=None,
    ),
    Case("cautious-adamw", optim.Cautious(optim.AdamW(0.01)), reference=leafwise(cautious_adamw), shape="tree", still=False),
    Case(
        "cautious-short",
        optim.Cautious(optim.AdamW(0.01, 0.8, 0.9, 1e-3, 0.1), 0.5),
        reference=leafwise(cautious_adamw),
        shape="tree",
        still=False,
    ),
    Case(
        "cautious-lion",
        optim.Cautious(optim.Lion(0.01)),
        reference=leafwise(cautious_lion),
        shape="tree",
        smooth=optim.Cautious(optim.Lion(0.3)),
    ),
]
