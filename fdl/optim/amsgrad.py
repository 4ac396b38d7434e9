import jax.numpy as jnp

from fdl.optim._base import Hyperparameter, optimizer, static
from fdl.optim._pieces import debias
from fdl.optim._rule import Leafwise, safe_sqrt


@optimizer
class AMSGrad(Leafwise):
    r"""Adam whose rates never rise: it divides by the largest mean square so far.

    $$m_t = \beta_1 m_{t-1} + (1 - \beta_1) g_t, \qquad v_t = \beta_2 v_{t-1} + (1 - \beta_2) g_t^2, \qquad
    w_t = \max(w_{t-1}, v_t)$$
    $$\theta_t = \theta_{t-1} - \mathrm{lr}\, \frac{m_t / (1 - \beta_1^t)}{\sqrt{w_t / (1 - \beta_2^t)} + \epsilon}$$

    or, with `corrected_maximum`, $w_t = \max(w_{t-1}, v_t / (1 - \beta_2^t))$ and $\sqrt{w_t} + \epsilon$ below.

    Reddi, Kale & Kumar 2018, "On the convergence of Adam and beyond", algorithm 2, which leaves out the corrections for
    simplicity. Equals `torch.optim.Adam(amsgrad=True)`; with `corrected_maximum`, `optax.amsgrad`, whose first large
    gradients count in full for ever. Three slots: $m$, $v$ and $w$.

    Args:
        lr: learning rate, default 0.001.
        b1: $\beta_1$, decay of the mean, default 0.9.
        b2: $\beta_2$, decay of the mean square, default 0.999.
        eps: $\epsilon$, default 1e-8.
        corrected_maximum: whether the maximum is over the corrected mean squares, default no.
    """

    lr: Hyperparameter = 1e-3
    b1: Hyperparameter = 0.9
    b2: Hyperparameter = 0.999
    eps: Hyperparameter = 1e-8
    corrected_maximum: bool = static(default=False)
    slots = ("m", "v", "w")
    optax_slots = ("mu", "nu", "nu_max")

    def rule(self, t, g, p, m, v, w):
        m = self.b1 * m + (1 - self.b1) * g
        v = self.b2 * v + (1 - self.b2) * g**2
        w = jnp.maximum(w, v * debias(self.b2, t) if self.corrected_maximum else v)
        w_hat = w if self.corrected_maximum else w * debias(self.b2, t)
        return -self.lr * debias(self.b1, t) * m / (safe_sqrt(w_hat) + self.eps), m, v, w

    def in_optax(self, optax):
        return optax.amsgrad(self.lr, self.b1, self.b2, self.eps) if self.corrected_maximum else None
