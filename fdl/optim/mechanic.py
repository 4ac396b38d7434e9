from typing import Any

import jax
import jax.numpy as jnp

from fdl.optim._base import Hyperparameter, call_update, needed, optimizer
from fdl.optim._optax import fill_ours, fill_theirs, fit, in_optax
from fdl.optim._rule import _all, _as, _common, safe_sqrt
from fdl.optim._tree import copied, dot, minus, norm
from fdl.optim._wrapper import Wrapper


@optimizer
class Mechanic(Wrapper):
    r"""Learns how large the inner optimizer's steps shall be: the start, plus a learned scale times the sum of its updates.

    $$\Delta_t = \frac{\theta_{t-1} - \theta_0}{S_{t-1} + \epsilon}, \qquad
      h_t = -\left\langle g_t + \lambda S_{t-1} \frac{\|g_t\|}{\|\theta_{t-1}\| + \epsilon} \theta_{t-1}, \Delta_t \right\rangle, \qquad
      \theta_t = \theta_0 + S_t (\Delta_t + u_t), \quad S_t = \textstyle\sum_i s_{t,i}$$
    $$m \leftarrow \max(\beta_i m, |h_t| + \epsilon), \quad v \leftarrow \beta_i^2 v + h_t^2, \quad
      r \leftarrow \beta_i r + \mathrm{clip}(h_t, \pm m_{t-1})\, s_{t-1,i}, \quad
      s_{t,i} = \frac{s_0 m / n + \max(r, 0)}{\sqrt{v} + \epsilon}$$

    for each of $n$ decays $\beta_i$. $u_t$ is the inner update, whose rate may be a schedule around 1. Cutkosky, Defazio & Mehta
    2023, "Mechanic: a learning rate tuner", algorithm 1, with the clipping of $h$ that the authors' code has. Equals
    `optax.contrib.mechanize`, whose $s_0$ is 1e-6. $\theta_0$ is where the first step is taken. State: the
    inner one's, $\theta_0$, and $m$, $v$, $r$, $s$ for each $\beta_i$.

    Args:
        inner: any optimizer but one with steps of fixed size.
        weight_decay: $\lambda$, default 0.01.
        eps: $\epsilon$, default 1e-8.
        s0: $s_0$, default 1e-8.
        betas: $\beta_i$, default 1 - 0.1^i for i from 1 to 6.
    """

    weight_decay: Hyperparameter = 1e-2
    eps: Hyperparameter = 1e-8
    s0: Hyperparameter = 1e-8
    betas: Any = tuple(1 - 0.1**i for i in range(1, 7))

    def start(self, params):
        wide = _common(params)
        zeros = lambda: jnp.zeros(len(self.betas), wide)
        s = jnp.full(len(self.betas), self.s0).astype(wide)
        return {"start": copied(_all(params, wide)), "m": zeros(), "v": zeros(), "r": zeros(), "s": s}

    def update(self, grads, state, params=None, *, value=None, objective=None):
        params = needed(self, "params", params)
        updates, inner = call_update(self.inner, grads, state["inner"], params, value=value, objective=objective)
        wide = _common(params)
        now = self.at(state["step"])
        decay, eps, s0 = jax.lax.optimization_barrier([jnp.asarray(x).astype(wide) for x in (now.weight_decay, now.eps, now.s0)])
        betas = jax.lax.optimization_barrier(jnp.stack([jnp.asarray(b).astype(wide) for b in now.betas]))
        g, p, u = _all(grads, wide), _all(params, wide), _all(updates, wide)
        start = jax.tree.map(lambda x, p: jnp.where(state["step"] == 0, p, x), state["start"], p)
        s, total = state["s"], state["s"].sum()
        delta = jax.tree.map(lambda x: x / (total + eps), minus(p, start))
        pull = decay * total * norm(g) / (norm(p) + eps)
        h = -dot(jax.tree.map(lambda g, p: g + pull * p, g, p), delta)
        r = betas * state["r"] + jnp.clip(h, -state["m"], state["m"]) * s
        m = jnp.maximum(betas * state["m"], abs(h) + eps)
        v = betas**2 * state["v"] + h**2
        s = (s0 * m / len(self.betas) + jnp.maximum(r, 0)) / (safe_sqrt(v) + eps)
        moved = jax.tree.map(lambda x, d, u, p: x + s.sum() * (d + u) - p, start, delta, u, p)
        return _as(moved, params), {
            "inner": inner, "step": state["step"] + 1, "start": start, "m": m, "v": v, "r": r, "s": s,
        }  # fmt: skip

    def in_optax(self, optax):
        inner = in_optax(self.inner, optax)
        usual = all(isinstance(b, float) and abs(b - 1 + 0.1**i) < 1e-12 for i, b in enumerate(self.betas, 1))
        return None if inner is None or not usual else optax.contrib.mechanize(inner, self.weight_decay, self.eps, self.s0, len(self.betas))

    def state_to_optax(self, theirs, ours):
        inner = fill_theirs(self.inner, theirs.base_optimizer_state, ours["inner"])
        moved = {name: fit(ours[name], getattr(theirs, name)) for name in "rmvs"}
        return theirs._replace(base_optimizer_state=inner, count=ours["step"], x0=fit(ours["start"], theirs.x0), **moved)

    def state_from_optax(self, ours, theirs, step):
        moved = {name: fit(getattr(theirs, name), ours[name]) for name in "rmvs"}
        inner = fill_ours(self.inner, ours["inner"], theirs.base_optimizer_state, step)
        return {"inner": inner, "step": jnp.asarray(step), "start": fit(theirs.x0, ours["start"]), **moved}
