"""Rules that treat an array as a whole: by its norm, or by what its rows and columns have in common."""

import itertools

import numpy as np

from fdl import optim
from fdl.testing._cases import Case, leafwise


def lars(o, p):
    """You, Gitman & Ginsburg 2017, algorithm 1."""
    v = 0 * p
    while True:
        g = (yield p).g
        size, slope = np.linalg.norm(p), np.linalg.norm(g)
        local = o.trust * size / (slope + o.weight_decay * size + o.eps) if size > 0 and slope > 0 else 1
        push = o.lr * local * (g + o.weight_decay * p)
        v = o.momentum * v + push
        p = p - (push + o.momentum * v if o.nesterov else v)


def sm3(o, p):
    """Anil et al. 2019, algorithm SM3-II over the slices along each axis, entry by entry, with momentum."""
    cover = [{} for _ in p.shape] or [{}]
    m = 0 * p
    while True:
        g = (yield p).g
        nu, largest = np.zeros(p.shape), [{} for _ in cover]
        for i in itertools.product(*map(range, p.shape)):
            at = i or (0,)
            nu[i] = min(mu.get(k, 0) for mu, k in zip(cover, at)) + g[i] ** 2
            for new, k in zip(largest, at):
                new[k] = max(new.get(k, 0), nu[i])
        cover = largest
        m = o.momentum * m + (1 - o.momentum) * np.divide(g, np.sqrt(nu + o.eps), out=np.zeros(p.shape), where=nu > 0)
        p = p - o.lr * m


def _largest_axes(x, least):
    """The second largest and the largest axis, of equally long ones the last."""
    order = sorted(range(x.ndim), key=lambda axis: x.shape[axis])[-2:]
    return order if x.ndim > 1 and x.shape[order[0]] >= least else None


class _Squares:
    """A running mean of squares, factored or whole."""

    def __init__(self, like, least):
        self.axes = _largest_axes(like, least)
        self.means = [0 * like.mean(axis, keepdims=True) for axis in reversed(self.axes)] if self.axes else [0 * like]

    def add(self, decay, square):
        new = [square.mean(axis, keepdims=True) for axis in reversed(self.axes)] if self.axes else [square]
        self.means = [decay * old + (1 - decay) * x for old, x in zip(self.means, new)]
        if not self.axes:
            return self.means[0]
        rows, columns = self.means
        return rows * columns / rows.mean(self.axes[0], keepdims=True)


def _rms(x):
    return np.sqrt(np.mean(x**2))


def adafactor(o, p):
    """Shazeer & Stern 2018, algorithms 4 and 5 with the relative steps of section 8."""
    squares, t = _Squares(p, int(o.factored_from)), 0
    while True:
        g = (yield p).g
        t += 1
        u = g / np.sqrt(squares.add(1 - t**-o.decay_power, g**2 + o.eps))
        rho = min(o.lr, 1 / np.sqrt(t)) if o.relative_step else o.lr
        p = p - o.lr * o.weight_decay * p - rho * max(o.min_scale, _rms(p)) * u / max(1, _rms(u) / o.clip)


def came(o, p):
    """Luo et al. 2023, algorithm 2; vectors without confidence."""
    squares, instability, m = _Squares(p, 2), _Squares(p, 2), 0 * p
    while True:
        g = (yield p).g
        u = g / np.sqrt(squares.add(o.b2, g**2 + o.eps))
        u = u / max(1, _rms(u) / o.clip)
        m = o.b1 * m + (1 - o.b1) * u
        S = instability.add(o.b3, (u - m) ** 2 + o.eps_confidence) if squares.axes else 1
        p = p - o.lr * m / np.sqrt(S) - o.lr * o.weight_decay * p


def _adafactor(torch, params, o):
    least = (np.sqrt(o.eps), o.min_scale)  # PyTorch squares the first
    return torch.optim.Adafactor(params, lr=o.lr, beta2_decay=-o.decay_power, eps=least, d=o.clip, weight_decay=o.weight_decay)


KERNELS = {"decay_only": "kernel", "adapt_only": "kernel"}
DECAY_FLOAT32 = {"optax float64": 3e-4}  # optax raises t to a power in float32; 3e-5 measured
SMOOTH_CAME = optim.CAME(0.01, b2=0.9, b3=0.9, eps=1e-2, eps_confidence=1e-2)  # for b3 = 0.9999 differences are too coarse

CASES = [
    Case("lars", optim.LARS(0.1), leafwise(lars), shape="tree", still=False, rates=(1.0, 1.0)),
    Case("lars-short", optim.LARS(0.5, 0.5, 0.1, 0.01, 1e-3, nesterov=True), leafwise(lars), shape="tree", still=False, rates=(1.0, 0.3)),
    Case("lars-optax", optim.LARS(0.1, eps=1e-3, summed_norm=True), shape="tree", still=False, rates=(1.0, 1.0)),
    Case("lars-kernels", optim.LARS(0.1, nesterov=True, summed_norm=True, **KERNELS), shape="tree", still=False, rates=None),
    Case("lamb", optim.LAMB(0.01), shape="tree", still=False, rates=(0.003, 0.002)),
    # steps as long as the parameters: near the origin, on the way to Rosenbrock's minimum, there is no getting on
    Case("lamb-short", optim.LAMB(0.01, 0.8, 0.9, 1e-3, 0.1), shape="tree", still=False, rates=None),
    # no path of the functions to descend is called kernel
    Case("lamb-kernels", optim.LAMB(0.01, **KERNELS), shape="tree", still=False, rates=None),
    Case("novograd", optim.NovoGrad(0.01), shape="tree"),
    Case("novograd-short", optim.NovoGrad(0.01, 0.8, 0.5, 1e-3, 0.1), shape="tree", still=False),
    Case("sm3", optim.SM3(0.1), leafwise(sm3), shape="tree", rates=(0.3, 0.3)),
    Case("sm3-short", optim.SM3(0.1, 0.5, 1e-3), leafwise(sm3), shape="tree", rates=(0.3, 0.3)),
    # min_scale is for parameters near 0
    Case("adafactor", optim.Adafactor(), leafwise(adafactor), _adafactor, shape="tree", idle=("min_scale",), tolerance=DECAY_FLOAT32),
    Case(
        "adafactor-short",
        optim.Adafactor(0.01, 0.5, 0.7, 1e-6, 3.0, 0.1, relative_step=False),
        leafwise(adafactor),
        shape="tree",
        still=False,
        rates=(0.01, 0.003),
        tolerance=DECAY_FLOAT32,
    ),
    Case(
        "adafactor-whole",
        optim.Adafactor(0.1, relative_step=False, factored_from=128),
        leafwise(adafactor),
        shape="tree",
        idle=("min_scale",),
        tolerance=DECAY_FLOAT32,
    ),
    Case("came", optim.CAME(0.01), leafwise(came), shape="tree", smooth=SMOOTH_CAME),
    Case("came-short", optim.CAME(0.01, 0.8, 0.9, 0.99, 0.7, 1e-6, 1e-3, 0.1), leafwise(came), shape="tree", still=False),
]
