"""Muon, SOAP, Shampoo, PSGD and Sophia: rules that see a kernel as a matrix, or the curvature."""

import dataclasses

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
]
