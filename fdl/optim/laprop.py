from fdl.optim._base import Hyperparameter, optimizer
from fdl.optim._pieces import debias
from fdl.optim._rule import Leafwise, safe_sqrt


@optimizer
class LaProp(Leafwise):
    r"""Momentum of normalised gradients: Adam with the two in the other order.

    $$v_t = \beta_2 v_{t-1} + (1 - \beta_2) g_t^2, \qquad
    m_t = \beta_1 m_{t-1} + (1 - \beta_1) \frac{g_t}{\sqrt{v_t / (1 - \beta_2^t)} + \epsilon}, \qquad
    \theta_t = \theta_{t-1} - \mathrm{lr}\, \frac{m_t}{1 - \beta_1^t}$$

    Ziyin, Wang & Ueda 2020, "LaProp: separating momentum and adaptivity in Adam", algorithm 1, whose $\mu$ and $\nu$ are
    $\beta_1$ and $\beta_2$. Neither optax nor PyTorch has it. Two slots: $m$ and $v$.

    Args:
        lr: learning rate, default 0.0004.
        b1: $\beta_1$, decay of the mean, default 0.9.
        b2: $\beta_2$, decay of the mean square, default 0.999.
        eps: $\epsilon$, default 1e-15.
    """

    lr: Hyperparameter = 4e-4
    b1: Hyperparameter = 0.9
    b2: Hyperparameter = 0.999
    eps: Hyperparameter = 1e-15
    slots = ("m", "v")

    def rule(self, t, g, p, m, v):
        v = self.b2 * v + (1 - self.b2) * g**2
        m = self.b1 * m + (1 - self.b1) * g / (safe_sqrt(v * debias(self.b2, t)) + self.eps)
        return -self.lr * debias(self.b1, t) * m, m, v
