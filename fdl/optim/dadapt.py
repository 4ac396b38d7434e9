import jax
import jax.numpy as jnp

from fdl.optim._base import Hyperparameter, optimizer, static
from fdl.optim._rule import Treewise, safe_sqrt
from fdl.optim._tree import copied, dot, norm, ratio, size1, zero


@optimizer
class DAdaptSGD(Treewise):
    r"""SGD with momentum whose rate is an estimate $d$ of the distance to the solution, by D-adaptation.

    $$\lambda_t = \mathrm{lr}\, d_{t-1} / \|g_1\|, \qquad s_t = s_{t-1} + \lambda_t g_t, \qquad
      r_t = r_{t-1} + \lambda_t \langle g_t, s_{t-1} \rangle, \qquad d_t = \max(d_{t-1}, 2 r_t / \|s_t\|)$$
    $$\theta_t = \mu\, \theta_{t-1} + (1 - \mu) (\theta_0 - s_t)$$

    Defazio & Mishchenko 2023, "Learning-rate-free learning by D-adaptation", algorithm 4. Not in optax. $\|g_1\|$ is that of
    the first gradient that is not 0. State: $s$, $\theta_0$, $d$, $r$ and $\|g_1\|$.

    Args:
        lr: a schedule around 1, default 1.
        momentum: $\mu$, default 0.9.
        d0: $d_0$, smaller than the distance, default 1e-6.
    """

    lr: Hyperparameter = 1.0
    momentum: Hyperparameter = 0.9
    d0: Hyperparameter = 1e-6

    def start(self, p):
        return {"s": jax.tree.map(jnp.zeros_like, p), "start": copied(p), "d": jnp.copy(self.d0), "r": zero(p), "first": zero(p)}

    def rule(self, t, g, p, state, value, objective):
        d, s = state["d"], state["s"]
        first = jnp.where(state["first"] > 0, state["first"], norm(g))
        rate = ratio(self.lr * d, first)
        r = state["r"] + rate * dot(g, s)
        s = jax.tree.map(lambda s, g: s + rate * g, s, g)
        d = jnp.maximum(d, 2 * ratio(r, norm(s)))
        updates = jax.tree.map(lambda x, s, p: (1 - self.momentum) * (x - s - p), state["start"], s, p)
        return updates, {"s": s, "start": state["start"], "d": d, "r": r, "first": first}


@optimizer
class DAdaptAdam(Treewise):
    r"""Adam whose rate is an estimate $d$ of the distance to the solution, by D-adaptation.

    $$\gamma_t = \mathrm{lr}\, d_{t-1}, \qquad m_t = \beta_1 m_{t-1} + (1 - \beta_1) \gamma_t g_t, \qquad
      v_t = \beta_2 v_{t-1} + (1 - \beta_2) g_t^2$$
    $$s_t = \sqrt{\beta_2}\, s_{t-1} + (1 - \sqrt{\beta_2}) \gamma_t g_t, \qquad
      r_t = \sqrt{\beta_2}\, r_{t-1} + (1 - \sqrt{\beta_2}) \gamma_t
      \left\langle g_t, \frac{s_{t-1}}{\sqrt{v_t} + \epsilon} \right\rangle$$
    $$d_t = \max\left(d_{t-1}, \frac{r_t}{(1 - \sqrt{\beta_2}) \|s_t\|_1}\right), \qquad
      \theta_t = \theta_{t-1} - \frac{m_t}{\sqrt{v_t} + \epsilon} - \lambda \gamma_t \theta_{t-1}$$

    Defazio & Mishchenko 2023, "Learning-rate-free learning by D-adaptation", algorithm 5. `optax.contrib.dadapt_adamw`
    corrects the bias and divides by $\sqrt{v_{t-1}}$ in $r$: `as_optax`. State: $m$, $v$, $s$, $d$ and $r$.

    Args:
        lr: a schedule around 1, default 1.
        b1: $\beta_1$, default 0.9.
        b2: $\beta_2$, default 0.999.
        eps: $\epsilon$, default 1e-8.
        weight_decay: $\lambda$, default 0.
        d0: $d_0$, smaller than the distance, default 1e-6.
        as_optax: $\gamma_t$ times $\sqrt{1 - \beta_2^t} / (1 - \beta_1^t)$, and $v_{t-1}$ in $r$, default no.
    """

    lr: Hyperparameter = 1.0
    b1: Hyperparameter = 0.9
    b2: Hyperparameter = 0.999
    eps: Hyperparameter = 1e-8
    weight_decay: Hyperparameter = 0.0
    d0: Hyperparameter = 1e-6
    as_optax: bool = static(default=False)
    slots = ("m", "v", "s", "d", "r")
    optax_slots = ("exp_avg", "exp_avg_sq", "grad_sum", "estim_lr", "numerator_weighted")

    def start(self, p):
        zeros = lambda: jax.tree.map(jnp.zeros_like, p)
        return {"m": zeros(), "v": zeros(), "s": zeros(), "d": jnp.copy(self.d0), "r": zero(p)}

    def rule(self, t, g, p, state, value, objective):
        b3 = safe_sqrt(self.b2)
        rate = self.lr * state["d"]
        if self.as_optax:
            rate = rate * safe_sqrt(1 - self.b2**t) / (1 - self.b1**t)
        m = jax.tree.map(lambda m, g: self.b1 * m + (1 - self.b1) * rate * g, state["m"], g)
        v = jax.tree.map(lambda v, g: self.b2 * v + (1 - self.b2) * g**2, state["v"], g)
        weighted = jax.tree.map(lambda s, v: s / (safe_sqrt(v) + self.eps), state["s"], state["v"] if self.as_optax else v)
        s = jax.tree.map(lambda s, g: b3 * s + (1 - b3) * rate * g, state["s"], g)
        r = b3 * state["r"] + (1 - b3) * rate * dot(g, weighted)
        d = jnp.maximum(state["d"], ratio(r, (1 - b3) * size1(s)))
        step = lambda m, v, p: -m / (safe_sqrt(v) + self.eps) - self.weight_decay * rate * p
        return jax.tree.map(step, m, v, p), {"m": m, "v": v, "s": s, "d": d, "r": r}

    def in_optax(self, optax):
        if not self.as_optax:
            return None
        return optax.contrib.dadapt_adamw(self.lr, (self.b1, self.b2), self.eps, self.d0, self.weight_decay)
