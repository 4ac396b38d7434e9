import jax.numpy as jnp

from fdl.optim._base import Hyperparameter, optimizer, static
from fdl.optim._pieces import debias
from fdl.optim._rule import Decayed, Leafwise, safe_sqrt
from fdl.optim.decay import decay_mask


@optimizer
class NAdam(Leafwise):
    r"""Adam with Nesterov's look ahead: the mean as it will be one step later.

    $$m_t = \beta_1 m_{t-1} + (1 - \beta_1) g_t, \qquad v_t = \beta_2 v_{t-1} + (1 - \beta_2) g_t^2$$
    $$\bar m_t = \frac{\mu_{t+1} m_t}{1 - \prod_{i=1}^{t+1} \mu_i} + \frac{(1 - \mu_t) g_t}{1 - \prod_{i=1}^{t} \mu_i}, \qquad
    \theta_t = \theta_{t-1} - \mathrm{lr}\, \frac{\bar m_t}{\sqrt{v_t / (1 - \beta_2^t)} + \epsilon}$$

    with $\mu_t = \beta_1$, or with Dozat's schedule $\mu_t = \beta_1 (1 - \tfrac{1}{2} 0.96^{t \psi})$.

    Dozat 2016, "Incorporating Nesterov momentum into Adam", algorithm 2, without its factor $\beta_2$ before $v_t$, which nobody
    has. Equals `optax.nadam`; with `momentum_decay=0.004`, `torch.optim.NAdam`. Slots: $m$, $v$, and with the schedule the
    product of the $\mu_i$.

    Args:
        lr: learning rate, default 0.001.
        b1: $\beta_1$, decay of the mean, default 0.9.
        b2: $\beta_2$, decay of the mean square, default 0.999.
        eps: $\epsilon$, default 1e-8.
        momentum_decay: $\psi$; `None`, the default, for a constant $\mu$.
    """

    lr: Hyperparameter = 1e-3
    b1: Hyperparameter = 0.9
    b2: Hyperparameter = 0.999
    eps: Hyperparameter = 1e-8
    momentum_decay: Hyperparameter | None = None
    optax_slots = ("mu", "nu")

    @property
    def slots(self):
        return ("m", "v") if self.momentum_decay is None else ("m", "v", "product")

    def start(self, p):
        return (jnp.zeros_like(p), jnp.zeros_like(p), jnp.ones((), p.dtype))[: len(self.slots)]

    def rule(self, t, g, p, m, v, *product):
        m = self.b1 * m + (1 - self.b1) * g
        v = self.b2 * v + (1 - self.b2) * g**2
        mu, ahead = self.mu(t), self.mu(t + 1)
        product = [last * mu for last in product]
        so_far = product[0] if product else mu**t
        mean = ahead / (1 - so_far * ahead) * m + (1 - mu) / (1 - so_far) * g
        return -self.lr * mean / (safe_sqrt(v * debias(self.b2, t)) + self.eps), m, v, *product

    def mu(self, t):
        """The momentum at a step."""
        return self.b1 if self.momentum_decay is None else self.b1 * (1 - 0.5 * 0.96 ** (t * self.momentum_decay))

    def in_optax(self, optax):
        return optax.nadam(self.lr, self.b1, self.b2, self.eps) if self.momentum_decay is None else None


@optimizer
class NAdamW(Decayed, NAdam):
    r"""NAdam with decoupled weight decay: on top of its step, $- \mathrm{lr}\, \lambda \theta_{t-1}$.

    Dozat 2016, as `NAdam`, and Loshchilov & Hutter 2019, "Decoupled weight decay regularization", algorithm 2. Equals
    `optax.nadamw` (default decay 1e-4); with `momentum_decay=0.004`, `torch.optim.NAdam(decoupled_weight_decay=True)`.

    Args:
        lr, b1, b2, eps, momentum_decay: as of `NAdam`.
        weight_decay: $\lambda$, default 0.01.
        decay_only: patterns of the paths that decay, as `core.select` takes them; `"*"` for all.
    """

    weight_decay: Hyperparameter = 1e-2
    decay_only: str | tuple[str, ...] = static(default="*")

    def in_optax(self, optax):
        if self.momentum_decay is not None:
            return None
        return optax.nadamw(self.lr, self.b1, self.b2, self.eps, weight_decay=self.weight_decay, mask=decay_mask(self))
