from fdl.optim._base import Hyperparameter, optimizer
from fdl.optim._rule import Leafwise, safe_sqrt


@optimizer
class Adadelta(Leafwise):
    r"""Adagrad with a window, and steps in the units of the parameters.

    $$E_t = \rho E_{t-1} + (1 - \rho) g_t^2, \qquad
      d_t = \frac{\sqrt{D_{t-1} + \epsilon}}{\sqrt{E_t + \epsilon}}\, g_t, \qquad
      D_t = \rho D_{t-1} + (1 - \rho) d_t^2, \qquad
      \theta_t = \theta_{t-1} - \mathrm{lr}\, d_t$$

    Zeiler 2012, "ADADELTA: an adaptive learning rate method", algorithm 1, which has no rate: lr = 1. $D$ gathers $d$
    before the rate is applied, as in optax and PyTorch. Equals `optax.adadelta` (whose own defaults, without a rate,
    ascend) and `torch.optim.Adadelta`, given the same values. Two slots: $E$ and $D$.

    Args:
        lr: default 1, the paper's rule.
        rho: $\rho$, decay of both averages, default 0.95.
        eps: $\epsilon$, default 1e-6; it alone sets the size of the first steps.
    """

    lr: Hyperparameter = 1.0
    rho: Hyperparameter = 0.95
    eps: Hyperparameter = 1e-6
    slots = ("E", "D")
    optax_slots = ("e_g", "e_x")

    def rule(self, t, g, p, E, D):
        E = self.rho * E + (1 - self.rho) * g**2
        ratio = (D + self.eps) / (E + self.eps)  # of the squares: D needs no root
        D = self.rho * D + (1 - self.rho) * ratio * g**2
        return -self.lr * safe_sqrt(ratio) * g, E, D

    def in_optax(self, optax):
        return optax.adadelta(self.lr, self.rho, self.eps)
