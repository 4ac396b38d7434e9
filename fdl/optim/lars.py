from fdl import core
from fdl.optim._base import Hyperparameter, needed, optimizer, static
from fdl.optim._pieces import Layerwise, trust_ratio
from fdl.optim._tree import norm
from fdl.optim.decay import decay_mask


@optimizer
class LARS(Layerwise):
    r"""Layerwise adaptive rate scaling: momentum whose gradients are as long as the array they move, times $\eta$.

    $$b_t = \mu b_{t-1} + \mathrm{lr}\, \frac{\eta \|\theta_{t-1}\|}{\|g_t\| + \lambda \|\theta_{t-1}\| + \epsilon}\,
    (g_t + \lambda \theta_{t-1}), \qquad \theta_t = \theta_{t-1} - b_t$$

    The quotient is 1 where $\|\theta_{t-1}\|$ or $\|g_t + \lambda \theta_{t-1}\|$ is 0.

    You, Gitman & Ginsburg 2017, "Large batch training of convolutional networks", algorithm 1. With `summed_norm`, which puts
    $\|g_t + \lambda \theta_{t-1}\|$ below, it equals `optax.lars`. One slot: $b$, as optax keeps it, with the sign of the step.

    Args:
        lr: $\gamma$, default 0.1.
        momentum: $\mu$, default 0.9.
        weight_decay: $\lambda$, default 0.0005.
        trust: $\eta$, default 0.001.
        eps: $\epsilon$, default 0, the paper's rule.
        nesterov: whether the step looks ahead, $\theta_t = \theta_{t-1} - (\mu b_t + \ldots)$, default no.
        summed_norm: whether to divide by the norm of the sum, default no.
        decay_only: patterns of the paths that decay, as `core.select` takes them; `"*"` for all.
        adapt_only: patterns of the paths whose gradients are scaled by the norms, likewise.
    """

    lr: Hyperparameter = 0.1
    momentum: Hyperparameter = 0.9
    weight_decay: Hyperparameter = 5e-4
    trust: Hyperparameter = 1e-3
    eps: Hyperparameter = 0.0
    nesterov: bool = static(default=False)
    summed_norm: bool = static(default=False)
    decay_only: str | tuple[str, ...] = static(default="*")
    adapt_only: str | tuple[str, ...] = static(default="*")
    slots = ("b",)
    optax_slots = ("trace",)

    def rule(self, t, g, p, b):
        p = needed(self, "params", p)
        summed = g + self.weight_decay * p
        if self.adapt_only:
            below = norm(summed) if self.summed_norm else norm(g) + self.weight_decay * norm(p)
            summed = trust_ratio(self.trust * norm(p), below + self.eps, where=norm(summed) > 0) * summed
        step = -self.lr * summed
        b = self.momentum * b + step
        return step + self.momentum * b if self.nesterov else b, b

    def in_optax(self, optax):
        if not self.summed_norm:
            return None
        adapted = True if self.adapt_only == "*" else lambda params: core.select(params, self.adapt_only, "adapt_only")
        return optax.lars(
            self.lr, self.weight_decay, decay_mask(self), self.trust, self.eps, adapted, momentum=self.momentum, nesterov=self.nesterov
        )
