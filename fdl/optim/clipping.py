"""Clipping: transforms that shorten gradients, each for a stage of a `Chain` before its optimizer."""

import jax
import jax.numpy as jnp

from fdl.optim._base import Hyperparameter, needed, optimizer, static
from fdl.optim._rule import Leafwise, Treewise, safe_sqrt


@optimizer
class ClipByValue(Leafwise):
    r"""Cuts every coordinate of the gradient to $[-c, c]$; equals `optax.clip` and `torch.nn.utils.clip_grad_value_`.

    Args:
        limit: $c$, default 1.
    """

    limit: Hyperparameter = 1.0

    def rule(self, t, g, p):
        return (jnp.clip(g, -self.limit, self.limit),)

    def in_optax(self, optax):
        return optax.clip(self.limit)


@optimizer
class ClipByRMS(Leafwise):
    r"""Shortens each array's gradient to a root mean square of at most $c$; equals `optax.clip_by_block_rms`.

    $$u = g / \max(1, \mathrm{RMS}(g) / c), \qquad \mathrm{RMS}(g) = \|g\| / \sqrt{n}$$

    Shazeer & Stern 2018, "Adafactor: adaptive learning rates with sublinear memory cost", section 6, there of the step.

    Args:
        limit: $c$, default 1.
    """

    limit: Hyperparameter = 1.0

    def rule(self, t, g, p):
        return (shortened(g, safe_sqrt(jnp.mean(g**2)), self.limit),)

    def in_optax(self, optax):
        return optax.clip_by_block_rms(self.limit)


@optimizer
class ClipByNorm(Leafwise):
    r"""Shortens each array's gradient to a norm of at most $c$: $u = g \min(1, c / \|g\|)$. optax has none.

    Args:
        limit: $c$, default 1.
    """

    limit: Hyperparameter = 1.0

    def rule(self, t, g, p):
        return (shortened(g, safe_sqrt(jnp.sum(g**2)), self.limit),)


@optimizer
class ClipByGlobalNorm(Treewise):
    r"""Shortens the gradient of all parameters together to a norm of at most $c$: $u = g \min(1, c / \|g\|)$.

    Pascanu et al. 2013, "On the difficulty of training recurrent neural networks", algorithm 1. Equals
    `optax.clip_by_global_norm`, and `torch.nn.utils.clip_grad_norm_` but for its $10^{-6}$ beside the norm.

    Args:
        limit: $c$, default 1.
    """

    limit: Hyperparameter = 1.0
    needs_params = False

    def rule(self, t, g, p, state, value, objective):
        norm = global_norm(g)
        return jax.tree.map(lambda x: shortened(x, norm, self.limit), g), state

    def in_optax(self, optax):
        return optax.clip_by_global_norm(self.limit)


@optimizer
class ClipAdaptively(Leafwise):
    r"""Shortens the gradient of each unit to a share of its weights' norm.

    $$u_i = g_i \min\!\left(1, \lambda \frac{\max(\|\theta_i\|, \epsilon)}{\|g_i\|}\right)$$

    A unit $i$ is what one output hangs on: a kernel's slice by its last axis. An array of one axis is one unit.

    Brock et al. 2021, "High-performance large-scale image recognition without normalization", equation 3. Equals
    `optax.adaptive_grad_clip` but for arrays of three axes, of which optax takes the first alone: `axes=(0,)`.

    Args:
        limit: $\lambda$, default 0.01.
        eps: $\epsilon$, default 0.001; lets weights that start at 0 move.
        axes: over which a unit's norm goes, where it is not all but the last.
    """

    limit: Hyperparameter = 0.01
    eps: Hyperparameter = 1e-3
    axes: tuple[int, ...] | None = static(default=None)

    def rule(self, t, g, p):
        norm = lambda x: safe_sqrt(jnp.sum(x**2, self._axes(x), keepdims=True))
        return (shortened(g, norm(g), self.limit * jnp.maximum(norm(needed(self, "params", p)), self.eps)),)

    def _axes(self, x):
        if self.axes is not None:
            return self.axes
        return tuple(range(x.ndim)) if max(x.shape, default=1) == x.size else tuple(range(x.ndim - 1))

    def in_optax(self, optax):
        return optax.adaptive_grad_clip(self.limit, self.eps, self.axes)


def global_norm(tree):
    """The norm of all leaves together, with derivative 0 at 0."""
    return safe_sqrt(sum(jnp.sum(x**2) for x in jax.tree.leaves(tree)))


def shortened(g, norm, limit):
    """`g`, of this norm, with a norm of at most `limit`; a gradient of 0 stays."""
    above = norm > limit
    return g * jnp.where(above, limit / jnp.where(above, norm, 1), 1)
