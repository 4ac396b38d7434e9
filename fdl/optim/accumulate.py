import jax
import jax.numpy as jnp

from fdl.core import FdlError
from fdl.optim._base import Hyperparameter, gradients_per_step, optimizer
from fdl.optim._optax import fill_ours, fill_theirs, fit, in_optax
from fdl.optim._rule import _common, _wide
from fdl.optim._wrapper import Wrapper, cast, whole


@optimizer
class Accumulate(Wrapper):
    r"""One step of an optimizer for every $k$ batches, with the mean of their gradients (and of their losses).

    $$\bar g_i = \bar g_{i-1} + \frac{g_i - \bar g_{i-1}}{i}, \quad i = 1 \dots k$$

    In between nothing moves. Equals one step on the $k$ batches together, where these are of one size, and
    `optax.MultiSteps`. Means are in float32 at least. Schedules of the inner optimizer count its own steps. State: `mean`
    like the parameters, the mean `loss`, and `filled`, of how many batches they are.

    Args:
        inner: moves by gradients and losses alone: the $k$ batches' loss function is not to be had.
        every: $k$, default 2.

    Raises:
        FdlError: for an inner optimizer that asks for gradients elsewhere; it belongs outside, `SAM(Accumulate(...))`.
    """

    every: Hyperparameter = 2

    def __post_init__(self):
        super().__post_init__()
        if gradients_per_step(self.inner) != 1:
            fix = f"{type(self.inner).__name__}(Accumulate(...)) accumulates what it asks for."
            raise FdlError("Accumulate(inner)", f"{self.inner!r}, which asks for gradients elsewhere", "one that does not", fix)

    def start(self, params):
        mean = jax.tree.map(lambda p: jnp.zeros_like(p, _wide(p)), params)
        return {"mean": mean, "loss": jnp.zeros((), _common(params)), "filled": jnp.zeros((), jnp.int32)}

    def update(self, grads, state, params=None, *, value=None, objective=None):
        i = state["filled"] + 1
        full = i >= whole(self.at(state["step"]).every)
        fold = lambda mean, new: mean + (new.astype(mean.dtype) - mean) / i.astype(mean.dtype)
        mean, loss, told = jax.tree.map(fold, state["mean"], grads), state["loss"], None
        if value is not None:
            loss = fold(loss, jnp.asarray(value))
            told = loss.astype(jnp.asarray(value).dtype)
        updates, inner = self.update_if(full, cast(mean, grads), state["inner"], params, told, None)
        rest = {"mean": mean, "loss": loss, "filled": i}
        return updates, {"inner": inner, "step": state["step"] + 1, **jax.tree.map(lambda x: jnp.where(full, 0, x), rest)}

    def in_optax(self, optax):
        inner = in_optax(self.inner, optax)
        if inner is None or callable(self.every):
            return None
        return optax.MultiSteps(inner, int(self.every), accumulator_dtype=jnp.result_type(float)).gradient_transformation()

    def state_to_optax(self, theirs, ours):
        return theirs._replace(
            mini_step=ours["filled"], gradient_step=ours["step"] // whole(self.every),
            acc_grads=fit(ours["mean"], theirs.acc_grads),
            inner_opt_state=fill_theirs(self.inner, theirs.inner_opt_state, ours["inner"]),
        )  # fmt: skip

    def state_from_optax(self, ours, theirs, step):
        return ours | {
            "inner": fill_ours(self.inner, ours["inner"], theirs.inner_opt_state, theirs.gradient_step),
            "step": theirs.gradient_step * whole(self.every) + theirs.mini_step,
            "mean": fit(theirs.acc_grads, ours["mean"]),
            "filled": theirs.mini_step,
        }
