import jax.numpy as jnp

from fdl.optim._base import Hyperparameter, optimizer, static
from fdl.optim._pieces import debias
from fdl.optim._rule import Decayed, safe_sqrt
from fdl.optim.decay import decay_mask


@optimizer
class AdEMAMix(Decayed):
    r"""Adam with a second, much slower mean of the gradients.

    $$m_t = \beta_1 m_{t-1} + (1 - \beta_1) g_t, \qquad
    s_t = \beta_{3,t} s_{t-1} + (1 - \beta_{3,t}) g_t, \qquad v_t = \beta_2 v_{t-1} + (1 - \beta_2) g_t^2$$
    $$\theta_t = \theta_{t-1} - \mathrm{lr} \Big(\frac{m_t / (1 - \beta_1^t) + \alpha_t s_t}{\sqrt{v_t / (1 - \beta_2^t)} + \epsilon}
    + \lambda \theta_{t-1}\Big)$$

    and over the first $T$ steps, with $u = \min(t / T, 1)$, $\alpha_t = u\, \alpha$ and $\beta_{3,t}$ grows from $\beta_1$ to
    $\beta_3$ so that the mean's half-life grows linearly:
    $\ln \beta_{3,t} = \ln \beta_1 \ln \beta_3 / ((1 - u) \ln \beta_3 + u \ln \beta_1)$.

    Pagliardini, Ablin & Grangier 2024, "The AdEMAMix optimizer: better, faster, older", algorithm 1, whose $m_1$, $m_2$ and
    $\nu$ are $m$, $s$ and $v$. Equals `optax.contrib.ademamix`. Three slots: $m$, $s$ and $v$.

    Args:
        lr: learning rate, default 0.001.
        b1: $\beta_1$, decay of the fast mean, default 0.9.
        b2: $\beta_2$, decay of the mean square, default 0.999.
        b3: $\beta_3$, decay of the slow mean, default 0.9999.
        alpha: $\alpha$, weight of the slow mean, default 5.
        eps: $\epsilon$, default 1e-8.
        warmup: $T$, default 0, without; the paper takes the length of the run.
        weight_decay: $\lambda$, default 0.
        decay_only: patterns of the paths that decay, as `core.select` takes them; `"*"` for all.
    """

    lr: Hyperparameter = 1e-3
    b1: Hyperparameter = 0.9
    b2: Hyperparameter = 0.999
    b3: Hyperparameter = 0.9999
    alpha: Hyperparameter = 5.0
    eps: Hyperparameter = 1e-8
    warmup: Hyperparameter = 0.0
    weight_decay: Hyperparameter = 0.0
    decay_only: str | tuple[str, ...] = static(default="*")
    slots = ("m", "s", "v")
    optax_slots = ("m1", "m2", "nu")
    optax_counts = ("count", "count_m2")

    def rule(self, t, g, p, m, s, v):
        alpha, b3 = self.warmed(t)
        m = self.b1 * m + (1 - self.b1) * g
        s = b3 * s + (1 - b3) * g
        v = self.b2 * v + (1 - self.b2) * g**2
        mixed = debias(self.b1, t) * m + alpha * s
        return -self.lr * mixed / (safe_sqrt(v * debias(self.b2, t)) + self.eps), m, s, v

    def warmed(self, t):
        """The weight and the decay of the slow mean at a step."""
        u = jnp.where(t < self.warmup, t / jnp.maximum(self.warmup, 1), 1)
        fast, slow = jnp.log(jnp.maximum(self.b1, 1e-30)), jnp.log(self.b3)
        b3 = jnp.exp(fast * slow / ((1 - u) * slow + u * fast))
        return u * self.alpha, jnp.where(u < 1, b3, self.b3)

    def in_optax(self, optax):
        alpha, b3 = (lambda count, i=i: self.warmed(count + 1.0)[i] for i in (0, 1))
        return optax.contrib.ademamix(self.lr, self.b1, self.b2, b3, alpha, self.eps, weight_decay=self.weight_decay, mask=decay_mask(self))
