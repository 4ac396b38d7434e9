import jax.numpy as jnp

from fdl.optim._base import Hyperparameter, optimizer, static
from fdl.optim._pieces import debias
from fdl.optim._rule import Decayed, safe_sqrt
from fdl.optim.decay import decay_mask


@optimizer
class RAdam(Decayed):
    r"""Rectified Adam: momentum alone until the mean square has seen enough gradients, then Adam with a rate that warms up.

    $$m_t = \beta_1 m_{t-1} + (1 - \beta_1) g_t, \qquad v_t = \beta_2 v_{t-1} + (1 - \beta_2) g_t^2, \qquad
    \rho_\infty = \frac{2}{1 - \beta_2} - 1, \qquad \rho_t = \rho_\infty - \frac{2 t \beta_2^t}{1 - \beta_2^t}$$
    $$\theta_t = \theta_{t-1} - \mathrm{lr}\, \frac{m_t}{1 - \beta_1^t} \cdot \begin{cases}
      \sqrt{\dfrac{(\rho_t - 4)(\rho_t - 2) \rho_\infty}{(\rho_\infty - 4)(\rho_\infty - 2) \rho_t}} \Big/
      \Big(\sqrt{\dfrac{v_t}{1 - \beta_2^t}} + \epsilon\Big) & \rho_t > \text{threshold} \\ 1 & \text{otherwise} \end{cases}$$

    Liu et al. 2020, "On the variance of the adaptive learning rate and beyond", algorithm 2, with $\epsilon$ as in Adam. The
    paper's threshold is 4; its code, optax and PyTorch have 5. Equals `optax.radam`, given the same threshold;
    `torch.optim.RAdam` with 5, where PyTorch puts $\epsilon$ before the correction of $v$. Two slots: $m$ and $v$.

    Args:
        lr: learning rate, default 0.001.
        b1: $\beta_1$, decay of the mean, default 0.9.
        b2: $\beta_2$, decay of the mean square, default 0.999; above 0.6, so that $\rho_\infty > 4$.
        eps: $\epsilon$, default 1e-8.
        threshold: default 4, and never less.
        weight_decay: $\lambda$ of decoupled decay, $- \mathrm{lr}\, \lambda \theta_{t-1}$, default 0.
        decay_only: patterns of the paths that decay, as `core.select` takes them; `"*"` for all.
    """

    lr: Hyperparameter = 1e-3
    b1: Hyperparameter = 0.9
    b2: Hyperparameter = 0.999
    eps: Hyperparameter = 1e-8
    threshold: Hyperparameter = 4.0
    weight_decay: Hyperparameter = 0.0
    decay_only: str | tuple[str, ...] = static(default="*")
    slots = ("m", "v")
    optax_slots = ("mu", "nu")

    def rule(self, t, g, p, m, v):
        m = self.b1 * m + (1 - self.b1) * g
        v = self.b2 * v + (1 - self.b2) * g**2
        limit, age = 2 / (1 - self.b2) - 1, t * jnp.log(self.b2)
        rho = limit + 2 * t * jnp.exp(age) / jnp.expm1(age)  # a difference of large numbers: 1 - b2^t would spoil it in float32
        rectified = rho > jnp.maximum(self.threshold, 4)
        seen = jnp.where(rectified, rho, limit)  # below 4 the root is of no number
        root = safe_sqrt((seen - 4) * (seen - 2) / seen * (limit / ((limit - 4) * (limit - 2))))
        scale = jnp.where(rectified, root / (safe_sqrt(v * debias(self.b2, t)) + self.eps), 1)
        return -self.lr * debias(self.b1, t) * m * scale, m, v

    def in_optax(self, optax):
        return optax.chain(
            optax.scale_by_radam(self.b1, self.b2, self.eps, threshold=self.threshold),
            optax.add_decayed_weights(self.weight_decay, decay_mask(self)),
            optax.scale_by_learning_rate(self.lr),
        )
