import jax
import jax.numpy as jnp

from fdl.optim._base import Hyperparameter, needed, optimizer
from fdl.optim._rule import Leafwise


@optimizer
class ASGD(Leafwise):
    r"""Averaged gradient descent: it moves by a slowly falling rate, and what is measured and kept is the mean of its way.

    $$\eta_t = \frac{\mathrm{lr}}{(1 + \lambda\, \mathrm{lr}\, (t - 1))^\alpha}, \qquad
    \theta_t = (1 - \lambda \eta_t)\, \theta_{t-1} - \eta_t g_t, \qquad
    \bar\theta_t = \bar\theta_{t-1} + \frac{\theta_t - \bar\theta_{t-1}}{\max(1, t - t_0)}$$

    Polyak & Juditsky 1992, "Acceleration of stochastic approximation by averaging"; the rate is of Xu 2011, "Towards optimal one
    pass large scale learning with averaged stochastic gradient descent". Equals `torch.optim.ASGD(t0=t0 - 1)`: PyTorch's mean
    begins a step later than its $t_0$ says. One slot: $\bar\theta$, which `evaluation_params` gives.

    Args:
        lr: learning rate, default 0.01.
        lambd: $\lambda$, which also decays the parameters, default 0.0001.
        alpha: $\alpha$, default 0.75.
        t0: $t_0$, the steps before the mean, default 0: over all iterates.
    """

    lr: Hyperparameter = 1e-2
    lambd: Hyperparameter = 1e-4
    alpha: Hyperparameter = 0.75
    t0: Hyperparameter = 0.0
    slots = ("mean",)

    def start(self, p):
        return (jnp.array(p, copy=True),)

    def rule(self, t, g, p, mean):
        p = needed(self, "params", p)
        rate = self.lr / (1 + self.lambd * self.lr * (t - 1)) ** self.alpha
        step = -rate * (g + self.lambd * p)
        return step, mean + (p + step - mean) / jnp.maximum(1, t - self.t0)

    def evaluation_params(self, state, params):
        return jax.tree.map(lambda mean, p: mean.astype(p.dtype), state["mean"], params)
