import jax.numpy as jnp

from fdl.optim._base import Hyperparameter, needed, optimizer, static
from fdl.optim._rule import Decayed, safe_sqrt


@optimizer
class NovoGrad(Decayed):
    r"""Momentum of gradients that are normalised array by array.

    $$v_t = \beta_2 v_{t-1} + (1 - \beta_2) \|g_t\|^2, \qquad
    m_t = \beta_1 m_{t-1} + \Big(\frac{g_t}{\sqrt{v_t} + \epsilon} + \lambda \theta_{t-1}\Big), \qquad
    \theta_t = \theta_{t-1} - \mathrm{lr}\, m_t$$

    with $v_1 = \|g_1\|^2$.

    Ginsburg et al. 2019, "Stochastic gradient methods with layer-wise adaptive moments for training of deep networks",
    algorithm 1. Equals `optax.novograd`, given the same numbers. Slots: $m$, and $v$, one number for an array.

    Args:
        lr: learning rate, default 0.01.
        b1: $\beta_1$, default 0.95.
        b2: $\beta_2$, default 0.98.
        eps: $\epsilon$, default 1e-8.
        weight_decay: $\lambda$, default 0.
        decay_only: patterns of the paths that decay, as `core.select` takes them; `"*"` for all.
    """

    lr: Hyperparameter = 1e-2
    b1: Hyperparameter = 0.95
    b2: Hyperparameter = 0.98
    eps: Hyperparameter = 1e-8
    weight_decay: Hyperparameter = 0.0
    decay_only: str | tuple[str, ...] = static(default="*")
    slots = ("m", "v")
    optax_slots = ("mu", "nu")

    def start(self, p):
        return jnp.zeros_like(p), jnp.zeros((), p.dtype)

    def rule(self, t, g, p, m, v):
        square = (g**2).sum()
        v = jnp.where(t == 1, square, self.b2 * v + (1 - self.b2) * square)
        m = jnp.where(t == 1, 0, self.b1 * m) + g / (safe_sqrt(v) + self.eps) + self.weight_decay * needed(self, "params", p)
        return -self.lr * m, m, v

    def finish(self, step, p):
        return step  # the decay is in it

    def in_optax(self, optax):
        if self.decay_only != "*":
            return None
        return optax.novograd(self.lr, self.b1, self.b2, self.eps, weight_decay=self.weight_decay)
