import jax.numpy as jnp

from fdl.optim._base import Hyperparameter, optimizer
from fdl.optim._pieces import debias
from fdl.optim._rule import Leafwise, safe_sqrt


@optimizer
class AdaBound(Leafwise):
    r"""Adam whose rates are held between bounds that close in on one rate: it ends as gradient descent with momentum.

    $$m_t = \beta_1 m_{t-1} + (1 - \beta_1) g_t, \qquad v_t = \beta_2 v_{t-1} + (1 - \beta_2) g_t^2$$
    $$\theta_t = \theta_{t-1} - \mathrm{clip}\Big(\frac{\mathrm{lr}\, \sqrt{1 - \beta_2^t} / (1 - \beta_1^t)}{\sqrt{v_t} + \epsilon},\;
    r \Big(1 - \frac{1}{\gamma t + 1}\Big),\; r \Big(1 + \frac{1}{\gamma t}\Big)\Big)\, m_t$$

    Luo et al. 2019, "Adaptive gradient methods with dynamic bound of learning rate", algorithm 2 with the bounds of its code,
    which corrects the biases and leaves out the decay $1 / \sqrt t$ of the theory. Neither optax nor PyTorch has it. Two
    slots: $m$ and $v$.

    Args:
        lr: learning rate at the start, default 0.001.
        b1: $\beta_1$, decay of the mean, default 0.9.
        b2: $\beta_2$, decay of the mean square, default 0.999.
        eps: $\epsilon$, default 1e-8.
        final_lr: $r$, learning rate at the end, default 0.1.
        gamma: $\gamma$, how fast the bounds close, default 0.001.
    """

    lr: Hyperparameter = 1e-3
    b1: Hyperparameter = 0.9
    b2: Hyperparameter = 0.999
    eps: Hyperparameter = 1e-8
    final_lr: Hyperparameter = 0.1
    gamma: Hyperparameter = 1e-3
    slots = ("m", "v")

    def rule(self, t, g, p, m, v):
        m = self.b1 * m + (1 - self.b1) * g
        v = self.b2 * v + (1 - self.b2) * g**2
        rate = self.lr * safe_sqrt(1 - self.b2**t) * debias(self.b1, t) / (safe_sqrt(v) + self.eps)
        low = self.final_lr * (1 - 1 / (self.gamma * t + 1))
        high = self.final_lr * (1 + 1 / (self.gamma * t))
        return -jnp.clip(rate, low, high) * m, m, v
