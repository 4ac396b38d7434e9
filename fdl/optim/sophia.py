from typing import Any

import jax
import jax.numpy as jnp

from fdl.optim._base import Hyperparameter, Tree, needed, optimizer, static
from fdl.optim._rule import Treewise, selected
from fdl.optim._wrapper import whole


@optimizer
class Sophia(Treewise):
    r"""Momentum over an estimate of the Hessian's diagonal, each coordinate's step clipped at the rate.

    $$m_t = \beta_1 m_{t-1} + (1 - \beta_1) g_t, \qquad
      h_t = \beta_2 h_{t-1} + (1 - \beta_2)\, u \odot \nabla^2 f_t\, u \quad \text{every $k$ steps, else } h_{t-1}$$
    $$\theta_t = \theta_{t-1} - \mathrm{lr}\, \left(\mathrm{clip}\left(\frac{m_t}{\max(\gamma h_t, \epsilon)}, 1\right)
      + \lambda \theta_{t-1}\right)$$

    with $u$ drawn anew, normal, or $\pm 1$ with `signs`: Hutchinson's estimator, by a Hessian-vector product of `objective=`,
    which costs about two gradients. Liu et al. 2024, "Sophia: a scalable stochastic second-order optimizer for language model
    pre-training", algorithm 3 with algorithm 1. Their other estimator, Gauss-Newton-Bartlett, needs labels drawn from the model's
    own predictions: an objective, a loss of given labels, hides these. `optax.contrib.sophia` corrects the bias of $m$ and
    divides by $h_{t-1}$, so that its first steps are signs (`as_optax`), and draws signs. State: $m$ and $h$.

    Args:
        lr: the largest step of a coordinate, default 1e-3.
        b1: $\beta_1$, default 0.96.
        b2: $\beta_2$, default 0.99.
        eps: $\epsilon$, default 1e-12.
        gamma: $\gamma$, default 0.01: such that a tenth to a half of the coordinates is not clipped.
        weight_decay: $\lambda$, default 0.1.
        every: $k$, default 10.
        seed: of the draws.
        signs: default no.
        as_optax: default no.
        decay_only: patterns of the paths that decay, as `core.select` takes them; all by default.
    """

    lr: Hyperparameter = 1e-3
    b1: Hyperparameter = 0.96
    b2: Hyperparameter = 0.99
    eps: Hyperparameter = 1e-12
    gamma: Hyperparameter = 0.01
    weight_decay: Hyperparameter = 0.1
    every: Hyperparameter = 10.0
    seed: int = static(default=0)
    signs: bool = static(default=False)
    as_optax: bool = static(default=False)
    decay_only: str | tuple[str, ...] = static(default="*")
    slots = ("m", "h")
    optax_slots = ("mu", "nu")

    @property
    def gradients_per_step(self):
        return 1 + 2 / self.every

    def start(self, p):
        return {"m": jax.tree.map(jnp.zeros_like, p), "h": jax.tree.map(jnp.zeros_like, p)}

    def rule(self, t, g, p, state, value, objective):
        objective = needed(self, "objective", objective)
        m = jax.tree.map(lambda m, g: self.b1 * m + (1 - self.b1) * g, state["m"], g)
        before, every = t.astype(jnp.int32) - 1, jnp.maximum(whole(self.every), 1)

        def estimate() -> Tree:
            found = self.diagonal(before // every, p, objective)
            return jax.tree.map(lambda h, new: self.b2 * h + (1 - self.b2) * new, state["h"], found)

        h = jax.lax.cond(before % every == 0, estimate, lambda: state["h"])
        correction = 1 - self.b1**t if self.as_optax else 1
        decays = jax.tree.structure(p).unflatten(selected(p, self.decay_only))

        def step(m: Any, h: Any, p: Any, decays: bool) -> Any:
            u = jnp.clip(m / correction / jnp.maximum(self.gamma * h, self.eps), -1, 1)
            return -self.lr * (u + self.weight_decay * p if decays else u)

        return jax.tree.map(step, m, state["h"] if self.as_optax else h, p, decays), {"m": m, "h": h}

    def diagonal(self, number: jax.Array, p: Tree, objective: Any) -> Tree:
        """Hutchinson's estimate of the Hessian's diagonal at p, by the draws of this number."""
        tree: Any
        leaves, tree = jax.tree.flatten(p)
        keys = jax.random.split(jax.random.fold_in(jax.random.key(self.seed), number), len(leaves))
        # Drawn in float32 in every precision: the same draws.
        draw = jax.random.rademacher if self.signs else jax.random.normal
        u = tree.unflatten([draw(key, x.shape, jnp.float32).astype(x.dtype) for key, x in zip(keys, leaves)])
        return jax.tree.map(jnp.multiply, u, jax.jvp(jax.grad(objective), (p,), (u,))[1])

    def in_optax(self, optax):
        if not self.as_optax or self.decay_only != "*":
            return None

        def estimate(updates: Any, number: Any, params: Any = None, obj_fn: Any = None, **_: Any) -> Any:
            return self.diagonal(number, params, obj_fn), number + 1

        estimator = optax.GradientTransformationExtraArgs(lambda params: jnp.zeros((), jnp.int32), estimate)
        return optax.contrib.sophia(self.lr, self.b1, self.b2, self.eps, self.weight_decay, None, self.gamma, 1.0, self.every, estimator)
