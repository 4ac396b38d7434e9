import jax
import jax.numpy as jnp

from fdl.optim._base import Hyperparameter, optimizer
from fdl.optim._optax import fill_ours, fill_theirs, in_optax
from fdl.optim._wrapper import Wrapper, whole


@optimizer
class IfFinite(Wrapper):
    """Passes over a gradient that is infinite or not a number somewhere: nothing moves, the inner state stays.

    After `most` such gradients in a row it gives up and hands on what comes, so that the run is seen to diverge. Equals
    `optax.apply_if_finite`. State: `consecutive` and `total`, how many it passed over last, and in all.

    Args:
        inner: any optimizer.
        most: default 5.
    """

    most: Hyperparameter = 5

    def start(self, params):
        return {"consecutive": jnp.zeros((), jnp.int32), "total": jnp.zeros((), jnp.int32)}

    def update(self, grads, state, params=None, *, value=None, objective=None):
        finite = jnp.array([jnp.isfinite(g).all() for g in jax.tree.leaves(grads)]).all()
        consecutive = jnp.where(finite, 0, state["consecutive"] + 1)
        passes = finite | (consecutive > whole(self.at(state["step"]).most))
        # Derivatives by hyperparameters pass through the branch that is not taken, too, once it is mapped.
        grads = jax.tree.map(lambda g: jnp.where(passes, g, 0), grads)
        updates, inner = self.update_if(passes, grads, state["inner"], params, value, objective)
        total = state["total"] + jnp.where(finite, 0, 1)
        return updates, {"inner": inner, "step": state["step"] + 1, "consecutive": consecutive, "total": total}

    def in_optax(self, optax):
        inner = in_optax(self.inner, optax)
        return None if inner is None or callable(self.most) else optax.apply_if_finite(inner, self.most)

    def state_to_optax(self, theirs, ours):
        return theirs._replace(
            notfinite_count=ours["consecutive"], last_finite=ours["consecutive"] == 0, total_notfinite=ours["total"],
            inner_state=fill_theirs(self.inner, theirs.inner_state, ours["inner"]),
        )  # fmt: skip

    def state_from_optax(self, ours, theirs, step):
        return ours | {
            "inner": fill_ours(self.inner, ours["inner"], theirs.inner_state, step),
            "step": jnp.asarray(step, jnp.int32),
            "consecutive": theirs.notfinite_count,
            "total": theirs.total_notfinite,
        }
