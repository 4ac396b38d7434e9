import jax
import jax.numpy as jnp

from fdl.optim._base import Hyperparameter, call_update, needed, optimizer, static
from fdl.optim._wrapper import Wrapper, cast, copied, whole


@optimizer
class Lookahead(Wrapper):
    r"""Fast weights run ahead by the inner optimizer; every $k$ steps slow ones follow, and the fast begin anew from there.

    $$\theta_{t} = \theta_{t-1} + u_t; \qquad \text{at every $k$-th step} \quad
      \phi \leftarrow \phi + \alpha (\theta_t - \phi), \quad \theta_t \leftarrow \phi$$

    Zhang et al. 2019, "Lookahead optimizer: k steps forward, 1 step back", algorithm 1. Equals `optax.lookahead`, which keeps
    both weights in the parameters; here they are the fast ones, and the slow ones are state, to be evaluated. It stands
    outermost. State: `slow`, in float32 at least.

    Args:
        inner: any optimizer.
        k: default 5.
        alpha: $\alpha$, default 0.5.
        reset: whether the inner state, such as momentum, begins anew with the fast weights, default no.
    """

    k: Hyperparameter = 5
    alpha: Hyperparameter = 0.5
    reset: bool = static(default=False)

    def start(self, params):
        return {"slow": copied(params)}

    def update(self, grads, state, params=None, *, value=None, objective=None):
        params, now = needed(self, "params", params), self.at(state["step"])
        updates, inner = call_update(self.inner, grads, state["inner"], params, value=value, objective=objective)
        synchronise = (state["step"] + 1) % whole(now.k) == 0

        def follow(slow: jax.Array, p: jax.Array, u: jax.Array) -> tuple[jax.Array, jax.Array]:
            p, alpha = p.astype(slow.dtype), jnp.asarray(now.alpha).astype(slow.dtype)
            new = jnp.where(synchronise, slow + alpha * (p + u.astype(slow.dtype) - slow), slow)
            return new, jnp.where(synchronise, (new - p).astype(u.dtype), u)

        pairs = jax.tree.map(follow, state["slow"], params, updates)
        slow, updates = jax.tree.transpose(jax.tree.structure(params), jax.tree.structure((0, 0)), pairs)
        if self.reset:
            inner = jax.tree.map(lambda new, first: jnp.where(synchronise, first, new), inner, self.inner.init(params))
        return updates, {"inner": inner, "step": state["step"] + 1, "slow": slow}

    def evaluation_params(self, state, params):
        return cast(state["slow"], params)
