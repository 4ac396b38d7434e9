import jax.numpy as jnp

from fdl.optim._base import Hyperparameter, optimizer, static
from fdl.optim._pieces import debias
from fdl.optim._rule import Decayed, safe_sqrt


@optimizer
class Adan(Decayed):
    r"""Adaptive Nesterov momentum, from the differences of gradients.

    $$d_t = g_t - g_{t-1}, \qquad m_t = \beta_1 m_{t-1} + (1 - \beta_1) g_t, \qquad
    v_t = \beta_2 v_{t-1} + (1 - \beta_2) d_t, \qquad n_t = \beta_3 n_{t-1} + (1 - \beta_3) (g_t + \beta_2 d_t)^2$$
    $$\theta_t = \frac{1}{1 + \mathrm{lr}\, \lambda} \Big(\theta_{t-1} - \mathrm{lr}\,
    \frac{m_t / (1 - \beta_1^t) + \beta_2 v_t / (1 - \beta_2^t)}{\sqrt{n_t / (1 - \beta_3^t)} + \epsilon}\Big)$$

    with $d_1 = 0$.

    Xie et al. 2022, "Adan: adaptive Nesterov momentum algorithm for faster optimizing deep models", algorithm 1, without
    restarts; its betas are one minus these, and the averages begin at 0 and are corrected, as in its code. `optax.adan`
    (0.2.8) has $1 - \beta_2$ where $\beta_2$ stands before $d_t$ and $v_t$, and decays as AdamW. Slots: $m$, $v$, $n$ and the
    last gradient.

    Args:
        lr: learning rate, default 0.001.
        b1: $\beta_1$, decay of the gradients' mean, default 0.98.
        b2: $\beta_2$, decay of the differences' mean, default 0.92.
        b3: $\beta_3$, decay of the mean square, default 0.99.
        eps: $\epsilon$, default 1e-8.
        weight_decay: $\lambda$, default 0.
        decay_only: patterns of the paths that decay, as `core.select` takes them; `"*"` for all.
    """

    lr: Hyperparameter = 1e-3
    b1: Hyperparameter = 0.98
    b2: Hyperparameter = 0.92
    b3: Hyperparameter = 0.99
    eps: Hyperparameter = 1e-8
    weight_decay: Hyperparameter = 0.0
    decay_only: str | tuple[str, ...] = static(default="*")
    slots = ("m", "v", "n", "last")

    def rule(self, t, g, p, m, v, n, last):
        d = jnp.where(t == 1, 0, g - last)
        m = self.b1 * m + (1 - self.b1) * g
        v = self.b2 * v + (1 - self.b2) * d
        n = self.b3 * n + (1 - self.b3) * (g + self.b2 * d) ** 2
        ahead = debias(self.b1, t) * m + self.b2 * debias(self.b2, t) * v
        return -self.lr * ahead / (safe_sqrt(n * debias(self.b3, t)) + self.eps), m, v, n, g

    def finish(self, step, p):
        return super().finish(step, p) / (1 + self.lr * self.weight_decay)  # the difference of both sides
