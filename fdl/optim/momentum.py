from fdl.optim._base import Hyperparameter, optimizer, static
from fdl.optim._rule import Leafwise


@optimizer
class Momentum(Leafwise):
    r"""Gradient descent with heavy-ball or Nesterov momentum.

    $$b_t = \mu b_{t-1} + g_t, \qquad \theta_t = \theta_{t-1} - \mathrm{lr}\, b_t$$

    or, with Nesterov momentum, $\theta_t = \theta_{t-1} - \mathrm{lr}\, (g_t + \mu b_t)$.

    Polyak 1964, "Some methods of speeding up the convergence of iteration methods", equation 9; Sutskever et al. 2013,
    "On the importance of initialization and momentum in deep learning", equations 1 to 4, whose velocity is
    $-\mathrm{lr}\, b_t$: the same rule while the rate is constant. Equals `optax.sgd(momentum=)` and
    `torch.optim.SGD(momentum=)` with dampening 0. One slot: $b$.

    Args:
        lr: learning rate, default 0.01.
        momentum: $\mu$, default 0.9.
        nesterov: whether the gradient is looked up ahead, default no.
    """

    lr: Hyperparameter = 1e-2
    momentum: Hyperparameter = 0.9
    nesterov: bool = static(default=False)
    slots = ("b",)
    optax_slots = ("trace",)

    def rule(self, t, g, p, b):
        b = self.momentum * b + g
        return -self.lr * (g + self.momentum * b if self.nesterov else b), b

    def in_optax(self, optax):
        return optax.sgd(self.lr, self.momentum, self.nesterov)
