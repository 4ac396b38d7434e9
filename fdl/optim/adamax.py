import jax.numpy as jnp

from fdl.optim._base import Hyperparameter, optimizer
from fdl.optim._pieces import debias
from fdl.optim._rule import Leafwise


@optimizer
class Adamax(Leafwise):
    r"""Adam with the infinity norm: the largest gradient seen, slowly forgotten, in the place of the mean square.

    $$m_t = \beta_1 m_{t-1} + (1 - \beta_1) g_t, \qquad u_t = \max(\beta_2 u_{t-1}, |g_t| + \epsilon), \qquad
    \theta_t = \theta_{t-1} - \mathrm{lr}\, \frac{m_t / (1 - \beta_1^t)}{u_t}$$

    Kingma & Ba 2015, "Adam: a method for stochastic optimization", algorithm 2, where $\epsilon$ = 0 and a coordinate without
    gradient is 0/0. Equals `optax.adamax` and `torch.optim.Adamax`. Two slots: $m$ and $u$.

    Args:
        lr: learning rate, default 0.002.
        b1: $\beta_1$, default 0.9.
        b2: $\beta_2$, default 0.999.
        eps: $\epsilon$, default 1e-8.
    """

    lr: Hyperparameter = 2e-3
    b1: Hyperparameter = 0.9
    b2: Hyperparameter = 0.999
    eps: Hyperparameter = 1e-8
    slots = ("m", "u")
    optax_slots = ("mu", "nu")

    def rule(self, t, g, p, m, u):
        m = self.b1 * m + (1 - self.b1) * g
        u = jnp.maximum(self.b2 * u, jnp.abs(g) + self.eps)
        return -self.lr * debias(self.b1, t) * m / u, m, u

    def in_optax(self, optax):
        return optax.adamax(self.lr, self.b1, self.b2, self.eps)
