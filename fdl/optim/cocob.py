import jax.numpy as jnp

from fdl.optim._base import Hyperparameter, needed, optimizer
from fdl.optim._rule import Leafwise


@optimizer
class COCOB(Leafwise):
    r"""Continuous coin betting: each coordinate bets a share of what it has won so far; there is no learning rate.

    $$L_t = \max(L_{t-1}, |g_t|), \qquad G_t = G_{t-1} + |g_t|, \qquad
      R_t = \max(R_{t-1} - g_t (\theta_{t-1} - \theta_0), 0), \qquad h_t = h_{t-1} - g_t$$
    $$\theta_t = \theta_0 + \frac{h_t}{L_t \max(G_t + L_t, \alpha L_t)} (L_t + R_t), \qquad L_0 = \epsilon$$

    Orabona & Tommasi 2017, "Training deep networks without learning rates through coin betting", algorithm 2. Equals
    `optax.contrib.cocob`. Five slots: $\theta_0$, $h$, $L$, $G$ and $R$.

    Args:
        alpha: $\alpha$, which keeps the first bets small, default 100.
        eps: $\epsilon$, default 1e-8.
    """

    alpha: Hyperparameter = 100.0
    eps: Hyperparameter = 1e-8
    slots = ("start", "h", "L", "G", "R")
    optax_slots = ("init_particles", "cumulative_gradients", "scale", "subgradients", "reward")

    def start(self, p):
        return jnp.copy(p), jnp.zeros_like(p), jnp.full_like(p, self.eps), jnp.zeros_like(p), jnp.zeros_like(p)

    def rule(self, t, g, p, start, h, L, G, R):
        moved = needed(self, "params", p) - start
        L = jnp.maximum(L, abs(g))
        G = G + abs(g)
        R = jnp.maximum(R - g * moved, 0)
        h = h - g
        return h / (L * jnp.maximum(G + L, self.alpha * L)) * (L + R) - moved, start, h, L, G, R

    def in_optax(self, optax):
        return optax.contrib.cocob(1.0, self.alpha, self.eps)
