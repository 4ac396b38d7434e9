import jax.numpy as jnp

from fdl.optim._base import Hyperparameter, optimizer, static
from fdl.optim._rule import Leafwise, safe_sqrt


@optimizer
class RMSProp(Leafwise):
    r"""Divides the gradient by a running average of its magnitude.

    $$v_t = \rho v_{t-1} + (1 - \rho) g_t^2, \qquad \theta_t = \theta_{t-1} - \mathrm{lr}\, g_t / (\sqrt{v_t} + \epsilon)$$

    If centred, by its standard deviation, $v_t - m_t^2$ in the place of $v_t$ with $m_t = \rho m_{t-1} + (1 - \rho) g_t$. With
    momentum, $b_t = \mu b_{t-1} - \mathrm{lr}\, g_t / (\sqrt{v_t} + \epsilon)$ and $\theta_t = \theta_{t-1} + b_t$.

    Tieleman & Hinton 2012, "Lecture 6.5: rmsprop", COURSERA: Neural Networks for Machine Learning, which has no $\epsilon$;
    centred and with momentum, Graves 2013, "Generating sequences with recurrent neural networks", equations 38 to 41, which
    has `eps_in_sqrt`. Equals `torch.optim.RMSprop(alpha=decay)`, whose buffer is without the rate, and
    `optax.rmsprop(eps_in_sqrt=False)`; optax's default is `eps_in_sqrt=True`. Slots: $v$, and where they are used $m$ and $b$.

    Args:
        lr: learning rate, default 0.001.
        decay: $\rho$, default 0.9.
        eps: $\epsilon$, default 1e-8.
        momentum: $\mu$; `None`, the default, for none.
        eps_in_sqrt: divide by $\sqrt{v_t + \epsilon}$, default no.
        centered: whether to subtract the squared mean, default no.
    """

    lr: Hyperparameter = 1e-3
    decay: Hyperparameter = 0.9
    eps: Hyperparameter = 1e-8
    momentum: Hyperparameter | None = None
    eps_in_sqrt: bool = static(default=False)
    centered: bool = static(default=False)

    @property
    def slots(self):
        return ("v", *["m"] * self.centered, *["b"] * (self.momentum is not None))

    @property
    def optax_slots(self):
        return ("nu", *["mu"] * self.centered, *["trace"] * (self.momentum is not None))

    def rule(self, t, g, p, v, *rest):
        v = self.decay * v + (1 - self.decay) * g**2
        m = [self.decay * rest[0] + (1 - self.decay) * g] if self.centered else []
        square = jnp.maximum(v - m[0] ** 2, 0) if self.centered else v  # rounding may make it negative
        root = safe_sqrt(square + self.eps) if self.eps_in_sqrt else safe_sqrt(square) + self.eps
        step = -self.lr * g / root
        b = [] if self.momentum is None else [self.momentum * rest[-1] + step]
        return b[0] if b else step, v, *m, *b

    def in_optax(self, optax):
        return optax.rmsprop(self.lr, self.decay, self.eps, eps_in_sqrt=self.eps_in_sqrt, centered=self.centered, momentum=self.momentum)
