from fdl.optim._base import Hyperparameter, optimizer
from fdl.optim._pieces import debias
from fdl.optim._rule import Leafwise, safe_sqrt


@optimizer
class AdaBelief(Leafwise):
    r"""Adam that divides by how far gradients were from their mean: long steps where they are as expected.

    $$m_t = \beta_1 m_{t-1} + (1 - \beta_1) g_t, \qquad
    s_t = \beta_2 s_{t-1} + (1 - \beta_2) (g_t - m_t)^2 + \epsilon_s, \qquad
    \theta_t = \theta_{t-1} - \mathrm{lr}\, \frac{m_t / (1 - \beta_1^t)}{\sqrt{s_t / (1 - \beta_2^t)} + \epsilon}$$

    Zhuang et al. 2020, "AdaBelief optimizer: adapting stepsizes by the belief in observed gradients", algorithm 2, where
    $\epsilon_s = \epsilon$; both are 1e-16 in its code. Equals `optax.adabelief(eps_root=)`. Two slots: $m$ and $s$.

    Args:
        lr: learning rate, default 0.001.
        b1: $\beta_1$, decay of the mean, default 0.9.
        b2: $\beta_2$, decay of the mean square, default 0.999.
        eps: $\epsilon$, default 1e-16.
        eps_root: $\epsilon_s$, which gathers in $s$, default 1e-16.
    """

    lr: Hyperparameter = 1e-3
    b1: Hyperparameter = 0.9
    b2: Hyperparameter = 0.999
    eps: Hyperparameter = 1e-16
    eps_root: Hyperparameter = 1e-16
    slots = ("m", "s")
    optax_slots = ("mu", "nu")

    def rule(self, t, g, p, m, s):
        m = self.b1 * m + (1 - self.b1) * g
        s = self.b2 * s + (1 - self.b2) * (g - m) ** 2 + self.eps_root
        return -self.lr * debias(self.b1, t) * m / (safe_sqrt(s * debias(self.b2, t)) + self.eps), m, s

    def in_optax(self, optax):
        return optax.adabelief(self.lr, self.b1, self.b2, self.eps, self.eps_root)
