from typing import Any, Literal

import jax
import jax.numpy as jnp

from fdl.optim._base import Hyperparameter, Tree, needed, optimizer, static
from fdl.optim._line_search import backtracked, wolfe
from fdl.optim._rule import Treewise
from fdl.optim._tree import dot, minus, norm, ratio, zero


@optimizer
class LBFGS(Treewise):
    r"""Limited-memory BFGS: a quasi-Newton direction from the last steps and changes of the gradient, and a line search.

    $$s_k = \theta_k - \theta_{k-1}, \qquad y_k = g_{k+1} - g_k, \qquad \rho_k = 1 / (y_k^\top s_k), \qquad
      \gamma = s_k^\top y_k / \|y_k\|^2$$
    $$H \leftarrow (I - \rho_k s_k y_k^\top) H (I - \rho_k y_k s_k^\top) + \rho_k s_k s_k^\top \quad
      \text{from } \gamma I \text{ for the last } m \text{ pairs}, \qquad \theta_{t} = \theta_{t-1} - a_t H g_t$$

    $H g$ by the recursion of two loops: Nocedal & Wright 2006, "Numerical optimization", algorithm 7.4; Liu & Nocedal 1989, "On
    the limited memory BFGS method for large scale optimization". In the first step $H = \min(1, 1 / \|g\|)$. The step length
    $a_t$ is `lr`; with `search` it begins there, and `update` takes `value=` and `objective=`:

    - `"backtracking"` shrinks it until the loss falls by $c_1$ of what the slope promises (Armijo). A trial costs the loss.
    - `"wolfe"` brackets, and interpolates until the slope has shrunk as well, to $c_2$ (algorithms 3.5 and 3.6), after which
      every pair has positive curvature. A trial costs a gradient. Derivatives by hyperparameters take $a_t$ as constant.

    Under `vmap` all run as many trials as the slowest. `gradients_per_step` counts one trial, a loss as a third of a gradient.
    Pairs without positive curvature are left out; `optax.lbfgs` keeps them (`keep_all`), and its zoom line search takes other
    trials. State: the memory of $s$, $y$ and $\rho$, the last parameters and gradient.

    Args:
        lr: $a_t$, default 1.
        c1: $c_1$, default 1e-4.
        c2: $c_2$, default 0.9.
        shrink: the factor from trial to trial of backtracking, default 0.5.
        memory: $m$, default 10.
        search: how $a_t$ is found, default `"wolfe"`; `None` takes `lr`.
        trials: how many at most after the first, default 20.
        keep_all: default no.
    """

    lr: Hyperparameter = 1.0
    c1: Hyperparameter = 1e-4
    c2: Hyperparameter = 0.9
    shrink: Hyperparameter = 0.5
    memory: int = static(default=10)
    search: Literal["wolfe", "backtracking"] | None = static(default="wolfe")
    trials: int = static(default=20)
    keep_all: bool = static(default=False)
    slots = ("s", "y", "rho", "params", "grads")
    optax_slots = ("diff_params_memory", "diff_updates_memory", "weights_memory", "params", "updates")

    @property
    def gradients_per_step(self):
        return {None: 1, "backtracking": 1 + 1 / 3, "wolfe": 2}[self.search]

    def start(self, p):
        zeros = lambda *axes: jax.tree.map(lambda x: jnp.zeros((*axes, *x.shape), x.dtype), p)
        m = self.memory
        return {"s": zeros(m), "y": zeros(m), "rho": jnp.zeros(m, zero(p).dtype), "params": zeros(), "grads": zeros()}

    def rule(self, t, g, p, state, value, objective):
        count = t.astype(jnp.int32) - 1
        s, y = minus(p, state["params"]), minus(g, state["grads"])
        curvature = dot(s, y)
        keep = (t > 1) & ((curvature > 0) | self.keep_all)
        put = lambda memory, new: jax.tree.map(lambda m, x: m.at[(count - 1) % self.memory].set(jnp.where(t > 1, x, 0)), memory, new)
        state = {
            "s": put(state["s"], s), "y": put(state["y"], y), "rho": put(state["rho"], jnp.where(keep, ratio(1.0, curvature), 0)),
            "params": p, "grads": g,
        }  # fmt: skip
        gamma = jnp.where(keep, ratio(curvature, dot(y, y)), jnp.minimum(1, ratio(1.0, norm(g))))
        direction = jax.tree.map(jnp.negative, self._product(g, gamma, count, state))
        rate = self._length(direction, g, p, value, objective)
        return jax.tree.map(lambda d: rate * d, direction), state

    def _product(self, g: Tree, gamma: Any, count: jax.Array, state: dict[str, Any]) -> Tree:
        """H g, by the recursion of two loops over the memory."""
        m = self.memory
        pair = lambda i: jax.tree.map(lambda x: x[i], (state["s"], state["y"], state["rho"]))
        along = lambda q, weight, v: jax.tree.map(lambda q, v: q + weight * v, q, v)

        def down(j: Any, carry: Any) -> Any:
            q, alphas = carry
            i = (count - 1 - j) % m
            s, y, rho = pair(i)
            alpha = rho * dot(s, q)
            return along(q, -alpha, y), alphas.at[i].set(alpha)

        def up(j: Any, carry: Any) -> Any:
            r, alphas = carry
            i = (count + j) % m
            s, y, rho = pair(i)
            return along(r, alphas[i] - rho * dot(y, r), s), alphas

        q, alphas = jax.lax.fori_loop(0, m, down, (g, jnp.zeros_like(state["rho"])))
        return jax.lax.fori_loop(0, m, up, (jax.tree.map(lambda x: gamma * x, q), alphas))[0]

    def _length(self, direction: Tree, g: Tree, p: Tree, value: Any, objective: Any) -> Any:
        if self.search is None:
            return self.lr
        value, objective = needed(self, "value", value), needed(self, "objective", objective)
        p, d = jax.lax.stop_gradient((p, direction))
        phi = lambda a: objective(jax.tree.map(lambda p, d: p + a * d, p, d))
        slope = dot(g, direction)
        if self.search == "backtracking":
            return backtracked(phi, value, slope, self.lr, self.shrink, self.c1, self.trials)
        return wolfe(jax.value_and_grad(phi), value, slope, self.lr, self.c1, self.c2, 1 + self.trials)

    def in_optax(self, optax):
        if not self.keep_all or self.search == "wolfe":
            return None
        search = None
        if self.search:
            search = optax.scale_by_backtracking_linesearch(
                self.trials, self.c1, self.shrink, increase_factor=float("inf"), max_learning_rate=1.0
            )
        return optax.lbfgs(self.lr, self.memory, linesearch=search)
