from fdl import core
from fdl.optim._base import Hyperparameter, needed, optimizer, static
from fdl.optim._pieces import Layerwise, debias, trust_ratio
from fdl.optim._rule import safe_sqrt
from fdl.optim._tree import norm
from fdl.optim.decay import decay_mask


@optimizer
class LAMB(Layerwise):
    r"""Adam whose step in each array is as long as the array itself, times the rate: for large batches.

    $$r_t = \frac{m_t / (1 - \beta_1^t)}{\sqrt{v_t / (1 - \beta_2^t)} + \epsilon} + \lambda \theta_{t-1}, \qquad
    \theta_t = \theta_{t-1} - \mathrm{lr}\, \frac{\|\theta_{t-1}\|}{\|r_t\|}\, r_t$$

    with $m_t$, $v_t$ as in `Adam`; the quotient is 1 where a norm is 0.

    You et al. 2020, "Large batch optimization for deep learning: training BERT in 76 minutes", algorithm 2 with $\phi(z) = z$.
    Equals `optax.lamb`. Two slots: $m$ and $v$.

    Args:
        lr: learning rate, default 0.001.
        b1: $\beta_1$, decay of the mean, default 0.9.
        b2: $\beta_2$, decay of the mean square, default 0.999.
        eps: $\epsilon$, default 1e-6.
        weight_decay: $\lambda$, default 0.01.
        decay_only: patterns of the paths that decay, as `core.select` takes them; `"*"` for all.
        adapt_only: patterns of the paths whose steps are scaled by the norms, likewise.
    """

    lr: Hyperparameter = 1e-3
    b1: Hyperparameter = 0.9
    b2: Hyperparameter = 0.999
    eps: Hyperparameter = 1e-6
    weight_decay: Hyperparameter = 1e-2
    decay_only: str | tuple[str, ...] = static(default="*")
    adapt_only: str | tuple[str, ...] = static(default="*")
    slots = ("m", "v")
    optax_slots = ("mu", "nu")

    def rule(self, t, g, p, m, v):
        p = needed(self, "params", p)
        m = self.b1 * m + (1 - self.b1) * g
        v = self.b2 * v + (1 - self.b2) * g**2
        r = debias(self.b1, t) * m / (safe_sqrt(v * debias(self.b2, t)) + self.eps) + self.weight_decay * p
        trust = trust_ratio(norm(p), norm(r)) if self.adapt_only else 1
        return -self.lr * trust * r, m, v

    def in_optax(self, optax):
        if self.adapt_only == "*":
            return optax.lamb(self.lr, self.b1, self.b2, self.eps, weight_decay=self.weight_decay, mask=decay_mask(self))
        return optax.chain(
            optax.scale_by_adam(self.b1, self.b2, self.eps),
            optax.add_decayed_weights(self.weight_decay, decay_mask(self)),
            optax.masked(optax.scale_by_trust_ratio(), lambda params: core.select(params, self.adapt_only, "adapt_only")),
            optax.scale_by_learning_rate(self.lr),
        )
