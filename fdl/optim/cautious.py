import dataclasses

import jax.numpy as jnp

from fdl.core import FdlError
from fdl.optim._base import Hyperparameter, optimizer
from fdl.optim._rule import Leafwise


@optimizer
class Cautious(Leafwise):
    r"""Another optimizer whose step is left out wherever it does not descend by the gradient at hand.

    $$\theta_t = \theta_{t-1} + \alpha_t\, u_t\, [u_t g_t < 0], \qquad
    \alpha_t = \frac{\dim \theta}{\#\{u_t g_t < 0\} + \xi}$$

    array by array, where $u_t$ is the inner optimizer's step without its decoupled decay, which stays as it is.

    Liang et al. 2024, "Cautious optimizers: improving training with one line of code", algorithms 1 and 2 and their $\alpha$.
    `Cautious(AdamW())` is C-AdamW, `Cautious(Lion())` C-Lion. Neither optax nor PyTorch has it. Its state is the inner
    optimizer's.

    Args:
        inner: an optimizer that treats arrays alone, a `Leafwise`.
        xi: $\xi$, default 1.
    """

    inner: Leafwise
    xi: Hyperparameter = 1.0

    def __post_init__(self):
        super().__post_init__()
        if not isinstance(self.inner, Leafwise):
            raise FdlError("Cautious(inner)", repr(self.inner), "an optimizer that treats arrays alone, such as optim.AdamW()")

    @property
    def name(self):
        return f"cautious({self.inner.name})"

    @property
    def slots(self):
        return self.inner.slots

    def at(self, step):
        return dataclasses.replace(super().at(step), inner=self.inner.at(step))

    def each(self, params):
        return [dataclasses.replace(self, inner=own) for own in self.inner.each(params)]

    def start(self, p):
        return self.inner.start(p)

    def rule(self, t, g, p, *slots):
        u, *slots = self.inner.rule(t, g, p, *slots)
        agrees = jnp.sign(u) * jnp.sign(g) < 0
        return jnp.where(agrees, u, 0) * (g.size / (agrees.astype(g.dtype).sum() + self.xi)), *slots

    def finish(self, step, p):
        return self.inner.finish(step, p)

    def evaluation_params(self, state, params):
        return self.inner.evaluation_params(state, params)

    def parts(self, state):
        return {"inner": (self.inner, state)}
