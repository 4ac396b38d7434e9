import jax
import jax.numpy as jnp

from fdl.optim._base import Hyperparameter, optimizer
from fdl.optim._rule import Treewise, safe_sqrt
from fdl.optim._wrapper import whole


@optimizer
class Noise(Treewise):
    r"""Adds to the gradient normal noise that dies away; before an optimizer.

    $$u_t = g_t + \sigma_t z_t, \qquad z_t \sim \mathcal{N}(0, 1), \qquad \sigma_t^2 = \frac{\eta}{t^{\gamma}}$$

    Neelakantan et al. 2015, "Adding gradient noise improves learning for very deep networks", equation 1, which counts from
    0. Equals `optax.add_noise` in distribution. Runs that start from other parameters draw other noise.

    Args:
        eta: $\eta$, the first step's variance, default 0.01.
        gamma: $\gamma$, default 0.55.
        seed: default 0.
    """

    eta: Hyperparameter = 0.01
    gamma: Hyperparameter = 0.55
    seed: Hyperparameter = 0
    needs_params = False

    def start(self, p):
        bits = lambda x: jax.lax.bitcast_convert_type(x.astype(jnp.float32), jnp.uint32)
        return {"run": sum((jnp.sum(bits(x), dtype=jnp.uint32) for x in jax.tree.leaves(p)), jnp.uint32(0))}

    def rule(self, t, g, p, state, value, objective):
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(whole(self.seed)), state["run"]), t.astype(jnp.int32))
        leaves, tree = jax.tree.flatten(g)
        sigma = safe_sqrt(self.eta / t**self.gamma)
        noisy = [x + sigma * jax.random.normal(k, x.shape, x.dtype) for k, x in zip(jax.random.split(key, len(leaves)), leaves)]
        return tree.unflatten(noisy), state
