import jax.numpy as jnp

from fdl.optim._base import Hyperparameter, optimizer, static
from fdl.optim._rule import Decayed
from fdl.optim.decay import decay_mask


@optimizer
class Lion(Decayed):
    r"""Evolved sign momentum: every coordinate moves by the rate, in the direction of a mean that leans to the last gradient.

    $$\theta_t = \theta_{t-1} - \mathrm{lr} \big(\mathrm{sign}(\beta_1 m_{t-1} + (1 - \beta_1) g_t) + \lambda \theta_{t-1}\big),
    \qquad m_t = \beta_2 m_{t-1} + (1 - \beta_2) g_t$$

    Chen et al. 2023, "Symbolic discovery of optimization algorithms", program 1 and algorithm 2. Equals `optax.lion`. It wants
    3 to 10 times smaller rates than AdamW, and as much more decay (section 5). One slot: $m$.

    Args:
        lr: the step of each coordinate, default 0.0001.
        b1: $\beta_1$, of the direction, default 0.9.
        b2: $\beta_2$, of the mean, default 0.99.
        weight_decay: $\lambda$, default 0.
        decay_only: patterns of the paths that decay, as `core.select` takes them; `"*"` for all.
    """

    lr: Hyperparameter = 1e-4
    b1: Hyperparameter = 0.9
    b2: Hyperparameter = 0.99
    weight_decay: Hyperparameter = 0.0
    decay_only: str | tuple[str, ...] = static(default="*")
    slots = ("m",)
    optax_slots = ("mu",)

    def rule(self, t, g, p, m):
        direction = jnp.sign(self.b1 * m + (1 - self.b1) * g)
        return -self.lr * direction, self.b2 * m + (1 - self.b2) * g

    def in_optax(self, optax):
        return optax.lion(self.lr, self.b1, self.b2, weight_decay=self.weight_decay, mask=decay_mask(self))
