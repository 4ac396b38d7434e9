import functools

import jax
import jax.numpy as jnp

from fdl.optim._base import Hyperparameter, optimizer
from fdl.optim._rule import Leafwise, safe_sqrt


@optimizer
class SM3(Leafwise):
    r"""Adagrad whose sums are kept for the rows, columns, ... of an array alone, as upper bounds.

    $$\nu_t(i) = \min_{S \ni i} \mu_{t-1}(S) + g_t(i)^2, \qquad \mu_t(S) = \max_{i \in S} \nu_t(i), \qquad
    m_t = \beta m_{t-1} + (1 - \beta) \frac{g_t}{\sqrt{\nu_t + \epsilon}}, \qquad \theta_t = \theta_{t-1} - \mathrm{lr}\, m_t$$

    where $S$ runs through the slices of the array along each of its axes, and 0/0 is 0. Of a vector it is Adagrad.

    Anil et al. 2019, "Memory-efficient adaptive optimization", algorithm SM3-II, with momentum as in its experiments and without
    $\epsilon$. Equals `optax.sm3`, whose $\epsilon$ is 1e-8 and which fails at scalars. Slots: `mu`, a list of a vector for
    each axis, and $m$; of a scalar, as of a vector of one entry.

    Args:
        lr: learning rate, default 0.1.
        momentum: $\beta$, default 0.9.
        eps: $\epsilon$, default 0.
    """

    lr: Hyperparameter = 0.1
    momentum: Hyperparameter = 0.9
    eps: Hyperparameter = 0.0
    slots = ("mu", "m")
    optax_slots = ("mu", "nu")

    def start(self, p):
        shape = p.shape or (1,)
        return [jnp.zeros(n, p.dtype) for n in shape], jnp.zeros_like(p).reshape(shape)

    def rule(self, t, g, p, mu, m):
        axes = range(len(mu))
        others = lambda axis: tuple(other for other in axes if other != axis)
        least = functools.reduce(jnp.minimum, [jnp.expand_dims(bound, others(axis)) for axis, bound in zip(axes, mu)])
        vector = g.reshape(m.shape)
        nu = least + vector**2
        scaled = vector / jnp.where(nu > 0, safe_sqrt(nu + self.eps), 1)
        m = self.momentum * m + (1 - self.momentum) * scaled
        return -self.lr * m.reshape(g.shape), [nu.max(others(axis)) for axis in axes], m

    def in_optax(self, optax):
        theirs = optax.chain(optax.scale_by_sm3(self.momentum, 1.0, self.eps), optax.scale_by_learning_rate(self.lr))
        vectors = lambda tree: jax.tree.map(lambda x: x.reshape(x.shape or (1,)), tree)

        def update(updates, state, params=None):
            moved, state = theirs.update(vectors(updates), state)
            return jax.tree.map(lambda x, like: x.reshape(like.shape), moved, updates), state

        return optax.GradientTransformation(lambda params: theirs.init(vectors(params)), update)
