"""Rules without a learning rate, or whose rate follows from the loss: D-adaptation, Prodigy, DoG, coin betting, Polyak, MoMo, averaging."""

import numpy as np

from fdl import optim
from fdl.testing._cases import Case, Evaluated, dot, leafwise


def _l1(a):
    return sum(np.abs(x).sum() for x in a)


def prodigy(o, x):
    """Mishchenko & Defazio 2024, algorithm 4, without optax's bias correction; eps with the new d, as the authors' package has it."""
    x0, d, r, b3 = x, o.d0, 0.0, o.b2**0.5
    m, v, s = [0 * p for p in x], [0 * p for p in x], [0 * p for p in x]
    while True:
        told = yield x
        gamma = o.lr
        m = [o.b1 * m + (1 - o.b1) * d * g for m, g in zip(m, told.g)]
        v = [o.b2 * v + (1 - o.b2) * d**2 * g**2 for v, g in zip(v, told.g)]
        r = b3 * r + (1 - b3) * gamma * d**2 * dot(told.g, [a - b for a, b in zip(x0, x)])
        s = [b3 * s + (1 - b3) * (1 if o.safeguard_warmup else gamma) * d**2 * g for s, g in zip(s, told.g)]
        new = max(d, o.d_coef * r / _l1(s))
        x = [p - gamma * d * (m / (v**0.5 + new * o.eps) + o.weight_decay * p) for p, m, v in zip(x, m, v)]
        d = new


def dadapt_sgd(o, x):
    """Defazio & Mishchenko 2023, algorithm 4."""
    z, d, total, first = x, o.d0, 0.0, None
    s = [0 * p for p in x]
    while True:
        told = yield x
        first = first or dot(told.g, told.g) ** 0.5
        rate = d * o.lr / first
        total += rate * dot(told.g, s)
        s = [s + rate * g for s, g in zip(s, told.g)]
        z = [z - rate * g for z, g in zip(z, told.g)]
        x = [o.momentum * p + (1 - o.momentum) * z for p, z in zip(x, z)]
        d = max(d, 2 * total / dot(s, s) ** 0.5)


def dadapt_adam(o, x):
    """Defazio & Mishchenko 2023, algorithm 5."""
    d, r, b3 = o.d0, 0.0, o.b2**0.5
    m, v, s = [0 * p for p in x], [0 * p for p in x], [0 * p for p in x]
    while True:
        told = yield x
        rate = d * o.lr
        m = [o.b1 * m + (1 - o.b1) * rate * g for m, g in zip(m, told.g)]
        v = [o.b2 * v + (1 - o.b2) * g**2 for v, g in zip(v, told.g)]
        A = [v**0.5 + o.eps for v in v]
        x = [p - m / a - o.weight_decay * rate * p for p, m, a in zip(x, m, A)]
        r = b3 * r + (1 - b3) * rate * dot(told.g, [s / a for s, a in zip(s, A)])
        s = [b3 * s + (1 - b3) * rate * g for s, g in zip(s, told.g)]
        d = max(d, r / ((1 - b3) * _l1(s)))


@leafwise
def layerwise_dog(o, x):
    """Ivgi, Hinder & Carmon 2023, L-DoG: equation 1 for every array alone."""
    x0, r, G = x, o.initial * (1 + np.sqrt(np.sum(x**2))), 0.0
    while True:
        told = yield x
        r, G = max(r, np.sqrt(np.sum((x - x0) ** 2))), G + np.sum(told.g**2)
        x = x - o.lr * r / np.sqrt(G + o.eps) * told.g


def momo(o, x):
    """Schaipp et al. 2024, algorithm 1 and equation 17: the decay shrinks the step, too."""
    d = None
    while True:
        told = yield x
        if d is None:
            d, f, gamma = told.g, told.value, dot(told.g, x)
        else:
            d = [o.momentum * d + (1 - o.momentum) * g for d, g in zip(d, told.g)]
            f = o.momentum * f + (1 - o.momentum) * told.value
            gamma = o.momentum * gamma + (1 - o.momentum) * dot(told.g, x)
        shrink = 1 + o.lr * o.weight_decay
        tau = min(o.lr, max(shrink * (f - o.f_min - gamma) + dot(d, x), 0) / dot(d, d))
        x = [(p - tau * d) / shrink for p, d in zip(x, d)]


def momo_adam(o, x):
    """Schaipp et al. 2024, algorithm 2."""
    d, v, f, gamma, t = [0 * p for p in x], [0 * p for p in x], 0.0, 0.0, 0
    while True:
        told = yield x
        t += 1
        d = [o.b1 * d + (1 - o.b1) * g for d, g in zip(d, told.g)]
        v = [o.b2 * v + (1 - o.b2) * g**2 for v, g in zip(v, told.g)]
        D = [o.eps + (v / (1 - o.b2**t)) ** 0.5 for v in v]
        f = o.b1 * f + (1 - o.b1) * told.value
        gamma = o.b1 * gamma + (1 - o.b1) * dot(told.g, x)
        rho, shrink = 1 - o.b1**t, 1 + o.lr * o.weight_decay
        top = max(shrink * (f - rho * o.f_min - gamma) + dot(d, x), 0)
        tau = min(o.lr / rho, top / dot(d, [d / D for d, D in zip(d, D)]))
        x = [(p - tau * d / D) / shrink for p, d, D in zip(x, d, D)]


@leafwise
def schedule_free_sgd(o, x):
    """Defazio et al. 2024, equations 2 to 4; weights by the rate's power, equation 23."""
    z, t, total = x, 0, 0.0
    y = x
    while True:
        told = yield Evaluated(y, x)
        t += 1
        rate = o.lr * min(1, t / max(o.warmup, 1))
        total += rate**o.power
        z = z - rate * (told.g + o.weight_decay * y)
        c = rate**o.power / total
        x = (1 - c) * x + c * z
        y = (1 - o.b1) * z + o.b1 * x


@leafwise
def schedule_free_adamw(o, x):
    """Defazio et al. 2024, algorithm 1."""
    z, v, t, total = x, 0 * x, 0, 0.0
    while True:
        y = (1 - o.b1) * z + o.b1 * x
        told = yield Evaluated(y, x)
        t += 1
        v = o.b2 * v + (1 - o.b2) * told.g**2
        rate = o.lr * (1 - o.b2**t) ** 0.5 * min(1, t / max(o.warmup, 1))
        z = z - rate * told.g / (v**0.5 + o.eps) - rate * o.weight_decay * y
        total += rate**o.power
        c = rate**o.power / total
        x = (1 - c) * x + c * z


def mechanic(o, x):
    """Cutkosky, Defazio & Mehta 2023, algorithm 1, around SGD: its updates are summed, h is clipped as in the authors' code."""
    start, betas, n = x, np.array(o.betas), len(o.betas)
    m, v, r, s = 0 * betas, 0 * betas, 0 * betas, 0 * betas + o.s0
    delta = [0 * p for p in x]
    while True:
        g = (yield x).g
        share = o.weight_decay * s.sum() * dot(g, g) ** 0.5 / (dot(x, x) ** 0.5 + o.eps)
        delta = [(p - q) / (s.sum() + o.eps) for p, q in zip(x, start)]
        h = -dot([g + share * p for g, p in zip(g, x)], delta)
        clipped = np.clip(h, -m, m)
        m = np.maximum(betas * m, abs(h) + o.eps)
        v = betas**2 * v + h**2
        r = betas * r + s * clipped
        s = (o.s0 / n * m + np.maximum(r, 0)) / (v**0.5 + o.eps)
        x = [p + s.sum() * (d - o.inner.lr * g) for p, d, g in zip(start, delta, g)]


# At lr = 1 the estimate of the distance, once grown, makes chaos of two hundred steps without a schedule (steps=20): rounding
# grows from 1e-16 to 1 within a hundred. The same rules at a smaller lr are compared over all of them.

_GROWING = {"float64": 1e-12, "bfloat16": 0.3}
"""The estimate grows a thousandfold from one step to the next, by differences of points and of sums: rounding grows along."""

_INNER_PRODUCTS = {"float32": 5e-4, "bfloat16": 1.0}
"""Differences of inner products with the parameters: with parameters of 8 bits as large as what is left."""

_COARSE = {"bfloat16": 0.5}
"""A step is a difference of points, known to 8 bits of the larger."""

CASES = [
    Case("prodigy", optim.Prodigy(), prodigy, shape="tree", steps=20, smooth=optim.Prodigy(b2=0.9, eps=0.01), rates=(1.0, 1.0)),
    Case(
        "prodigy-decay",
        optim.Prodigy(0.3, 0.8, 0.98, 1e-3, 0.1, 1e-3, 4.0, safeguard_warmup=True),
        prodigy,
        shape="tree",
        tolerance=_GROWING,
        still=False,
        rates=(0.3, 0.1),
    ),
    Case(
        "prodigy-optax",
        optim.Prodigy(weight_decay=0.01, bias_correction=True),
        shape="tree",
        smooth=optim.Prodigy(b2=0.9, eps=0.01, weight_decay=0.01, bias_correction=True),
        still=False,
        rates=(1.0, 1.0),
    ),
    Case(
        "prodigy-optax-safeguard",
        optim.Prodigy(0.3, 0.8, 0.98, 1e-3, 0.0, 1e-3, 12.0, bias_correction=True, safeguard_warmup=True),
        shape="tree",
        tolerance=_GROWING,
        rates=(0.3, 0.03),
    ),
    Case("d-adapt-sgd", optim.DAdaptSGD(), dadapt_sgd, shape="tree", steps=20, smooth=optim.DAdaptSGD(d0=0.01), rates=(1.0, 1.0)),
    Case("d-adapt-sgd-plain", optim.DAdaptSGD(0.03, 0.0, 0.1), dadapt_sgd, shape="tree", tolerance=_COARSE, rates=(0.3, 0.1)),
    Case(
        "d-adapt-adam",
        optim.DAdaptAdam(),
        dadapt_adam,
        shape="tree",
        steps=20,
        smooth=optim.DAdaptAdam(b2=0.9, eps=0.01),
        rates=(1.0, 0.1),
    ),
    Case(
        "d-adapt-adam-decay",
        optim.DAdaptAdam(0.1, 0.8, 0.95, 1e-3, 0.1, 0.1),
        dadapt_adam,
        shape="tree",
        still=False,
        rates=(0.3, 0.1),
    ),
    Case("d-adapt-adam-optax", optim.DAdaptAdam(0.1, 0.8, 0.9, 1e-3, 0.1, 0.1, as_optax=True), shape="tree", still=False, rates=(0.3, 0.1)),
    Case("dog", optim.DoG(), shape="tree", tolerance=_GROWING, rates=(1.0, 1.0)),
    Case("dog-far", optim.DoG(0.5, 0.1, 1e-3), shape="tree", rates=(1.0, 1.0)),
    Case("dog-per-layer", optim.DoG(0.5, 0.1, per_layer=True), layerwise_dog, shape="tree", rates=(1.0, 1.0)),
    Case("dowg", optim.DoWG(), shape="tree", rates=(1.0, 1.0)),
    Case("dowg-far", optim.DoWG(0.5, 0.1, 1e-3), shape="tree", rates=(1.0, 1.0)),
    Case("cocob", optim.COCOB(), idle=("eps",), rates=(1.0, 1.0)),  # eps is where a coordinate's first gradient is even smaller
    Case("cocob-bold", optim.COCOB(10.0, 1e-3), idle=("eps",), rates=(1.0, 1.0)),
    Case("polyak", optim.Polyak(), shape="tree", rates=(1.0, 1.0)),
    Case("polyak-sps", optim.Polyak(0.3, 0.1, 1.0, 0.01, positive=False), shape="tree", rates=None),  # f_min is above the minimum
    Case("momo", optim.MoMo(), momo, shape="tree", tolerance=_INNER_PRODUCTS, idle=("lr",), rates=(1.0, 1.0)),  # below its cap
    Case("momo-decay", optim.MoMo(0.3, 0.7, 0.1, 0.1), momo, shape="tree", tolerance=_INNER_PRODUCTS, still=False, rates=None),
    Case("momo-optax", optim.MoMo(0.3, 0.7, 0.1, 0.1, decay_apart=True), shape="tree", tolerance=_INNER_PRODUCTS, still=False, rates=None),
    Case(
        "momo-adapt",
        optim.MoMo(0.05, 0.7, 0.1, adapt=True, decay_apart=True),
        shape="tree",
        tolerance=_INNER_PRODUCTS,
        idle=("f_min",),
        rates=None,
    ),
    Case("momo-adam", optim.MoMoAdam(), momo_adam, shape="tree", tolerance=_INNER_PRODUCTS, idle=("f_min",), rates=(1.0, 0.1)),
    Case(
        "momo-adam-decay",
        optim.MoMoAdam(0.3, 0.7, 0.9, 1e-3, 0.1, 0.1),
        momo_adam,
        shape="tree",
        tolerance=_INNER_PRODUCTS,
        still=False,
        rates=None,
    ),
    Case(
        "momo-adam-optax",
        optim.MoMoAdam(0.3, 0.7, 0.9, 1e-3, 0.1, 0.1, decay_apart=True),
        shape="tree",
        tolerance=_INNER_PRODUCTS,
        still=False,
        rates=None,
    ),
    Case(
        "momo-adam-adapt",
        optim.MoMoAdam(0.01, 0.7, 0.9, 1e-3, 0.1, adapt=True, decay_apart=True),
        shape="tree",
        tolerance=_INNER_PRODUCTS,
        idle=("f_min",),
        rates=None,
    ),
    Case(
        "schedule-free-sgd",
        optim.ScheduleFreeSGD(0.1),
        schedule_free_sgd,
        shape="tree",
        tolerance=_COARSE,
        idle=("warmup",),
        rates=(0.1, 0.001),
    ),
    Case(
        "schedule-free-sgd-warm",
        optim.ScheduleFreeSGD(0.1, 0.8, 5.5, 1.5, 0.1),
        schedule_free_sgd,
        shape="tree",
        tolerance=_COARSE,
        still=False,
        rates=(0.1, 0.001),
    ),
    Case(
        "schedule-free-adamw",
        optim.ScheduleFreeAdamW(0.01),
        schedule_free_adamw,
        tolerance=_COARSE,
        smooth=optim.ScheduleFreeAdamW(0.01, b2=0.9, eps=0.01),
        idle=("warmup",),
        rates=(0.1, 0.01),
    ),
    Case(
        "schedule-free-adamw-warm",
        optim.ScheduleFreeAdamW(0.01, 0.8, 0.9, 1e-3, 5.5, 1.5, 0.1),
        schedule_free_adamw,
        tolerance=_COARSE,
        still=False,
        rates=(0.1, 0.01),
    ),
    Case(
        "schedule-free-adamw-optax",
        optim.ScheduleFreeAdamW(0.01, 0.8, 0.9, 1e-3, weight_decay=0.1, as_optax=True),
        tolerance={"bfloat16": 1.0},  # optax keeps both points in 8 bits
        idle=("warmup",),
        still=False,
        rates=(0.1, 0.01),
    ),
    # Without a falling rate it comes to a thousandth of the first loss or so, whatever the inner rate, and no nearer: rates=None.
    Case(
        "mechanic",
        optim.Mechanic(optim.SGD(0.1)),
        mechanic,
        shape="tree",
        steps=20,
        smooth=optim.Mechanic(optim.SGD(0.1), eps=0.01, s0=0.01, betas=(0.8, 0.95)),
        rates=None,
    ),
    Case(
        "mechanic-few",
        optim.Mechanic(optim.SGD(0.1), 0.1, 1e-3, 1e-2, (0.8, 0.95)),
        mechanic,
        shape="tree",
        tolerance=_COARSE,
        steps=20,
        rates=None,
    ),
    Case("mechanic-adam", optim.Mechanic(optim.Adam(1.0), s0=1e-3), shape="tree", tolerance=_COARSE, steps=20, rates=None),
]
