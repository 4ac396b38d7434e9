from fdl.optim._base import Hyperparameter, optimizer
from fdl.optim._rule import Leafwise


@optimizer
class SGD(Leafwise):
    r"""Stochastic gradient descent.

    $$\theta_t = \theta_{t-1} - \mathrm{lr}\, g_t$$

    Robbins & Monro 1951, "A stochastic approximation method", equation 6. Equals `optax.sgd` and `torch.optim.SGD`
    without momentum. No state.

    Args:
        lr: learning rate, default 0.01.
    """

    lr: Hyperparameter = 1e-2

    def rule(self, t, g, p):
        return (-self.lr * g,)

    def in_optax(self, optax):
        return optax.sgd(self.lr)
