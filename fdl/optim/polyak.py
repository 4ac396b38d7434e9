import jax
import jax.numpy as jnp

from fdl.optim._base import Hyperparameter, needed, optimizer, static
from fdl.optim._rule import Treewise
from fdl.optim._tree import dot, ratio


@optimizer
class Polyak(Treewise):
    r"""Stochastic gradient descent whose rate follows from the loss and its least value, capped.

    $$\theta_t = \theta_{t-1} - \min\left(\mathrm{lr}, \frac{f_t - f^*}{c\, \|g_t\|^2 + \epsilon}\right) g_t$$

    Loizou et al. 2021, "Stochastic Polyak step-size for SGD", SPS with a maximum, whose theory asks for $c \ge 1/2$; Polyak
    1987, "Introduction to optimization", has $c = 1$ and no cap. `positive` is SPS+ of Garrigos et al. 2023, "Function value
    learning". `optax.polyak_sgd` is `Polyak(c=1)`, but that it does not move where $\|g\|^2$ is below the machine's
    precision. No state. `update` takes the loss as `value=`.

    Args:
        lr: the cap, default 1.
        f_min: $f^*$, at most the least loss of a batch, default 0.
        c: $c$, default 0.5.
        eps: $\epsilon$, default 0.
        positive: whether a loss below $f^*$ moves nothing, instead of uphill; default yes.
    """

    lr: Hyperparameter = 1.0
    f_min: Hyperparameter = 0.0
    c: Hyperparameter = 0.5
    eps: Hyperparameter = 0.0
    positive: bool = static(default=True)

    def rule(self, t, g, p, state, value, objective):
        gap = needed(self, "value", value) - self.f_min
        gap = jnp.maximum(gap, 0) if self.positive else gap
        rate = jnp.minimum(self.lr, ratio(gap, self.c * dot(g, g) + self.eps))
        return jax.tree.map(lambda g: -rate * g, g), {}

    def in_optax(self, optax):
        variant = "sps+" if self.positive else "sps"
        sps = optax.scale_by_polyak(self.f_min, self.c * self.lr, self.eps / self.c, variant)
        return optax.chain(sps, optax.scale(-1 / self.c))
