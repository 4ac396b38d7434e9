from fdl.optim._base import Hyperparameter, optimizer, static
from fdl.optim._rule import Leafwise, safe_sqrt


@optimizer
class RMSProp(Leafwise):
    r"""Divides the gradient by a running average of its magnitude.

    $$v_t = \rho v_{t-1} + (1 - \rho) g_t^2, \qquad \theta_t = \theta_{t-1} - \mathrm{lr}\, g_t / (\sqrt{v_t} + \epsilon)$$

    Tieleman & Hinton 2012, "Lecture 6.5: rmsprop", COURSERA: Neural Networks for Machine Learning. The lecture has no
    $\epsilon$. Equals `torch.optim.RMSprop(alpha=decay)` and `optax.rmsprop(eps_in_sqrt=False)`; optax's default is
    `eps_in_sqrt=True`. One slot: $v$.

    Args:
        lr: learning rate, default 0.001.
        decay: $\rho$, default 0.9.
        eps: $\epsilon$, default 1e-8.
        eps_in_sqrt: divide by $\sqrt{v_t + \epsilon}$, default no.
    """

    lr: Hyperparameter = 1e-3
    decay: Hyperparameter = 0.9
    eps: Hyperparameter = 1e-8
    eps_in_sqrt: bool = static(default=False)
    slots = ("v",)
    optax_slots = ("nu",)

    def rule(self, t, g, p, v):
        v = self.decay * v + (1 - self.decay) * g**2
        root = safe_sqrt(v + self.eps) if self.eps_in_sqrt else safe_sqrt(v) + self.eps
        return -self.lr * g / root, v

    def in_optax(self, optax):
        return optax.rmsprop(self.lr, self.decay, self.eps, eps_in_sqrt=self.eps_in_sqrt)
