import jax
import jax.numpy as jnp

from fdl.optim._base import Hyperparameter, needed, optimizer, static
from fdl.optim._rule import Treewise, selected
from fdl.optim._wrapper import whole


@optimizer
class Sophia(Treewise):
    r"""Momentum over an estimate of the Hessian's diagonal, clipped coordinate by coordinate.

    $$m_t = \beta_1 m_{t-1} + (1 - \beta_1) g_t, \qquad
      h_t = \begin{cases} \beta_2 h_{t-1} + (1 - \beta_2)\, u \odot \nabla^2 L_t(\theta_{t-1})\, u & t \equiv 1 \pmod k \\
      h_{t-1} & \text{otherwise} \end{cases}$$
    $$\theta_t = \theta_{t-1} - \mathrm{lr} \left(\mathrm{clip}\Big(\frac{m_t}{\max(\gamma h_t, \epsilon)}, 1\Big)
      + \lambda \theta_{t-1}\right), \qquad u \sim N(0, I)$$

    Liu et al. 2024, "Sophia: a scalable stochastic second-order optimizer for language model pre-training", algorithms 1 and
    3: Sophia-H, with Hutchinson's estimator. Their other one, Gauss-Newton-Bartlett, needs labels drawn from the model's own
    predictions; a batch's loss as a function of parameters holds its labels, so it cannot be had from there. Where the
    curvature is unknown or negative the step is lr against the sign of $m$: the first steps, from $h_0 = 0$, are such, as in
    the paper. `optax.contrib.sophia` is the same rule with other random numbers. A Hessian-vector product costs about two
    gradients, every $k$ steps. State: $m$ and $h$.

    Args:
        lr: learning rate, default 0.001.
        b1: $\beta_1$, default 0.96.
        b2: $\beta_2$, default 0.99.
        gamma: $\gamma$, default 0.01: so that a tenth to a half of the coordinates are not clipped.
        eps: $\epsilon$, default 1e-12.
        weight_decay: $\lambda$, default 0.
        seed: of $u$, default 0.
        every: $k$, default 10.
        decay_only: patterns of the paths that decay, as `core.select` takes them; `"*"` for all.
    """

    lr: Hyperparameter = 1e-3
    b1: Hyperparameter = 0.96
    b2: Hyperparameter = 0.99
    gamma: Hyperparameter = 0.01
    eps: Hyperparameter = 1e-12
    weight_decay: Hyperparameter = 0.0
    seed: Hyperparameter = 0
    every: int = static(default=10)
    decay_only: str | tuple[str, ...] = static(default="*")

    @property
    def gradients_per_step(self):
        return 1 + 2 / self.every

    def start(self, p):
        zeros = lambda: jax.tree.map(jnp.zeros_like, p)
        return {"m": zeros(), "h": zeros()}

    def rule(self, t, g, p, state, value, objective):
        objective = needed(self, "objective", objective)
        m = jax.tree.map(lambda m, g: self.b1 * m + (1 - self.b1) * g, state["m"], g)

        def estimated(h):
            u = normal(self.seed, t, p)
            Hu = jax.jvp(jax.grad(objective), (p,), (u,))[1]
            return jax.tree.map(lambda h, u, Hu: self.b2 * h + (1 - self.b2) * u * Hu, h, u, Hu)

        h = jax.lax.cond((t - 1) % self.every == 0, estimated, lambda h: h, state["h"])
        decays = jax.tree.structure(p).unflatten(selected(p, self.decay_only))

        def step(m, h, p, decays):
            clipped = jnp.clip(m / jnp.maximum(self.gamma * h, self.eps), -1, 1)
            return -self.lr * (clipped + self.weight_decay * p if decays else clipped)

        return jax.tree.map(step, m, h, p, decays), {"m": m, "h": h}


def normal(seed, t, like):
    """Standard normal numbers in the form of a tree, a function of seed and step alone."""
    key = jax.random.fold_in(jax.random.key(whole(seed)), t.astype(jnp.int32))
    leaves, tree = jax.tree.flatten(like)
    return tree.unflatten([jax.random.normal(k, x.shape, x.dtype) for k, x in zip(jax.random.split(key, len(leaves)), leaves)])
