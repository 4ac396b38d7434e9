import jax.numpy as jnp

from fdl.optim._base import Hyperparameter, optimizer, static
from fdl.optim._factored import factored_axes, factored_mean, factored_start, over_root
from fdl.optim._pieces import rms
from fdl.optim._rule import Decayed


@optimizer
class CAME(Decayed):
    r"""Adafactor with momentum, slower where its updates have been unlike their mean: their confidence, from rows and columns.

    $$R_t = \beta_2 R_{t-1} + (1 - \beta_2)\, \mathrm{mean}_j (g_t^2 + \epsilon_1), \qquad
    C_t = \beta_2 C_{t-1} + (1 - \beta_2)\, \mathrm{mean}_i (g_t^2 + \epsilon_1), \qquad
    u_t = g_t \Big/ \sqrt{\frac{R_t C_t}{\mathrm{mean}(R_t)}}$$
    $$\hat u_t = \frac{u_t}{\max(1, \mathrm{RMS}(u_t) / d)}, \qquad m_t = \beta_1 m_{t-1} + (1 - \beta_1) \hat u_t, \qquad
    U_t = (\hat u_t - m_t)^2 + \epsilon_2$$
    $$R'_t = \beta_3 R'_{t-1} + (1 - \beta_3)\, \mathrm{mean}_j U_t, \qquad
    C'_t = \beta_3 C'_{t-1} + (1 - \beta_3)\, \mathrm{mean}_i U_t, \qquad
    \theta_t = \theta_{t-1} - \mathrm{lr}\, m_t \Big/ \sqrt{\frac{R'_t C'_t}{\mathrm{mean}(R'_t)}}$$

    Luo et al. 2023, "CAME: confidence-guided adaptive memory efficient optimization", algorithm 2, for matrices; as in its
    code, vectors keep the whole mean square and move by $\mathrm{lr}\, m_t$, and arrays of higher rank are factored along
    their two largest axes. Nothing corrects the zeros at the start. Neither optax nor PyTorch has it. Slots: $m$; $R$, $C$ and
    $V$; $R'$ and $C'$ as `R_confidence`, `C_confidence`; of one entry where they are not needed.

    Args:
        lr: learning rate, default 0.0002.
        b1: $\beta_1$, decay of the mean update, default 0.9.
        b2: $\beta_2$, decay of the mean square, default 0.999.
        b3: $\beta_3$, decay of the confidence, default 0.9999.
        clip: $d$, default 1.
        eps: $\epsilon_1$, default 1e-30.
        eps_confidence: $\epsilon_2$, default 1e-16.
        weight_decay: $\lambda$ of decoupled decay, $- \mathrm{lr}\, \lambda \theta_{t-1}$, default 0.
        decay_only: patterns of the paths that decay, as `core.select` takes them; `"*"` for all.
    """

    lr: Hyperparameter = 2e-4
    b1: Hyperparameter = 0.9
    b2: Hyperparameter = 0.999
    b3: Hyperparameter = 0.9999
    clip: Hyperparameter = 1.0
    eps: Hyperparameter = 1e-30
    eps_confidence: Hyperparameter = 1e-16
    weight_decay: Hyperparameter = 0.0
    decay_only: str | tuple[str, ...] = static(default="*")
    slots = ("m", "R", "C", "V", "R_confidence", "C_confidence")

    def start(self, p):
        R, C, V = factored_start(p, factored_axes(p.shape, 2))
        return jnp.zeros_like(p), R, C, V, jnp.zeros_like(R), jnp.zeros_like(C)

    def rule(self, t, g, p, m, R, C, V, R_confidence, C_confidence):
        axes = factored_axes(g.shape, 2)
        R, C, V = factored_mean(self.b2, g**2 + self.eps, axes, R, C, V)
        u = over_root(g, axes, R, C, V)
        u = u * (self.clip / jnp.maximum(self.clip, rms(u)))
        m = self.b1 * m + (1 - self.b1) * u
        if axes is None:
            return -self.lr * m, m, R, C, V, R_confidence, C_confidence
        instability = (u - m) ** 2 + self.eps_confidence
        R_confidence, C_confidence, _ = factored_mean(self.b3, instability, axes, R_confidence, C_confidence, V)
        return -self.lr * over_root(m, axes, R_confidence, C_confidence, V), m, R, C, V, R_confidence, C_confidence
