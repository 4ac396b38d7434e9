from typing import Any

import jax
import jax.numpy as jnp

from fdl.optim._base import Hyperparameter, Tree, needed, optimizer, static
from fdl.optim._rule import Treewise, safe_sqrt
from fdl.optim._tree import dot, ratio, zero


class _Model(Treewise):
    """Momentum and a model of the loss: the means of losses and gradients, and a lower bound. A base class."""

    lr: Any
    f_min: Any
    weight_decay: Any
    adapt: Any
    decay_apart: Any

    def start(self, p: Tree) -> dict[str, Any]:
        return {"m": jax.tree.map(jnp.zeros_like, p), "f": zero(p), "gamma": zero(p), "bound": jnp.copy(self.f_min)}

    def mean(self, t: jax.Array) -> tuple[Any, Any]:
        """How much of the old means stays, and the sum of the weights in the new."""
        raise NotImplementedError

    def metric(self, t: jax.Array, g: Tree, state: dict[str, Any]) -> tuple[Tree, dict[str, Any]]:
        """What a step is divided by, coordinate for coordinate, and new state of its own."""
        return jax.tree.map(jnp.ones_like, g), {}

    def rule(self, t, g, p, state, value, objective):
        b, weight = self.mean(t)
        m = jax.tree.map(lambda m, g: b * m + (1 - b) * g, state["m"], g)
        f = b * state["f"] + (1 - b) * needed(self, "value", value)
        gamma = b * state["gamma"] + (1 - b) * dot(g, p)
        D, own = self.metric(t, g, state)
        square = dot(m, jax.tree.map(jnp.divide, m, D))
        here, shrink, bound = dot(m, p), 1 + self.lr * self.weight_decay, state["bound"]
        if self.adapt:
            cap = shrink * (f - gamma) + here
            bound = jnp.where(cap < shrink * weight * bound, jnp.maximum(cap / (2 * weight * shrink), self.f_min), bound)
        tau = ratio(jnp.maximum(shrink * (f - weight * bound - gamma) + here, 0), square)
        tau = jnp.minimum(self.lr / weight, tau)
        if self.adapt:
            bound = jnp.maximum((f + here - gamma - tau * square / 2) / weight, self.f_min)

        def step(m: Any, D: Any, p: Any) -> Any:
            moved = tau * m / D
            return -self.lr * self.weight_decay / shrink * p - (moved if self.decay_apart else moved / shrink)

        return jax.tree.map(step, m, D, p), {"m": m, "f": f, "gamma": gamma, "bound": bound, **own}


@optimizer
class MoMo(_Model):
    r"""Momentum whose rate follows from a model of the loss, the maximum of past linearisations' mean and a lower bound.

    $$m_t = \beta m_{t-1} + (1 - \beta) g_t, \quad \bar f_t = \beta \bar f_{t-1} + (1 - \beta) f_t, \quad
      \gamma_t = \beta \gamma_{t-1} + (1 - \beta) \langle g_t, \theta_{t-1} \rangle$$
    $$\tau_t = \min\left(\mathrm{lr}, \frac{\left((1 + \mathrm{lr} \lambda)(\bar f_t - f^* - \gamma_t)
      + \langle m_t, \theta_{t-1} \rangle\right)_+}{\|m_t\|^2}\right), \qquad
      \theta_t = \frac{\theta_{t-1} - \tau_t m_t}{1 + \mathrm{lr} \lambda}$$

    The first means are the first values. Schaipp et al. 2024, "MoMo: momentum models for adaptive learning rates",
    algorithm 1 and equation 17; `adapt` is their estimate of $f^*$, section 4. `optax.contrib.momo` has $\theta_{t-1} / (1 +
    \mathrm{lr} \lambda) - \tau_t m_t$ (`decay_apart`), and does not move where $\|m\|^2$ is below the machine's precision.
    State: $m$, $\bar f$, $\gamma$ and the bound. `update` takes the loss as `value=`.

    Args:
        lr: the cap, default 1.
        momentum: $\beta$, default 0.9.
        f_min: $f^*$, a lower bound of the loss, default 0.
        weight_decay: $\lambda$, default 0.
        adapt: whether the bound is raised to an estimate, default no.
        decay_apart: whether decay leaves the step alone, as in optax, default no.
    """

    lr: Hyperparameter = 1.0
    momentum: Hyperparameter = 0.9
    f_min: Hyperparameter = 0.0
    weight_decay: Hyperparameter = 0.0
    adapt: bool = static(default=False)
    decay_apart: bool = static(default=False)
    slots = ("m", "f", "gamma", "bound")
    optax_slots = ("exp_avg", "barf", "gamma", "lb")

    def mean(self, t):
        return jnp.where(t == 1, 0, self.momentum), jnp.ones_like(t)

    def in_optax(self, optax):
        if not self.decay_apart:
            return None
        return optax.contrib.momo(self.lr, self.momentum, self.f_min, self.weight_decay, self.adapt)


@optimizer
class MoMoAdam(_Model):
    r"""`MoMo` in Adam's metric: its rate, capped, for Adam's direction.

    $$D_t = \epsilon + \sqrt{v_t / (1 - \beta_2^t)}, \qquad \rho_t = 1 - \beta_1^t, \qquad
      \tau_t = \min\left(\frac{\mathrm{lr}}{\rho_t}, \frac{\left((1 + \mathrm{lr} \lambda)(\bar f_t - \rho_t f^* - \gamma_t)
      + \langle m_t, \theta_{t-1} \rangle\right)_+}{\langle m_t, m_t / D_t \rangle}\right)$$
    $$\theta_t = (\theta_{t-1} - \tau_t m_t / D_t) / (1 + \mathrm{lr} \lambda)$$

    with $m$, $\bar f$ and $\gamma$ of `MoMo`, from 0, and Adam's $v$. Schaipp et al. 2024, "MoMo: momentum models for adaptive
    learning rates", algorithm 2. `optax.contrib.momo_adam` has `decay_apart`, and does not move where the denominator is below
    the machine's precision. State: $m$, $v$, $\bar f$, $\gamma$ and the bound. `update` takes the loss as `value=`.

    Args:
        lr: the cap, default 0.01.
        b1: $\beta_1$, default 0.9.
        b2: $\beta_2$, default 0.999.
        eps: $\epsilon$, default 1e-8.
        f_min, weight_decay, adapt, decay_apart: as of `MoMo`.
    """

    lr: Hyperparameter = 1e-2
    b1: Hyperparameter = 0.9
    b2: Hyperparameter = 0.999
    eps: Hyperparameter = 1e-8
    f_min: Hyperparameter = 0.0
    weight_decay: Hyperparameter = 0.0
    adapt: bool = static(default=False)
    decay_apart: bool = static(default=False)
    slots = ("m", "v", "f", "gamma", "bound")
    optax_slots = ("exp_avg", "exp_avg_sq", "barf", "gamma", "lb")

    def start(self, p):
        return {**super().start(p), "v": jax.tree.map(jnp.zeros_like, p)}

    def mean(self, t):
        return self.b1, 1 - self.b1**t

    def metric(self, t, g, state):
        v = jax.tree.map(lambda v, g: self.b2 * v + (1 - self.b2) * g**2, state["v"], g)
        return jax.tree.map(lambda v: self.eps + safe_sqrt(v / (1 - self.b2**t)), v), {"v": v}

    def in_optax(self, optax):
        if not self.decay_apart:
            return None
        return optax.contrib.momo_adam(self.lr, self.b1, self.b2, self.eps, self.f_min, self.weight_decay, self.adapt)
