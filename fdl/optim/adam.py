from fdl.optim._base import Hyperparameter, optimizer
from fdl.optim._rule import Leafwise, safe_sqrt


@optimizer
class Adam(Leafwise):
    r"""Adaptive moment estimation.

    $$m_t = \beta_1 m_{t-1} + (1 - \beta_1) g_t, \qquad v_t = \beta_2 v_{t-1} + (1 - \beta_2) g_t^2$$
    $$\theta_t = \theta_{t-1} - \mathrm{lr}\, \frac{m_t / (1 - \beta_1^t)}{\sqrt{v_t / (1 - \beta_2^t)} + \epsilon}$$

    Kingma & Ba 2015, "Adam: a method for stochastic optimization", algorithm 1. Equals `optax.adam` and
    `torch.optim.Adam` ($\epsilon$ after the bias correction; TensorFlow's $\hat\epsilon$ stands before it). Two slots:
    $m$ and $v$.

    Args:
        lr: learning rate, default 0.001.
        b1: $\beta_1$, decay of the mean, default 0.9.
        b2: $\beta_2$, decay of the mean square, default 0.999.
        eps: $\epsilon$, default 1e-8.
    """

    lr: Hyperparameter = 1e-3
    b1: Hyperparameter = 0.9
    b2: Hyperparameter = 0.999
    eps: Hyperparameter = 1e-8
    slots = ("m", "v")
    optax_slots = ("mu", "nu")

    def rule(self, t, g, p, m, v):
        m = self.b1 * m + (1 - self.b1) * g
        v = self.b2 * v + (1 - self.b2) * g**2
        rate = self.lr / (1 - self.b1**t)
        v_hat = v * (1 / (1 - self.b2**t))  # one number's reciprocal instead of a division for every coordinate
        return -rate * m / (safe_sqrt(v_hat) + self.eps), m, v

    def in_optax(self, optax):
        return optax.adam(self.lr, self.b1, self.b2, self.eps)
