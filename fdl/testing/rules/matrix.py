"""Muon, SOAP, Shampoo, PSGD and Sophia: rules that see a kernel as a matrix, or the curvature."""

import dataclasses

import jax
import numpy as np

from fdl import optim
from fdl.testing._cases import Case, leafwise


def muon(o, params):
    """Jordan et al. 2024; Liu et al. 2025, equation 4: matrices by Newton-Schulz, vectors and scalars by AdamW."""
    adam = [p.ndim < 2 for p in params]
    m, v, t = [0 * p for p in params], [0 * p for p in params], 0
    while True:
        told = yield params
        t += 1
        new = []
        for i, (p, g) in enumerate(zip(params, told.g)):
            b1 = o.adam_b1 if adam[i] else o.momentum
            m[i] = b1 * m[i] + (1 - b1) * g
            if adam[i]:
                v[i] = o.adam_b2 * v[i] + (1 - o.adam_b2) * g**2
                p = p * (1 - o.adam_lr * o.adam_weight_decay)
                new.append(p - o.adam_lr * (m[i] / (1 - b1**t)) / ((v[i] / (1 - o.adam_b2**t)) ** 0.5 + o.adam_eps))
                continue
            u = (b1 * m[i] + (1 - b1) * g if o.nesterov else m[i]).reshape(-1, p.shape[-1]).T  # outputs x inputs, as in the paper
            X = u / (np.linalg.norm(u) + o.eps)
            a, b, c = o.coefficients
            for _ in range(o.iterations):
                A = X @ X.T
                X = a * X + (b * A + c * A @ A) @ X
            rows, columns = u.shape
            scale = o.rms * max(rows, columns) ** 0.5 if o.match_rms else max(1, rows / columns) ** 0.5
            new.append(p * (1 - o.lr * o.weight_decay) - o.lr * scale * X.T.reshape(p.shape))
        params = new


def _along(x, i, matrix):
    """The matrix times every slice along an axis."""
    return np.moveaxis(np.tensordot(matrix, x, (1, i)), 0, i)


def _gram(g, i):
    flat = np.moveaxis(g, i, 0).reshape(g.shape[i], -1)
    return flat @ flat.T


@leafwise
def shampoo(o, p):
    """Gupta, Koren & Singer 2018, algorithm 2: the factors begin at eps I, the exponent is -1/(2k) for p = 1/2."""
    shape, p = p.shape, p.reshape(p.shape or (1,))
    seen = [i for i in range(p.ndim) if p.shape[i] <= o.largest]
    H, b, squares, t = [np.zeros((n, n)) for n in p.shape], 0 * p, 0 * p, 0
    roots = [None] * p.ndim
    while True:
        g = (yield p.reshape(shape)).g.reshape(p.shape)
        u = g
        for i in seen:
            H[i] = o.b2 * H[i] + (1 - o.b2) * _gram(g, i) if o.average else H[i] + _gram(g, i)
            if t % round(o.every) == 0:
                values, V = np.linalg.eigh(H[i] + o.eps * np.eye(len(H[i])))
                roots[i] = V @ np.diag(values ** (-o.power / len(seen))) @ V.T
            u = _along(u, i, roots[i])
        t += 1
        squares = squares + g**2
        if o.graft:
            u = u / np.linalg.norm(u) * np.linalg.norm(g if o.graft == "sgd" else g / np.where(squares > 0, squares, 1) ** 0.5)
        b = o.momentum * b + u
        p = p - o.lr * b


@leafwise
def soap(o, p):
    """Vyas et al. 2024, algorithms 3 and 4; the first gradient makes the bases."""
    sides = [i for i in range(p.ndim) if p.ndim > 1 and p.shape[i] <= o.largest]
    m, v, t, H, Q = 0 * p, 0 * p, 0, {}, {}

    def rotated(x, back=False):
        for i in sides:
            x = _along(x, i, Q[i] if back else Q[i].T)
        return x

    while True:
        g = (yield p).g
        decayed = p - o.lr * o.weight_decay * p
        if t == 0:
            H = {i: _gram(g, i) for i in sides}
            Q = {i: np.linalg.eigh(H[i])[1][:, ::-1] for i in sides}
            p = decayed
        else:
            m = o.b1 * m + (1 - o.b1) * g
            v = o.b2 * v + (1 - o.b2) * rotated(g) ** 2
            N = rotated(m / (1 - o.b1**t)) / ((v / (1 - o.b2**t)) ** 0.5 + o.eps)
            p = decayed - o.lr * rotated(N, back=True)
            H = {i: o.b2 * H[i] + (1 - o.b2) * _gram(g, i) for i in sides}
            if t % round(o.every) == 0:
                Q = {i: np.linalg.qr(H[i] @ Q[i])[0] for i in sides}
        t += 1


def sophia(o, x):
    """Liu et al. 2024, algorithm 3; the Hessian by differences of gradients along the draws that fdl makes."""
    m, h, t = [0 * p for p in x], [0 * p for p in x], 0
    while True:
        told = yield x
        m = [o.b1 * m + (1 - o.b1) * g for m, g in zip(m, told.g)]
        if t % round(o.every) == 0:
            keys = jax.random.split(jax.random.fold_in(jax.random.key(o.seed), t // round(o.every)), len(x))
            draw = jax.random.rademacher if o.signs else jax.random.normal
            u = [np.asarray(draw(key, p.shape, "float32"), np.float64) for key, p in zip(keys, x)]
            ahead, behind = (told.objective([p + s * 1e-3 * u for p, u in zip(x, u)])[1] for s in (1, -1))
            h = [o.b2 * h + (1 - o.b2) * u * (a - b) / 2e-3 for h, u, a, b in zip(h, u, ahead, behind)]
        t += 1
        step = [np.clip(m / np.maximum(o.gamma * h, o.eps), -1, 1) for m, h in zip(m, h)]
        x = [p - o.lr * o.weight_decay * p - o.lr * s for p, s in zip(x, step)]


def _drawn(o, t, params):
    """The random numbers of a step: those that fdl draws, for a comparison of everything else."""
    key = jax.random.fold_in(jax.random.key(int(o.seed)), t)
    return [np.asarray(jax.random.normal(k, p.shape), np.float64) for k, p in zip(jax.random.split(key, len(params)), params)]


def psgd(o, params):
    """Li 2018 with the pairs of Pooladzandi & Li 2024; diagonal factors as matrices of which only the diagonal is used."""
    m, t = [0 * p for p in params], 0
    shapes = [(p.size // p.shape[-1], p.shape[-1]) if p.ndim > 1 else (1, p.size) for p in params]
    triangular = [[p.ndim > 1 and 1 < n <= o.max_size for n in shape] for p, shape in zip(params, shapes)]
    Q = [[np.eye(n) for n in shape] for shape in shapes]
    while True:
        told = yield params
        t += 1
        V, new = _drawn(o, t, params), []
        for i, (p, g) in enumerate(zip(params, told.g)):
            m[i] = o.momentum * m[i] + (1 - o.momentum) * g
            G, (L, R) = (m[i] / (1 - o.momentum**t)).reshape(shapes[i]), Q[i]
            rho = (np.diag(L).max() / np.diag(R).max()) ** 0.5
            L, R = L / rho, rho * R
            noise = V[i].reshape(shapes[i])
            A, B = L @ (G + o.damping * noise) @ R.T, np.linalg.inv(L).T @ noise @ np.linalg.inv(R)
            for side, (q, slope) in enumerate(((L, A @ A.T - B @ B.T), (R, A.T @ A - B.T @ B))):
                slope = np.triu(slope) if triangular[i][side] else np.diag(np.diag(slope))
                Q[i][side] = q - o.preconditioner_lr * slope / abs(slope).max() @ q
            L, R = Q[i]
            W = L.T @ L @ G @ R.T @ R
            W = W * min(1, o.clip / ((W**2).mean() ** 0.5 or 1))
            new.append(p - o.lr * W.reshape(p.shape) - o.lr * o.weight_decay * p)
        params = new


_HEAVY = optim.Muon(0.05, 0.8, 1e-3, 0.1, 0.3, (3.0, -3.2, 1.2), 0.01, 0.7, 0.8, 1e-3, 0.1, match_rms=True, nesterov=False, iterations=3)

_EIGHT_BITS = {"optax bfloat16": 0.5}
"""optax iterates in the parameters' dtype: after five iterations in bfloat16 small singular values are another ones."""

CASES = [
    Case("muon", optim.Muon(), reference=muon, shape="tree", idle=("rms",), rates=(0.003, 0.0003)),
    Case("muon-heavy", _HEAVY, reference=muon, shape="tree", still=False, rates=(0.005, 0.001)),
    Case("muon-optax", optim.Muon(as_optax=True), shape="tree", tolerance=_EIGHT_BITS, idle=("rms", "adam_eps"), rates=(0.003, 0.0003)),
    Case(
        "muon-optax-heavy",
        dataclasses.replace(_HEAVY, as_optax=True),
        shape="tree",
        tolerance=_EIGHT_BITS,
        idle=("adam_eps",),
        still=False,
        rates=(0.005, 0.001),
    ),
    # A vector's factor has eigenvalues as far apart as its gradients' squares, some below rounding: with given gradients of every
    # size it is left out.
    Case("shampoo", optim.Shampoo(), shampoo, shape="tree", forced=False, idle=("b2", "every"), rates=(0.3, 0.3)),
    Case(
        "shampoo-norm",
        optim.Shampoo(0.1, 0.5, 0.9, 1e-2, 0.7, 2.0, graft="sgd"),
        shampoo,
        shape="tree",
        forced=False,
        idle=("b2",),
        rates=(0.03, 0.001),
    ),
    Case("shampoo-short", optim.Shampoo(0.1, eps=1e-2, largest=5), shampoo, shape="tree", idle=("b2", "every"), rates=(0.3, 0.3)),
    Case(
        "shampoo-rare",
        optim.Shampoo(0.1, 0.8, 0.9, 1e-2, 1.0, 3.0, average=True, graft="adagrad", largest=5),
        shampoo,
        shape="tree",
        rates=(0.1, 0.01),
    ),
    # A dense kernel's gradient, wider than tall, leaves the first basis of its long axis open: there the short axis alone has one.
    Case("soap", optim.SOAP(0.01, largest=5), soap, shape="tree", smooth=None, still=False),
    Case("soap-often", optim.SOAP(0.01, 0.8, 0.9, 1e-3, 0.0, 2.0, largest=5), soap, shape="tree", smooth=None),
    Case(
        "sophia",
        optim.Sophia(0.01),
        sophia,
        shape="tree",
        forced=False,
        smooth=None,
        idle=("b1", "gamma", "every"),
        still=False,
        rates=(0.01, 0.01),
    ),
    Case(
        "sophia-signs",
        optim.Sophia(0.01, 0.8, 0.9, 1e-3, 2.0, 0.0, 3.0, signs=True),
        sophia,
        shape="tree",
        tolerance={"float64": 1e-6},  # the reference's Hessian is a difference
        forced=False,
        smooth=None,
        idle=("eps",),
        rates=(0.01, 0.1),
    ),
    Case(
        "sophia-optax",
        optim.Sophia(0.01, 0.8, 0.9, 1e-3, 2.0, 0.1, 3.0, as_optax=True),
        shape="tree",
        forced=False,
        smooth=None,
        idle=("eps",),
        still=False,
        rates=(0.01, 0.1),
    ),
    Case("psgd", optim.PSGD(seed=0.0), reference=psgd, shape="tree", idle=("seed",), rates=(0.01, 0.001)),
    Case(
        "psgd-short",
        optim.PSGD(0.01, 0.5, 0.03, 0.1, 1e-3, 0.5, 5.0, max_size=4),
        reference=psgd,
        shape="tree",
        still=False,
        rates=(0.01, 0.001),
    ),
]
