import jax.numpy as jnp

from fdl.optim._base import optimizer, static
from fdl.optim._rule import Leafwise


@optimizer
class Centralise(Leafwise):
    r"""Takes from the gradient of each unit's incoming weights their mean; before an optimizer.

    $$u_{\cdot j} = g_{\cdot j} - \tfrac{1}{n} \textstyle\sum_i g_{ij}$$

    of a kernel whose last axis counts its units $j$. Arrays of one axis stay as they are.

    Yong et al. 2020, "Gradient centralization: a new optimization technique for deep neural networks", equation 1, whose
    columns are units. `optax.centralize` takes the first axis for the units, which PyTorch's kernels have there:
    `units_first=True`.

    Args:
        units_first: whether the first axis counts the units, default no.
    """

    units_first: bool = static(default=False)

    def rule(self, t, g, p):
        if g.ndim < 2:
            return (g,)
        within = range(1, g.ndim) if self.units_first else range(g.ndim - 1)
        return (g - jnp.mean(g, tuple(within), keepdims=True),)

    def in_optax(self, optax):
        return optax.centralize() if self.units_first else None
