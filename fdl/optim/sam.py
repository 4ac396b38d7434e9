import jax
import jax.numpy as jnp

from fdl.optim._base import Hyperparameter, call_update, gradients_per_step, needed, optimizer, static
from fdl.optim._optax import fill_ours, fill_theirs, in_optax
from fdl.optim._rule import _all, _common
from fdl.optim._wrapper import Wrapper
from fdl.optim.clipping import global_norm


@optimizer
class SAM(Wrapper):
    r"""Sharpness-aware minimisation: descends by the gradient at the worst point nearby, where it points uphill.

    $$\epsilon_t = \rho\, \frac{g_t}{\|g_t\|}, \qquad \tilde g_t = \nabla L_t(\theta_{t-1} + \epsilon_t)$$

    or, adaptive, $\epsilon_t = \rho\, T^2 g_t / \|T g_t\|$ with $T = |\theta_{t-1}| + \eta$. The inner optimizer is given
    $\tilde g_t$, and the loss there. A step costs a second gradient of the same batch.

    Foret et al. 2021, "Sharpness-aware minimization for efficiently improving generalization", algorithm 1; Kwon et al. 2021,
    "ASAM: adaptive sharpness-aware minimization", algorithm 1, whose $\rho$ is about ten times as large. Equals
    `optax.contrib.sam(..., opaque_mode=True)` with a normalised step of $\rho$. No state beside the inner one.

    Args:
        inner: any optimizer.
        rho: $\rho$, default 0.05.
        eta: $\eta$, default 0.01, for the adaptive one alone.
        adaptive: whether the neighbourhood scales with the weights, default no.
    """

    rho: Hyperparameter = 0.05
    eta: Hyperparameter = 0.01
    adaptive: bool = static(default=False)

    @property
    def gradients_per_step(self):
        return 1 + gradients_per_step(self.inner)

    def update(self, grads, state, params=None, *, value=None, objective=None):
        params, objective = needed(self, "params", params), needed(self, "objective", objective)
        wide = _common(params)
        now = self.at(state["step"])
        rho, eta = (jnp.asarray(number).astype(wide) for number in (now.rho, now.eta))
        g, p = _all(grads, wide), _all(params, wide)
        T = jax.tree.map(lambda x: abs(x) + eta if self.adaptive else jnp.ones_like(x), p)
        norm = global_norm(jax.tree.map(jnp.multiply, T, g))
        scale = rho / jnp.where(norm > 0, norm, 1)
        epsilon = jax.tree.map(lambda T, g: scale * T**2 * g, T, g)
        there = lambda q: objective(jax.tree.map(lambda x, e: (x.astype(wide) + e).astype(x.dtype), q, epsilon))
        worst, gradient = jax.value_and_grad(there)(params)
        updates, inner = call_update(self.inner, gradient, state["inner"], params, value=worst, objective=there)
        return updates, {"inner": inner, "step": state["step"] + 1}

    def in_optax(self, optax):
        inner = in_optax(self.inner, optax)
        if inner is None or self.adaptive or callable(self.rho):
            return None
        return optax.contrib.sam(inner, optax.chain(optax.contrib.normalize(), optax.sgd(self.rho)), opaque_mode=True)

    def state_to_optax(self, theirs, ours):
        return theirs._replace(opt_state=fill_theirs(self.inner, theirs.opt_state, ours["inner"]))

    def state_from_optax(self, ours, theirs, step):
        return ours | {"inner": fill_ours(self.inner, ours["inner"], theirs.opt_state, step), "step": jnp.asarray(step, jnp.int32)}
