from typing import Any

import jax
import jax.numpy as jnp

from fdl.optim._base import Hyperparameter, Tree, optimizer, static
from fdl.optim._rule import Treewise, _as, safe_sqrt
from fdl.optim._tree import copied, ratio, zero


class _ScheduleFree(Treewise):
    """Steps of `z`, an average `x` of them that is measured, and gradients at `y` between both. A base class.

    The parameters that are trained are y. z and y give x, which is not kept.
    """

    lr: Any
    b1: Any
    warmup: Any
    power: Any
    weight_decay: Any

    def start(self, p: Tree) -> dict[str, Any]:
        return {"z": copied(p), "weights": zero(p), "largest": zero(p)}

    def direction(self, t: jax.Array, g: Tree, state: dict[str, Any]) -> tuple[Any, Tree, dict[str, Any]]:
        """A factor of the rate, the step to take at rate 1, and new state of its own."""
        return 1, g, {}

    def rule(self, t, g, p, state, value, objective):
        factor, u, own = self.direction(t, g, state)
        rate = self.lr * factor * jnp.minimum(1, t / jnp.maximum(self.warmup, 1))
        largest = jnp.maximum(state["largest"], rate)
        weight = largest**self.power
        weights = state["weights"] + weight
        c = ratio(weight, weights)
        u = jax.tree.map(lambda u, y: u + self.weight_decay * y, u, p)
        z = jax.tree.map(lambda z, u: z - rate * u, state["z"], u)
        # (1 - b1) z' + b1 ((1 - c) x + c z') - y, with x = (y - (1 - b1) z) / b1 put in: no division by b1
        updates = jax.tree.map(lambda y, z, u: c * (z - y) - rate * (1 - self.b1 * (1 - c)) * u, p, state["z"], u)
        return updates, {"z": z, "weights": weights, "largest": largest, **own}

    def evaluation_params(self, state: Tree, params: Tree) -> Tree:
        b1 = jnp.asarray(self.at(state["step"]).b1)
        x = lambda y, z: (y.astype(z.dtype) - (1 - b1.astype(z.dtype)) * z) / b1.astype(z.dtype)
        return _as(jax.tree.map(x, params, state["z"]), params)


@optimizer
class ScheduleFreeSGD(_ScheduleFree):
    r"""Gradient descent without a schedule: averaging in the place of a falling rate, interpolation in that of momentum.

    $$\gamma_t = \mathrm{lr} \min(1, t / T), \qquad z_t = z_{t-1} - \gamma_t (g_t + \lambda y_{t-1}), \qquad
      c_t = \gamma_t^q / \textstyle\sum_{i \le t} \gamma_i^q$$
    $$x_t = (1 - c_t) x_{t-1} + c_t z_t, \qquad y_t = (1 - \beta_1) z_t + \beta_1 x_t$$

    The parameters are $y$, where gradients are taken; `evaluation_params` gives $x$, which is to be measured, with running
    statistics of its own where a network has them. Weights count by the largest rate so far. Defazio et al. 2024, "The road
    less scheduled", equations 2 to 4 and 23. Without warm-up equals `optax.contrib.schedule_free_sgd`, whose $z$ follows
    its warm-up one step later than its weights. State: $z$, the sum of weights, the largest rate.

    Args:
        lr: larger than without averaging; default 1.
        b1: $\beta_1$, above 0, default 0.9.
        warmup: $T$, steps of linear warm-up, default 0.
        power: $q$, default 2.
        weight_decay: $\lambda$, at $y$, default 0.
    """

    lr: Hyperparameter = 1.0
    b1: Hyperparameter = 0.9
    warmup: Hyperparameter = 0.0
    power: Hyperparameter = 2.0
    weight_decay: Hyperparameter = 0.0
    slots = ("z", "weights", "largest")
    optax_slots = ("z", "weight_sum", "max_lr")

    def in_optax(self, optax):
        if not _never(self.warmup):
            return None
        return optax.contrib.schedule_free_sgd(self.lr, None, self.b1, self.weight_decay, self.power)


@optimizer
class ScheduleFreeAdamW(_ScheduleFree):
    r"""AdamW without a schedule: `ScheduleFreeSGD` with steps of Adam without momentum.

    $$v_t = \beta_2 v_{t-1} + (1 - \beta_2) g_t^2, \qquad \gamma_t = \mathrm{lr} \sqrt{1 - \beta_2^t} \min(1, t / T), \qquad
      z_t = z_{t-1} - \gamma_t \left(\frac{g_t}{\sqrt{v_t} + \epsilon} + \lambda y_{t-1}\right)$$

    Defazio et al. 2024, "The road less scheduled", algorithm 1. Without warm-up `optax.contrib.schedule_free_adamw` is
    `as_optax`. State: $z$, $v$, the sum of weights, the largest rate.

    Args:
        lr: default 0.0025.
        b1: $\beta_1$, above 0, default 0.9.
        b2: $\beta_2$, default 0.999.
        eps: $\epsilon$, default 1e-8.
        warmup, power, weight_decay: as of `ScheduleFreeSGD`.
        as_optax: whether the bias is corrected in $v_t / (1 - \beta_2^t)$ instead of in $\gamma_t$, so that the first steps count
            in full, default no.
    """

    lr: Hyperparameter = 2.5e-3
    b1: Hyperparameter = 0.9
    b2: Hyperparameter = 0.999
    eps: Hyperparameter = 1e-8
    warmup: Hyperparameter = 0.0
    power: Hyperparameter = 2.0
    weight_decay: Hyperparameter = 0.0
    as_optax: bool = static(default=False)
    slots = ("z", "v", "weights", "largest")
    optax_slots = ("z", "nu", "weight_sum", "max_lr")

    def start(self, p):
        return {**super().start(p), "v": jax.tree.map(jnp.zeros_like, p)}

    def direction(self, t, g, state):
        v = jax.tree.map(lambda v, g: self.b2 * v + (1 - self.b2) * g**2, state["v"], g)
        seen = 1 - self.b2**t
        inside, factor = (seen, 1) if self.as_optax else (1, safe_sqrt(seen))
        return factor, jax.tree.map(lambda g, v: g / (safe_sqrt(v / inside) + self.eps), g, v), {"v": v}

    def in_optax(self, optax):
        if not self.as_optax or not _never(self.warmup):
            return None
        return optax.contrib.schedule_free_adamw(self.lr, None, self.b1, self.b2, self.eps, self.weight_decay, self.power)


def _never(warmup: Any) -> bool:
    return isinstance(warmup, (int, float)) and warmup == 0
