from fdl.optim._base import Hyperparameter, optimizer, static
from fdl.optim._rule import Decayed
from fdl.optim.adam import Adam
from fdl.optim.decay import decay_mask


@optimizer
class AdamW(Decayed, Adam):
    r"""Adam with decoupled weight decay.

    $$\theta_t = \theta_{t-1} - \mathrm{lr} \Big(\frac{\hat m_t}{\sqrt{\hat v_t} + \epsilon} + \lambda \theta_{t-1}\Big)$$

    with $\hat m_t$ and $\hat v_t$ as in `Adam`.

    Loshchilov & Hutter 2019, "Decoupled weight decay regularization", algorithm 2, whose $\eta_t \lambda$ is
    `lr * weight_decay`. Equals `optax.adamw` (default decay 1e-4) and `torch.optim.AdamW`. Two slots: $m$ and $v$.

    Args:
        lr, b1, b2, eps: as of `Adam`.
        weight_decay: $\lambda$, default 0.01.
        decay_only: patterns of the paths that decay, as `core.select` takes them; `"*"` for all.
    """

    weight_decay: Hyperparameter = 1e-2
    decay_only: str | tuple[str, ...] = static(default="*")

    def in_optax(self, optax):
        return optax.adamw(self.lr, self.b1, self.b2, self.eps, weight_decay=self.weight_decay, mask=decay_mask(self))
