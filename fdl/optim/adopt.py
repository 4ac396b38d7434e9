import jax.numpy as jnp

from fdl.optim._base import Hyperparameter, optimizer, static
from fdl.optim._rule import Decayed, safe_sqrt
from fdl.optim.decay import decay_mask


@optimizer
class ADOPT(Decayed):
    r"""Momentum of gradients divided by the mean square before them, so that it converges with any decay of that.

    $$m_t = \beta_1 m_{t-1} + (1 - \beta_1)\, \mathrm{clip}\Big(\frac{g_t}{\max(\sqrt{v_{t-1}}, \epsilon)}, \pm (t - 1)^c\Big), \qquad
    v_t = \beta_2 v_{t-1} + (1 - \beta_2) g_t^2, \qquad \theta_t = \theta_{t-1} - \mathrm{lr}\, m_t$$

    for $t \ge 2$; the first step only sets $v_1 = g_1^2$.

    Taniguchi et al. 2024, "ADOPT: modified Adam can converge with any $\beta_2$ with the optimal rate", algorithm 2, whose steps
    are counted from the second. Equals `optax.contrib.adopt`. Two slots: $m$ and $v$.

    Args:
        lr: learning rate, default 0.001.
        b1: $\beta_1$, decay of the mean, default 0.9.
        b2: $\beta_2$, decay of the mean square, default 0.9999.
        eps: $\epsilon$, default 1e-6.
        clip_power: $c$, default 0.25.
        weight_decay: $\lambda$ of decoupled decay, $- \mathrm{lr}\, \lambda \theta_{t-1}$, default 0.
        clip: whether to clip, default yes; the paper's algorithm 1 does not.
        decay_only: patterns of the paths that decay, as `core.select` takes them; `"*"` for all.
    """

    lr: Hyperparameter = 1e-3
    b1: Hyperparameter = 0.9
    b2: Hyperparameter = 0.9999
    eps: Hyperparameter = 1e-6
    clip_power: Hyperparameter = 0.25
    weight_decay: Hyperparameter = 0.0
    clip: bool = static(default=True)
    decay_only: str | tuple[str, ...] = static(default="*")
    slots = ("m", "v")
    optax_slots = ("mu", "nu")

    def rule(self, t, g, p, m, v):
        first = t == 1
        scaled = g / jnp.where(first, 1, jnp.maximum(safe_sqrt(v), self.eps))
        if self.clip:
            bound = jnp.maximum(t - 1, 1) ** self.clip_power
            scaled = jnp.clip(scaled, -bound, bound)
        m = jnp.where(first, m, self.b1 * m + (1 - self.b1) * scaled)
        v = jnp.where(first, g**2, self.b2 * v + (1 - self.b2) * g**2)
        return -self.lr * m, m, v

    def in_optax(self, optax):
        bound = lambda count: count**self.clip_power
        return optax.chain(
            optax.contrib.scale_by_adopt(self.b1, self.b2, self.eps, use_clipping=self.clip, clip_value_fn=bound),
            optax.add_decayed_weights(self.weight_decay, decay_mask(self)),
            optax.scale_by_learning_rate(self.lr),
        )
