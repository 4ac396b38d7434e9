"""L-BFGS, with its line searches."""

import numpy as np

from fdl import optim
from fdl.testing._cases import Case, dot


def lbfgs(o, x):
    """Nocedal & Wright 2006, algorithms 7.4 and 7.5, with the line search of algorithm 3.1, of 3.5 and 3.6, or none."""
    pairs, last = [], None
    while True:
        told = yield x
        g = told.g
        gamma = min(1, 1 / dot(g, g) ** 0.5)
        if last is not None:
            s, y = ([a - b for a, b in zip(new, old)] for new, old in zip((x, g), last))
            pairs = [*pairs, (s, y)][-o.memory :]
            if dot(s, y) > 0 or o.keep_all:
                gamma = dot(s, y) / dot(y, y)
        usable = [(s, y) for s, y in pairs if dot(s, y) > 0 or o.keep_all]
        q, alphas = g, []
        for s, y in reversed(usable):
            alphas.append(dot(s, q) / dot(y, s))
            q = [a - alphas[-1] * b for a, b in zip(q, y)]
        r = [gamma * a for a in q]
        for (s, y), alpha in zip(usable, reversed(alphas)):
            beta = dot(y, r) / dot(y, s)
            r = [a + (alpha - beta) * b for a, b in zip(r, s)]
        d = [-a for a in r]
        last = x, g
        x = _moved(x, _length(o, told, x, d), d)


def _moved(x, a, d):
    return [p + a * q for p, q in zip(x, d)]


def _length(o, told, x, d):
    def phi(a):
        value, g = told.objective(_moved(x, a, d))
        return value, dot(g, d)

    slope, a = dot(told.g, d), o.lr
    if o.search == "backtracking":
        for _ in range(o.trials):
            if phi(a)[0] <= told.value + o.c1 * a * slope:
                break
            a = o.shrink * a
    elif o.search == "wolfe":
        a0, f0, s0 = 0.0, told.value, slope
        for i in range(o.trials + 1):  # algorithm 3.5
            f, s = phi(a)
            if f > told.value + o.c1 * a * slope or (i > 0 and f >= f0):
                return _zoom(o, told.value, slope, phi, (a0, f0, s0), (a, f, s), o.trials - i)
            if abs(s) <= -o.c2 * slope:
                return a
            if s >= 0:
                return _zoom(o, told.value, slope, phi, (a, f, s), (a0, f0, s0), o.trials - i)
            a0, f0, s0, a = a, f, s, 2 * a
        return a0
    return a


def _zoom(o, value, slope, phi, low, high, left):
    """Algorithm 3.6, with the cubic of equation 3.59."""
    for _ in range(left):
        (al, fl, sl), (ah, fh, sh) = low, high
        d1 = sl + sh - 3 * (fl - fh) / (al - ah)
        a, square = None, d1**2 - sl * sh
        if square >= 0:
            d2 = np.sign(ah - al) * square**0.5
            a = ah - (ah - al) * (sh + d2 - d1) / (sh - sl + 2 * d2)
        if a is None or not 0.1 <= (a - al) / (ah - al) <= 0.9:
            a = (al + ah) / 2
        f, s = phi(a)
        if f > value + o.c1 * a * slope or f >= fl:
            high = a, f, s
            continue
        if abs(s) <= -o.c2 * slope:
            return a
        if s * (ah - al) >= 0:
            high = low
        low = a, f, s
    return low[0]


CASES = [
    Case("lbfgs", optim.LBFGS(), lbfgs, shape="tree", forced=False, steps=30, smooth=None, idle=("c1", "shrink"), rates=(1.0, 1.0)),
    Case(
        "lbfgs-plain",
        optim.LBFGS(0.3, memory=3, search=None),
        lbfgs,
        shape="tree",
        forced=False,
        idle=("c1", "c2", "shrink"),
        rates=(1.0, 0.3),
    ),
    Case(
        "lbfgs-strict",
        optim.LBFGS(3.0, 0.1, 0.1, memory=3, trials=7),
        lbfgs,
        shape="tree",
        forced=False,
        steps=30,
        smooth=None,
        idle=("c1", "c2", "shrink"),
        rates=(1.0, 1.0),
    ),
    Case(
        "lbfgs-armijo",
        optim.LBFGS(2.0, 0.1, shrink=0.3, memory=5, search="backtracking", trials=9),
        lbfgs,
        shape="tree",
        forced=False,
        steps=60,
        idle=("c1", "c2"),
        rates=(1.0, 1.0),
    ),
    Case("lbfgs-optax", optim.LBFGS(0.1, search=None, keep_all=True), shape="tree", idle=("c1", "c2", "shrink"), rates=(1.0, 0.1)),
    Case(
        "lbfgs-optax-armijo",
        optim.LBFGS(2.0, 0.1, shrink=0.3, memory=3, search="backtracking", keep_all=True),
        shape="tree",
        forced=False,
        steps=10,
        idle=("c1", "c2"),
        rates=(1.0, 1.0),
    ),
]
