"""Adam's relatives, sign methods, and what else adapts each coordinate's rate."""

import numpy as np

from fdl import optim
from fdl.testing._cases import Case, Evaluated, leafwise


def nadam(o, p):
    """Dozat 2016, algorithm 2 with its schedule of the momentum: PyTorch keeps the product of momenta in float32."""
    m, v, t, product = 0 * p, 0 * p, 0, 1.0
    momentum = lambda t: o.b1 * (1 - 0.5 * 0.96 ** (t * o.momentum_decay))
    while True:
        g = (yield p).g
        t += 1
        product *= momentum(t)
        m = o.b1 * m + (1 - o.b1) * g
        v = o.b2 * v + (1 - o.b2) * g**2
        g_hat = g / (1 - product)
        m_hat = m / (1 - product * momentum(t + 1))
        m_bar = (1 - momentum(t)) * g_hat + momentum(t + 1) * m_hat
        p = p * (1 - o.lr * getattr(o, "weight_decay", 0)) - o.lr * m_bar / (np.sqrt(v / (1 - o.b2**t)) + o.eps)


def radam(o, p):
    """Liu et al. 2020, algorithm 2."""
    m, v, t = 0 * p, 0 * p, 0
    rho_inf = 2 / (1 - o.b2) - 1
    while True:
        g = (yield p).g
        t += 1
        v = o.b2 * v + (1 - o.b2) * g**2
        m = o.b1 * m + (1 - o.b1) * g
        m_hat = m / (1 - o.b1**t)
        rho = rho_inf - 2 * t * o.b2**t / (1 - o.b2**t)
        decay = o.lr * o.weight_decay * p
        if rho > o.threshold:
            r = np.sqrt((rho - 4) * (rho - 2) * rho_inf / ((rho_inf - 4) * (rho_inf - 2) * rho))
            p = p - o.lr * r * m_hat / (np.sqrt(v / (1 - o.b2**t)) + o.eps) - decay
        else:
            p = p - o.lr * m_hat - decay


def yogi(o, p):
    """Zaheer et al. 2018, algorithm 2."""
    m, v = 0 * p + o.initial_m, 0 * p + o.initial_v
    while True:
        g = (yield p).g
        m = o.b1 * m + (1 - o.b1) * g
        v = v - (1 - o.b2) * np.sign(v - g**2) * g**2
        p = p - o.lr * m / (np.sqrt(v) + o.eps)


def adabound(o, p):
    """Luo et al. 2019, algorithm 2, with bias corrections and without the decay of the theory."""
    m, v, t = 0 * p, 0 * p, 0
    while True:
        g = (yield p).g
        t += 1
        m = o.b1 * m + (1 - o.b1) * g
        v = o.b2 * v + (1 - o.b2) * g**2
        size = o.lr * np.sqrt(1 - o.b2**t) / (1 - o.b1**t)
        lower, upper = o.final_lr * (1 - 1 / (o.gamma * t + 1)), o.final_lr * (1 + 1 / (o.gamma * t))
        p = p - np.minimum(np.maximum(size / (np.sqrt(v) + o.eps), lower), upper) * m


def laprop(o, p):
    """Ziyin, Wang & Ueda 2020, algorithm 1."""
    m, n, t = 0 * p, 0 * p, 0
    while True:
        g = (yield p).g
        t += 1
        n = o.b2 * n + (1 - o.b2) * g**2
        m = o.b1 * m + (1 - o.b1) * g / (np.sqrt(n / (1 - o.b2**t)) + o.eps)
        p = p - o.lr * m / (1 - o.b1**t)


def adan(o, p):
    """Xie et al. 2022, algorithm 1 in its own betas, one minus ours, with corrected averages."""
    beta1, beta2, beta3 = 1 - o.b1, 1 - o.b2, 1 - o.b3
    m, v, n, last, t = 0 * p, 0 * p, 0 * p, None, 0
    while True:
        g = (yield p).g
        t += 1
        change = 0 * g if last is None else g - last
        m = (1 - beta1) * m + beta1 * g
        v = (1 - beta2) * v + beta2 * change
        n = (1 - beta3) * n + beta3 * (g + (1 - beta2) * change) ** 2
        eta = o.lr / (np.sqrt(n / (1 - (1 - beta3) ** t)) + o.eps)
        whole = m / (1 - (1 - beta1) ** t) + (1 - beta2) * v / (1 - (1 - beta2) ** t)
        p = (p - eta * whole) / (1 + o.weight_decay * o.lr)
        last = g


def adopt(o, p):
    """Taniguchi et al. 2024, algorithm 2, where the first gradient serves v alone."""
    m, v, t = 0 * p, (yield p).g ** 2, 0
    p = p - o.lr * o.weight_decay * p
    while True:
        g = (yield p).g
        t += 1
        scaled = g / np.maximum(np.sqrt(v), o.eps)
        m = o.b1 * m + (1 - o.b1) * (np.clip(scaled, -(t**o.clip_power), t**o.clip_power) if o.clip else scaled)
        p = p - o.lr * m - o.lr * o.weight_decay * p
        v = o.b2 * v + (1 - o.b2) * g**2


def ademamix(o, p):
    """Pagliardini, Ablin & Grangier 2024, algorithm 1, with its schedules of alpha and beta3."""
    m1, m2, nu, t = 0 * p, 0 * p, 0 * p, 0
    while True:
        g = (yield p).g
        t += 1
        alpha, b3 = o.alpha, o.b3
        if t < o.warmup:
            alpha = min(t * o.alpha / o.warmup, o.alpha)
            below = (1 - t / o.warmup) * np.log(o.b3) + t / o.warmup * np.log(o.b1)
            b3 = min(np.exp(np.log(o.b1) * np.log(o.b3) / below), o.b3)
        m1 = o.b1 * m1 + (1 - o.b1) * g
        m2 = b3 * m2 + (1 - b3) * g
        nu = o.b2 * nu + (1 - o.b2) * g**2
        p = p - o.lr * ((m1 / (1 - o.b1**t) + alpha * m2) / (np.sqrt(nu / (1 - o.b2**t)) + o.eps) + o.weight_decay * p)


def amsgrad(o, p):
    """Reddi, Kale & Kumar 2018, algorithm 2, with Adam's corrections of what it takes the maximum of."""
    m, v, v_hat, t = 0 * p, 0 * p, 0 * p, 0
    while True:
        g = (yield p).g
        t += 1
        m = o.b1 * m + (1 - o.b1) * g
        v = o.b2 * v + (1 - o.b2) * g**2
        v_hat = np.maximum(v_hat, v)
        p = p - o.lr * m / (1 - o.b1**t) / (np.sqrt(v_hat / (1 - o.b2**t)) + o.eps)


def rprop(o, p):
    """Riedmiller & Braun 1993, as Igel & Huesken 2000 write it down: Rprop+ without a look at the loss, and iRprop-."""
    delta, last, step = 0 * p + o.lr, 0 * p, 0 * p
    while True:
        g = (yield p).g
        up, down = np.sign(g) * np.sign(last) > 0, np.sign(g) * np.sign(last) < 0
        delta = np.where(up, np.minimum(delta * o.eta_plus, o.max_step), delta)
        delta = np.where(down, np.maximum(delta * o.eta_minus, o.min_step), delta)
        last = np.where(down, 0, g)
        step = np.where(down, -step if o.backtrack else 0, -np.sign(g) * delta)
        p = p + step


def asgd(o, p):
    """Polyak & Juditsky 1992 with the rate of Xu 2011: the mean of the iterates after t0, or the last one before."""
    seen, t = [], 0
    while True:
        told = yield Evaluated(p, np.mean(seen, axis=0) if seen else p)
        rate = o.lr * (1 + o.lambd * o.lr * t) ** -o.alpha
        p = p - rate * (told.g + o.lambd * p)
        t += 1
        seen = [*seen, p] if t > o.t0 + 1 else [p]


def mars(o, params):
    """Yuan et al. 2024, algorithm 2: exact, or with the gradient of the step before."""
    m, v, old, t = [0 * p for p in params], [0 * p for p in params], None, 0
    while True:
        told = yield params
        t += 1
        before = told.g if old is None else told.objective(old)[1] if o.exact else old
        c = [g + o.gamma * o.b1 / (1 - o.b1) * (g - b) for g, b in zip(told.g, before)]
        size = np.sqrt(sum(float((x**2).sum()) for x in c))
        sizes = [np.sqrt((x**2).sum()) if o.clip_each else size for x in c]
        c = [x / s if s > 1 else x for x, s in zip(c, sizes)]
        m = [o.b1 * a + (1 - o.b1) * x for a, x in zip(m, c)]
        v = [o.b2 * a + (1 - o.b2) * x**2 for a, x in zip(v, c)]
        old = params if o.exact else told.g
        steps = [a / (1 - o.b1**t) / (np.sqrt(b / (1 - o.b2**t)) + o.eps) for a, b in zip(m, v)]
        params = [p - o.lr * (s + o.weight_decay * p) for p, s in zip(params, steps)]


def _adamw(torch, params, o):
    return torch.optim.AdamW(params, lr=o.lr, betas=(o.b1, o.b2), eps=o.eps, weight_decay=o.weight_decay)


def _adamax(torch, params, o):
    return torch.optim.Adamax(params, lr=o.lr, betas=(o.b1, o.b2), eps=o.eps)


def _nadam(torch, params, o):
    decay = {"weight_decay": getattr(o, "weight_decay", 0), "decoupled_weight_decay": True}
    return torch.optim.NAdam(params, lr=o.lr, betas=(o.b1, o.b2), eps=o.eps, momentum_decay=o.momentum_decay, **decay)


def _amsgrad(torch, params, o):
    return torch.optim.Adam(params, lr=o.lr, betas=(o.b1, o.b2), eps=o.eps, amsgrad=True)


def _radam(torch, params, o):
    decay = {"weight_decay": o.weight_decay, "decoupled_weight_decay": True}
    return torch.optim.RAdam(params, lr=o.lr, betas=(o.b1, o.b2), eps=o.eps, **decay)


def _rprop(torch, params, o):
    return torch.optim.Rprop(params, lr=o.lr, etas=(o.eta_minus, o.eta_plus), step_sizes=(o.min_step, o.max_step))


def _asgd(torch, params, o):
    return torch.optim.ASGD(params, lr=o.lr, lambd=o.lambd, alpha=o.alpha, t0=o.t0 - 1)


def _rmsprop(torch, params, o):
    return torch.optim.RMSprop(params, lr=o.lr, alpha=o.decay, eps=o.eps, momentum=o.momentum or 0, centered=o.centered)


PRODUCT_FLOAT32 = {"PyTorch float64": 2e-9}  # PyTorch keeps the product of momenta in float32; 1.3e-10 measured
RATE_FLOAT32 = {"PyTorch float64": 2e-8}  # and ASGD's rate; 1.7e-9 measured
# RAdam's rho is a difference of two numbers near 2000, where optax loses digits; measured 2e-12, 2e-3, 5e-2
RHO = {"optax float64": 2e-11, "optax float32": 1e-2, "optax bfloat16": 0.1}

CASES = [
    Case("adamw", optim.AdamW(0.01), torch=_adamw, still=False),
    Case("adamw-short", optim.AdamW(0.01, 0.8, 0.9, 1e-3, 0.1), torch=_adamw, still=False),
    Case("adamw-kernels", optim.AdamW(0.01, decay_only="kernel"), shape="tree", still=False, rates=None),
    Case("adamax", optim.Adamax(0.01), torch=_adamax),
    Case("adamax-short", optim.Adamax(0.01, 0.8, 0.99, 1e-3), torch=_adamax),
    Case("nadam", optim.NAdam(0.01)),
    Case("nadam-short", optim.NAdam(0.01, 0.8, 0.9, 1e-3)),
    Case("nadam-schedule", optim.NAdam(0.01, momentum_decay=4e-3), leafwise(nadam), _nadam, tolerance=PRODUCT_FLOAT32),
    Case("nadam-schedule-short", optim.NAdam(0.01, 0.8, 0.9, 1e-3, 0.1), leafwise(nadam), _nadam, tolerance=PRODUCT_FLOAT32),
    Case("nadamw", optim.NAdamW(0.01), still=False),
    Case("nadamw-short", optim.NAdamW(0.01, 0.8, 0.9, 1e-3, weight_decay=0.1), still=False),
    Case("nadamw-schedule", optim.NAdamW(0.01, momentum_decay=4e-3), leafwise(nadam), _nadam, tolerance=PRODUCT_FLOAT32, still=False),
    Case("amsgrad", optim.AMSGrad(0.01), reference=leafwise(amsgrad), torch=_amsgrad),
    Case("amsgrad-short", optim.AMSGrad(0.01, 0.8, 0.9, 1e-3), reference=leafwise(amsgrad), torch=_amsgrad, rates=(0.03, 0.1)),
    # the largest v is the first, which correction makes g^2 whatever b2 is
    Case("amsgrad-corrected", optim.AMSGrad(0.01, corrected_maximum=True), idle=("b2",), rates=(0.03, 0.1)),
    Case("amsgrad-corrected-short", optim.AMSGrad(0.01, 0.8, 0.9, 1e-3, corrected_maximum=True), idle=("b2",), rates=(0.03, 0.1)),
    # 4 is the least threshold; the first steps are momentum's, with its rates; differences by b2 are too coarse for 1 - b2 = 0.001
    Case(
        "radam",
        optim.RAdam(0.01),
        leafwise(radam),
        smooth=optim.RAdam(0.01, b2=0.9, eps=1e-2),
        idle=("threshold",),
        rates=(0.03, 0.001),
        tolerance=RHO,
    ),
    # an eps that makes no difference, for PyTorch has it before the correction
    Case(
        "radam-torch",
        optim.RAdam(0.01, eps=1e-30, threshold=5.0, weight_decay=0.1),
        leafwise(radam),
        _radam,
        tolerance=RHO,
        still=False,
        rates=(0.03, 0.001),
        smooth=optim.RAdam(0.01, b2=0.9, eps=1e-2, threshold=5.0, weight_decay=0.1),
    ),
    Case("radam-short", optim.RAdam(0.01, 0.8, 0.9, 1e-3, 6.0, 0.1), reference=leafwise(radam), still=False, rates=(0.03, 0.001)),
    Case("adabelief", optim.AdaBelief(0.01)),
    Case("adabelief-short", optim.AdaBelief(0.01, 0.8, 0.9, 1e-3, 1e-6)),
    Case("yogi", optim.Yogi(0.01), reference=leafwise(yogi), smooth=optim.Yogi(0.01, b2=0.9, initial_v=1e-3)),
    # m and v start above 0
    Case("yogi-short", optim.Yogi(0.01, 0.8, 0.9, 1e-2, 1e-3, 0.1), reference=leafwise(yogi), still=False, rates=(0.03, 0.03)),
    Case(
        "yogi-optax",
        optim.Yogi(0.01, initial_m=1e-6, initial_v=1e-6, bias_correction=True),
        still=False,
        smooth=optim.Yogi(0.01, b2=0.9, initial_m=1e-6, initial_v=1e-6, bias_correction=True),
    ),
    # its end is gradient descent by final_lr, which diverges on Rosenbrock's function
    Case(
        "adabound",
        optim.AdaBound(0.01),
        reference=leafwise(adabound),
        smooth=optim.AdaBound(0.01, b2=0.9, eps=1e-2),
        idle=("final_lr",),
        rates=None,
    ),
    Case("adabound-short", optim.AdaBound(0.01, 0.8, 0.9, 1e-3, 0.01, 0.5), reference=leafwise(adabound)),
    Case("laprop", optim.LaProp(0.01), reference=leafwise(laprop)),
    Case("laprop-short", optim.LaProp(0.01, 0.8, 0.9, 1e-3), reference=leafwise(laprop)),
    Case("adan", optim.Adan(0.01), reference=leafwise(adan)),
    Case("adan-short", optim.Adan(0.01, 0.8, 0.9, 0.7, 1e-3, 0.1), reference=leafwise(adan), still=False),
    # v never comes down to eps in ten steps, nor does a gradient grow beyond what it was
    Case("adopt", optim.ADOPT(0.01), reference=leafwise(adopt), idle=("eps", "clip_power"), rates=(0.03, 0.1)),
    Case("adopt-short", optim.ADOPT(0.01, 0.8, 0.9, 1e-3, 0.5, 0.1), reference=leafwise(adopt), still=False, idle=("eps", "clip_power")),
    Case("adopt-unclipped", optim.ADOPT(0.01, clip=False), reference=leafwise(adopt), idle=("eps", "clip_power"), rates=(0.03, 0.1)),
    Case("ademamix", optim.AdEMAMix(0.01), reference=leafwise(ademamix), idle=("warmup",)),
    Case("ademamix-short", optim.AdEMAMix(0.01, 0.8, 0.9, 0.99, 2.0, 1e-3, 20.0, 0.1), reference=leafwise(ademamix), still=False),
    # signs: the toy problem's change only under long steps; in bfloat16 optax rounds a mean, and with it a sign, to 0
    Case("lion", optim.Lion(0.01), smooth=optim.Lion(0.3), rates=(0.01, 0.001), tolerance={"optax bfloat16": 1.01}),
    Case("lion-short", optim.Lion(0.01, 0.8, 0.7, 0.1), still=False, smooth=optim.Lion(0.3, 0.8, 0.7, 0.1), rates=(0.01, 0.001)),
    Case("signum", optim.Signum(0.01), smooth=optim.Signum(0.3), rates=(0.01, 0.001)),
    Case("signum-short", optim.Signum(0.01, 0.5), smooth=optim.Signum(0.3, 0.5), rates=(0.01, 0.001)),
    # gradients change their sign under long steps only
    Case("rprop", optim.Rprop(0.01), reference=leafwise(rprop), torch=_rprop, smooth=optim.Rprop(0.3), idle=("max_step",)),
    Case(
        "rprop-short",
        optim.Rprop(0.25, 0.6, 1.3, 1e-5, 0.3),
        reference=leafwise(rprop),
        torch=_rprop,
        smooth=optim.Rprop(0.2, 0.6, 1.3, 1e-3, 0.3),
    ),
    Case(
        "rprop-backtrack",
        optim.Rprop(0.05, backtrack=True),
        reference=leafwise(rprop),
        smooth=optim.Rprop(0.3, backtrack=True),
        idle=("max_step",),
    ),
    # the mean, where lambda does not move it away, is slow to come down Rosenbrock's valley
    Case("asgd", optim.ASGD(0.1), leafwise(asgd), _asgd, tolerance=RATE_FLOAT32, still=False, idle=("t0",), rates=None),
    Case(
        "asgd-late", optim.ASGD(0.1, 0.1, 0.6, 20.0), leafwise(asgd), _asgd, tolerance=RATE_FLOAT32, still=False, idle=("t0",), rates=None
    ),
    Case("rmsprop-centered", optim.RMSProp(0.01, centered=True), torch=_rmsprop),
    Case("rmsprop-momentum", optim.RMSProp(0.01, momentum=0.9), torch=_rmsprop),
    Case("rmsprop-graves", optim.RMSProp(0.01, 0.95, 1e-4, 0.9, eps_in_sqrt=True, centered=True)),
    Case("mars", optim.MARS(0.01), reference=mars, shape="tree"),
    Case("mars-short", optim.MARS(0.01, 0.8, 0.9, 1e-3, 0.1, 0.1, clip_each=True), reference=mars, shape="tree", still=False),
    Case("mars-exact", optim.MARS(0.01, exact=True), reference=mars, shape="tree", forced=False),
]
