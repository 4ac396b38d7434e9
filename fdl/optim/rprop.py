import jax.numpy as jnp

from fdl.optim._base import Hyperparameter, optimizer, static
from fdl.optim._rule import Leafwise


@optimizer
class Rprop(Leafwise):
    r"""Resilient propagation: a step length for each coordinate that grows while its gradient keeps the sign. For full batches.

    $$\Delta_t = \begin{cases} \eta^+ \Delta_{t-1} & s_t > 0 \\ \eta^- \Delta_{t-1} & s_t < 0 \\ \Delta_{t-1} & s_t = 0 \end{cases}
    \quad \text{in } [\Delta_{\min}, \Delta_{\max}], \qquad s_t = g_t g_{t-1}, \qquad
    \theta_t = \theta_{t-1} - \Delta_t\, \mathrm{sign}(g_t)$$

    where after a change of sign, $s_t < 0$, the coordinate rests for a step, and $g_t$ counts as 0; with `backtrack` it goes
    back by its last step instead.

    Riedmiller & Braun 1993, "A direct adaptive method for faster backpropagation learning: the RPROP algorithm", which
    backtracks; without, Igel & Hüsken 2000, "Improving the Rprop learning algorithm", iRprop-. Equals `torch.optim.Rprop`;
    `optax.rprop` (0.2.8) moves by the step of the time before. Two slots: the sign of $g$, and $\Delta$.

    Args:
        lr: $\Delta_0$, default 0.01.
        eta_minus: $\eta^-$, default 0.5.
        eta_plus: $\eta^+$, default 1.2.
        min_step: $\Delta_{\min}$, default 1e-6.
        max_step: $\Delta_{\max}$, default 50.
        backtrack: default no.
    """

    lr: Hyperparameter = 1e-2
    eta_minus: Hyperparameter = 0.5
    eta_plus: Hyperparameter = 1.2
    min_step: Hyperparameter = 1e-6
    max_step: Hyperparameter = 50.0
    backtrack: bool = static(default=False)
    slots = ("sign", "length")

    def rule(self, t, g, p, last, before):
        before = jnp.where(t == 1, self.lr, before)
        same = jnp.sign(g) * last
        factor = jnp.where(same > 0, self.eta_plus, jnp.where(same < 0, self.eta_minus, 1))
        length = jnp.clip(before * factor, self.min_step, self.max_step)
        sign = jnp.where(same < 0, 0, jnp.sign(g))
        back = jnp.where(same < 0, last * before, 0) if self.backtrack else 0
        return back - sign * length, sign, length
