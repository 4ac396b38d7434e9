"""Weight decay as a stage of a `Chain`."""

from fdl import core
from fdl.optim._base import Hyperparameter, needed, optimizer, static
from fdl.optim._rule import Decayed


@optimizer
class CoupledDecay(Decayed):
    r"""The gradient of the penalty $\tfrac{\lambda}{2} \|\theta\|^2$, before an optimizer: $u = g + \lambda \theta$.

    Adaptive rules divide it by the gradient's size like the rest, which decoupled decay mends. Equals
    `optax.add_decayed_weights` and PyTorch's `weight_decay=` of all but AdamW.

    Args:
        weight_decay: $\lambda$, default 0.0001.
        decay_only: patterns of the paths that decay, as `core.select` takes them; `"*"` for all.
    """

    weight_decay: Hyperparameter = 1e-4
    decay_only: str | tuple[str, ...] = static(default="*")

    def rule(self, t, g, p):
        return (g,)

    def finish(self, step, p):
        return step + self.weight_decay * needed(self, "params", p)

    def in_optax(self, optax):
        return optax.add_decayed_weights(self.weight_decay, decay_mask(self))


@optimizer
class DecoupledDecay(Decayed):
    r"""Weight decay beside an optimizer's step, after it: $u = s - \mathrm{lr}\, \lambda \theta$.

    `Chain(Adam(lr), DecoupledDecay(lr, weight_decay))` is AdamW, and any other optimizer is decayed likewise.

    Loshchilov & Hutter 2019, "Decoupled weight decay regularization", algorithm 2, whose $\eta_t \lambda$ is
    `lr * weight_decay`. Equals `optax.add_decayed_weights` of `-lr * weight_decay`.

    Args:
        lr: default 0.001; as a rule the optimizer's, its schedule included.
        weight_decay: $\lambda$, default 0.01.
        decay_only: patterns of the paths that decay, as `core.select` takes them; `"*"` for all.
    """

    lr: Hyperparameter = 1e-3
    weight_decay: Hyperparameter = 1e-2
    decay_only: str | tuple[str, ...] = static(default="*")

    def rule(self, t, g, p):
        return (g,)

    def in_optax(self, optax):
        if callable(self.lr) or callable(self.weight_decay):
            return None
        return optax.add_decayed_weights(-self.lr * self.weight_decay, decay_mask(self))


def decay_mask(optimizer):
    """What optax takes for `decay_only`."""
    only = optimizer.decay_only
    return None if only == "*" else lambda params: core.select(params, only, "decay_only")
