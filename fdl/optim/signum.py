import jax.numpy as jnp

from fdl.optim._base import Hyperparameter, optimizer
from fdl.optim._rule import Leafwise


@optimizer
class Signum(Leafwise):
    r"""The sign of momentum: every coordinate moves by the rate.

    $$m_t = \beta m_{t-1} + (1 - \beta) g_t, \qquad \theta_t = \theta_{t-1} - \mathrm{lr}\, \mathrm{sign}(m_t)$$

    Bernstein et al. 2018, "signSGD: compressed optimisation for non-convex problems", algorithm 2; $\beta = 0$ is its
    algorithm 1, signSGD. Equals `optax.signum` and `optax.sign_sgd`. One slot: $m$.

    Args:
        lr: the step of each coordinate, default 0.0001.
        beta: $\beta$, default 0.9.
    """

    lr: Hyperparameter = 1e-4
    beta: Hyperparameter = 0.9
    slots = ("m",)
    optax_slots = ("ema",)

    def rule(self, t, g, p, m):
        m = self.beta * m + (1 - self.beta) * g
        return -self.lr * jnp.sign(m), m

    def in_optax(self, optax):
        return optax.signum(self.lr, self.beta)
