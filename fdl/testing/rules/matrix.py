"""Muon, SOAP, Shampoo, PSGD and Sophia: rules that see a kernel as a matrix, or the curvature."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from fdl import optim
from fdl.testing._cases import Case


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


_HEAVY = optim.Muon(0.05, 0.8, 1e-3, 0.1, 0.3, (3.0, -3.2, 1.2), 0.01, 0.7, 0.8, 1e-3, 0.1, match_rms=True, nesterov=False, iterations=3)

_EIGHT_BITS = {"optax bfloat16": 0.5}
"""optax iterates in the parameters' dtype: after five iterations in bfloat16 small singular values are another ones."""


def _drawn(o, t, params):
    """The random numbers of a step: those that fdl draws, for a comparison of everything else."""
    key = jax.random.fold_in(jax.random.key(int(o.seed)), t)
    return [np.asarray(jax.random.normal(k, p.shape, jnp.float64)) for k, p in zip(jax.random.split(key, len(params)), params)]


def sophia(o, params):
    """Liu et al. 2024, algorithm 3 with algorithm 1; the Hessian's product by central differences of the gradient."""
    m, h, t = [0 * p for p in params], [0 * p for p in params], 0
    while True:
        told = yield params
        t += 1
        m = [o.b1 * m + (1 - o.b1) * g for m, g in zip(m, told.g)]
        if t % o.every == 1 or o.every == 1:
            u, small = _drawn(o, t, params), 1e-5
            ahead, behind = (told.objective([p + s * small * v for p, v in zip(params, u)])[1] for s in (1, -1))
            estimate = [v * (a - b) / (2 * small) for v, a, b in zip(u, ahead, behind)]
            h = [o.b2 * h + (1 - o.b2) * e for h, e in zip(h, estimate)]
        params = [p - o.lr * o.weight_decay * p for p in params]
        params = [p - o.lr * np.clip(m / np.maximum(o.gamma * h, o.eps), -1, 1) for p, m, h in zip(params, m, h)]


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


_DIFFERENCES = {"NumPy float64": 1e-6}
"""The reference's Hessian-vector products are differences of gradients, good to ten digits."""

CASES = [
    Case(
        "sophia",
        optim.Sophia(0.01),
        reference=sophia,
        shape="tree",
        forced=False,
        tolerance=_DIFFERENCES,
        idle=("eps", "seed"),
        smooth=optim.Sophia(0.01, 0.8, 0.3, 10.0, 1e-3, 0.1, every=1),
        rates=(0.001, 0.0002),
    ),
    Case(
        "sophia-often",
        optim.Sophia(0.03, 0.8, 0.9, 0.5, 1e-3, 0.1, 7.0, every=3),
        reference=sophia,
        shape="tree",
        forced=False,
        tolerance=_DIFFERENCES,
        still=False,
        rates=(0.001, 0.003),
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
]
