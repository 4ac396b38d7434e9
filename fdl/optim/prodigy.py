from typing import Any

import jax
import jax.numpy as jnp

from fdl.optim._base import Hyperparameter, optimizer, static
from fdl.optim._rule import Treewise, safe_sqrt, selected
from fdl.optim._tree import copied, dot, minus, ratio, size1, zero


@optimizer
class Prodigy(Treewise):
    r"""Adam whose learning rate is an estimate $d$ of the distance to the solution, which only grows.

    $$m_t = \beta_1 m_{t-1} + (1 - \beta_1) d_{t-1} g_t, \qquad v_t = \beta_2 v_{t-1} + (1 - \beta_2) d_{t-1}^2 g_t^2$$
    $$r_t = \sqrt{\beta_2}\, r_{t-1} + \mathrm{lr}\, d_{t-1}^2 \langle g_t, \theta_0 - \theta_{t-1} \rangle, \qquad
      s_t = \sqrt{\beta_2}\, s_{t-1} + \mathrm{lr}\, d_{t-1}^2 g_t, \qquad d_t = \max(d_{t-1}, c\, r_t / \|s_t\|_1)$$
    $$\theta_t = \theta_{t-1} - \mathrm{lr}\, d_{t-1} \left(\frac{m_t}{\sqrt{v_t} + d_t \epsilon} + \lambda \theta_{t-1}\right)$$

    $r$ and $s$ are kept divided by $d_0$, which cancels. Mishchenko & Defazio 2024, "Prodigy: an expeditiously adaptive
    parameter-free learner", algorithm 4, whose $\epsilon$ is scaled by $d_{t-1}$; the authors' package and
    `optax.contrib.prodigy`, which always corrects the bias, scale it by $d_t$. One $d$ is shared by all parameters. `lr` is a
    schedule around 1, best one that falls to 0. State: $m$, $v$, $s$, $\theta_0$, $d$ and $r$.

    Args:
        lr: default 1.
        b1: $\beta_1$, default 0.9.
        b2: $\beta_2$, default 0.999.
        eps: $\epsilon$, default 1e-8.
        weight_decay: $\lambda$, default 0.
        d0: $d_0$, smaller than the distance, default 1e-6.
        d_coef: $c$, default 1: what to tune if anything.
        bias_correction: multiply `lr` by $\sqrt{1 - \beta_2^t} / (1 - \beta_1^t)$, default no.
        safeguard_warmup: leave `lr` out of $s$, so that a warm-up does not inflate $d$, default no.
        decay_only: patterns of the paths that decay, as `core.select` takes them; all by default.
    """

    lr: Hyperparameter = 1.0
    b1: Hyperparameter = 0.9
    b2: Hyperparameter = 0.999
    eps: Hyperparameter = 1e-8
    weight_decay: Hyperparameter = 0.0
    d0: Hyperparameter = 1e-6
    d_coef: Hyperparameter = 1.0
    bias_correction: bool = static(default=False)
    safeguard_warmup: bool = static(default=False)
    decay_only: str | tuple[str, ...] = static(default="*")
    slots = ("m", "v", "s", "start", "d", "r")
    optax_slots = ("exp_avg", "exp_avg_sq", "grad_sum", "params0", "estim_lr", "numerator_weighted")

    def start(self, p):
        zeros = lambda: jax.tree.map(jnp.zeros_like, p)
        return {"m": zeros(), "v": zeros(), "s": zeros(), "start": copied(p), "d": jnp.copy(self.d0), "r": zero(p)}

    def rule(self, t, g, p, state, value, objective):
        d, b3 = state["d"], safe_sqrt(self.b2)
        rate = self.lr * d
        if self.bias_correction:
            rate = rate * safe_sqrt(1 - self.b2**t) / (1 - self.b1**t)
        m = jax.tree.map(lambda m, g: self.b1 * m + (1 - self.b1) * d * g, state["m"], g)
        v = jax.tree.map(lambda v, g: self.b2 * v + (1 - self.b2) * (d * g) ** 2, state["v"], g)
        weight = d / self.d0 * (d if self.safeguard_warmup else rate)
        s = jax.tree.map(lambda s, g: b3 * s + weight * g, state["s"], g)
        r = b3 * state["r"] + d / self.d0 * rate * dot(g, minus(state["start"], p))
        new = jnp.maximum(d, self.d_coef * ratio(r, size1(s)))
        decays = jax.tree.structure(p).unflatten(selected(p, self.decay_only))

        def step(m: Any, v: Any, p: Any, decays: bool) -> Any:
            u = m / (safe_sqrt(v) + new * self.eps)
            return -rate * (u + self.weight_decay * p if decays else u)

        return jax.tree.map(step, m, v, p, decays), {"m": m, "v": v, "s": s, "start": state["start"], "d": new, "r": r}

    def in_optax(self, optax):
        if not self.bias_correction or self.decay_only != "*":
            return None
        return optax.contrib.prodigy(
            self.lr, (self.b1, self.b2), None, self.eps, self.d0, self.d_coef, self.weight_decay, self.safeguard_warmup
        )
