import jax
import jax.numpy as jnp

from fdl.optim._base import Hyperparameter, apply_updates, call_update, needed, optimizer, static
from fdl.optim._rule import _common
from fdl.optim._wrapper import Wrapper, cast, copied


@optimizer
class Averaged(Wrapper):
    r"""Trains as the inner optimizer does, and is evaluated at the exponential moving average of its parameters.

    $$\bar\theta_t = d\, \bar\theta_{t-1} + (1 - d)\, \theta_t, \qquad w_t = d\, w_{t-1} + (1 - d)$$

    with $\bar\theta_0 = 0$, $w_0 = 0$ and the average $\bar\theta_t / w_t$, which weighs no parameters but those trained; or,
    without debiasing, $\bar\theta_0 = \theta_0$ and $w = 1$.

    Polyak & Juditsky 1992, "Acceleration of stochastic approximation by averaging", with exponential weights as in Kingma &
    Ba 2015, section 7.2. Equals `optax.ema` of the parameters. It stands outermost: a stage after it would move the
    parameters behind its back. State: `average`, in float32 at least, and `weight`.

    Args:
        inner: any optimizer.
        decay: $d$, default 0.999.
        debias: default yes.
    """

    decay: Hyperparameter = 0.999
    debias: bool = static(default=True)

    def start(self, params):
        average = copied(params)
        average = jax.tree.map(jnp.zeros_like, average) if self.debias else average
        return {"average": average, "weight": jnp.asarray(0 if self.debias else 1, _common(params))}

    def update(self, grads, state, params=None, *, value=None, objective=None):
        params = needed(self, "params", params)
        updates, inner = call_update(self.inner, grads, state["inner"], params, value=value, objective=objective)
        decay = jnp.asarray(self.at(state["step"]).decay)
        towards = lambda mean, x: decay.astype(mean.dtype) * mean + (1 - decay.astype(mean.dtype)) * x.astype(mean.dtype)
        average = jax.tree.map(towards, state["average"], apply_updates(params, updates))
        weight = towards(state["weight"], jnp.ones(()))
        return updates, {"inner": inner, "step": state["step"] + 1, "average": average, "weight": weight}

    def evaluation_params(self, state, params):
        begun = state["weight"] > 0
        weight = jnp.where(begun, state["weight"], 1)
        average = lambda a, p: jnp.where(begun, a / weight.astype(a.dtype), p.astype(a.dtype))
        return cast(jax.tree.map(average, state["average"], params), params)
