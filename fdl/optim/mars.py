import jax
import jax.numpy as jnp

from fdl.optim._base import Hyperparameter, needed, optimizer, static
from fdl.optim._pieces import debias
from fdl.optim._rule import Treewise, safe_sqrt, selected
from fdl.optim._tree import norm


@optimizer
class MARS(Treewise):
    r"""AdamW of gradients from which variance has been taken by what the step before it changed.

    $$c_t = g_t + \gamma \frac{\beta_1}{1 - \beta_1} (g_t - g'_t), \qquad \tilde c_t = \frac{c_t}{\max(1, \|c_t\|)}, \qquad
    m_t = \beta_1 m_{t-1} + (1 - \beta_1) \tilde c_t, \qquad v_t = \beta_2 v_{t-1} + (1 - \beta_2) \tilde c_t^2$$
    $$\theta_t = \theta_{t-1} - \mathrm{lr} \Big(\frac{m_t / (1 - \beta_1^t)}{\sqrt{v_t / (1 - \beta_2^t)} + \epsilon}
    + \lambda \theta_{t-1}\Big)$$

    where $g'_t$ is the last step's gradient or, if `exact`, the gradient of this step's batch at the parameters before the last
    step, which costs another one; $g'_1 = g_1$.

    Yuan et al. 2024, "MARS: unleashing the power of variance reduction for training large models", algorithm 2; most of its
    experiments are not exact. Its code clips each array by its own norm: `clip_each`. Neither optax nor PyTorch has it.
    State: `m`, `v`, and `last`: the last gradient or parameters.

    Args:
        lr: learning rate, default 0.003.
        b1: $\beta_1$, decay of the mean, default 0.95.
        b2: $\beta_2$, decay of the mean square, default 0.99.
        eps: $\epsilon$, default 1e-8.
        gamma: $\gamma$, default 0.025.
        weight_decay: $\lambda$, default 0.
        exact: whether to compute $g'_t$ on this step's batch, default no.
        clip_each: whether to clip array by array, default no.
        decay_only: patterns of the paths that decay, as `core.select` takes them; `"*"` for all.
    """

    lr: Hyperparameter = 3e-3
    b1: Hyperparameter = 0.95
    b2: Hyperparameter = 0.99
    eps: Hyperparameter = 1e-8
    gamma: Hyperparameter = 0.025
    weight_decay: Hyperparameter = 0.0
    exact: bool = static(default=False)
    clip_each: bool = static(default=False)
    decay_only: str | tuple[str, ...] = static(default="*")

    @property
    def gradients_per_step(self):
        return 2 if self.exact else 1

    def start(self, p):
        zeros = lambda: jax.tree.map(jnp.zeros_like, p)
        return {"m": zeros(), "v": zeros(), "last": jax.tree.map(lambda x: jnp.array(x, copy=True), p) if self.exact else zeros()}

    def rule(self, t, g, p, state, value, objective):
        before = jax.grad(needed(self, "objective", objective))(state["last"]) if self.exact else state["last"]
        weight = self.gamma * self.b1 / (1 - self.b1)
        c = jax.tree.map(lambda g, old: g + weight * jnp.where(t == 1, 0, g - old), g, before)
        whole = norm(c)
        c = jax.tree.map(lambda x: x / jnp.maximum(1, norm(x) if self.clip_each else whole), c)
        m = jax.tree.map(lambda m, c: self.b1 * m + (1 - self.b1) * c, state["m"], c)
        v = jax.tree.map(lambda v, c: self.b2 * v + (1 - self.b2) * c**2, state["v"], c)

        def step(m, v, p, decays):
            direction = debias(self.b1, t) * m / (safe_sqrt(v * debias(self.b2, t)) + self.eps)
            return -self.lr * (direction + self.weight_decay * p if decays else direction)

        decays = jax.tree.unflatten(jax.tree.structure(p), selected(p, self.decay_only))
        return jax.tree.map(step, m, v, p, decays), {"m": m, "v": v, "last": p if self.exact else g}
