import jax.numpy as jnp

from fdl.optim._base import Hyperparameter, optimizer, static
from fdl.optim._rule import Leafwise, safe_sqrt


@optimizer
class Adagrad(Leafwise):
    r"""Adaptive gradient: each coordinate's rate falls with the squared gradients that it has seen.

    $$G_t = G_{t-1} + g_t^2, \qquad \theta_t = \theta_{t-1} - \mathrm{lr}\, g_t / (\sqrt{G_t} + \epsilon)$$

    Duchi, Hazan & Singer 2011, "Adaptive subgradient methods", figure 1 with the diagonal matrix, whose $\delta$ is
    $\epsilon$. Equals `torch.optim.Adagrad`; `optax.adagrad` is `Adagrad(initial_accumulator=0.1, eps=1e-7,
    eps_in_sqrt=True)`. One slot: $G$.

    Args:
        lr: learning rate, default 0.01.
        initial_accumulator: $G_0$, default 0.
        eps: $\epsilon$, default 1e-10.
        eps_in_sqrt: divide by $\sqrt{G_t + \epsilon}$, as optax does; default no.
    """

    lr: Hyperparameter = 1e-2
    initial_accumulator: Hyperparameter = 0.0
    eps: Hyperparameter = 1e-10
    eps_in_sqrt: bool = static(default=False)
    slots = ("G",)
    optax_slots = ("sum_of_squares",)

    def start(self, p):
        return (jnp.full_like(p, self.initial_accumulator),)

    def rule(self, t, g, p, G):
        G = G + g**2
        root = safe_sqrt(G + self.eps) if self.eps_in_sqrt else safe_sqrt(G) + self.eps
        return -self.lr * g / root, G

    def in_optax(self, optax):
        return optax.adagrad(self.lr, self.initial_accumulator, self.eps) if self.eps_in_sqrt else None
