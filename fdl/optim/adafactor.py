import jax.numpy as jnp

from fdl.optim._base import Hyperparameter, needed, optimizer, static
from fdl.optim._factored import factored_axes, factored_mean, factored_start, over_root
from fdl.optim._pieces import rms
from fdl.optim._rule import Decayed
from fdl.optim.decay import decay_mask


@optimizer
class Adafactor(Decayed):
    r"""Adam's mean square from the means of its rows and columns, and steps relative to the size of each array.

    $$\hat\beta_t = 1 - t^{-c}, \qquad R_t = \hat\beta_t R_{t-1} + (1 - \hat\beta_t)\, \mathrm{mean}_j (g_t^2 + \epsilon), \qquad
    C_t = \hat\beta_t C_{t-1} + (1 - \hat\beta_t)\, \mathrm{mean}_i (g_t^2 + \epsilon)$$
    $$u_t = g_t \Big/ \sqrt{\frac{R_t C_t}{\mathrm{mean}(R_t)}}, \qquad
    \theta_t = \theta_{t-1} - \rho_t \max(\epsilon_2, \mathrm{RMS}(\theta_{t-1}))\, \frac{u_t}{\max(1, \mathrm{RMS}(u_t) / d)}$$

    with $\rho_t = \min(\mathrm{lr}, 1 / \sqrt t)$. Vectors, and arrays with less than `factored_from` entries along their two
    largest axes, keep the whole mean square $V_t$.

    Shazeer & Stern 2018, "Adafactor: adaptive learning rates with sublinear memory cost", algorithms 4 to 6. Equals
    `torch.optim.Adafactor` of matrices, where its least values are as small as $\epsilon$; with `relative_step=False` and
    `factored_from=128`, `optax.adafactor`, which has no decay times the rate. Slots: $R$, $C$ and $V$, of one entry where
    they are not needed.

    Args:
        lr: the largest relative step, default 0.01.
        decay_power: $c$, default 0.8.
        clip: $d$, default 1.
        eps: $\epsilon$, default 1e-30.
        min_scale: $\epsilon_2$, default 0.001.
        weight_decay: $\lambda$ of decoupled decay, $- \mathrm{lr}\, \lambda \theta_{t-1}$, default 0.
        relative_step: whether the rate falls as $1 / \sqrt t$, default yes; else $\rho_t = \mathrm{lr}$.
        factored_from: default 2.
        decay_only: patterns of the paths that decay, as `core.select` takes them; `"*"` for all.
    """

    lr: Hyperparameter = 1e-2
    decay_power: Hyperparameter = 0.8
    clip: Hyperparameter = 1.0
    eps: Hyperparameter = 1e-30
    min_scale: Hyperparameter = 1e-3
    weight_decay: Hyperparameter = 0.0
    relative_step: bool = static(default=True)
    factored_from: int = static(default=2)
    decay_only: str | tuple[str, ...] = static(default="*")
    slots = ("R", "C", "V")
    optax_slots = ("v_row", "v_col", "v")

    def start(self, p):
        return factored_start(p, factored_axes(p.shape, self.factored_from))

    def rule(self, t, g, p, *slots):
        axes = factored_axes(g.shape, self.factored_from)
        slots = factored_mean(1 - t**-self.decay_power, g**2 + self.eps, axes, *slots)
        u = over_root(g, axes, *slots)
        u = u * (self.clip / jnp.maximum(self.clip, rms(u)))
        return -self.rho(t) * jnp.maximum(self.min_scale, rms(needed(self, "params", p))) * u, *slots

    def rho(self, t):
        """The relative step."""
        return jnp.minimum(self.lr, t**-0.5) if self.relative_step else self.lr

    def in_optax(self, optax):
        if callable(self.lr) or callable(self.weight_decay):
            return None
        return optax.chain(
            optax.scale_by_factored_rms(True, self.decay_power, 0, self.factored_from, self.eps),
            optax.clip_by_block_rms(self.clip),
            optax.scale_by_learning_rate(lambda count: self.rho(count + 1.0)),
            optax.scale_by_param_block_rms(self.min_scale),
            optax.add_decayed_weights(-self.lr * self.weight_decay, decay_mask(self)),
        )
