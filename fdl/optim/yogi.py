import jax.numpy as jnp

from fdl.optim._base import Hyperparameter, optimizer, static
from fdl.optim._pieces import debias
from fdl.optim._rule import Leafwise, safe_sqrt


@optimizer
class Yogi(Leafwise):
    r"""Adam whose mean square is moved by no more than the squared gradient: rates rise slowly.

    $$m_t = \beta_1 m_{t-1} + (1 - \beta_1) g_t, \qquad
    v_t = v_{t-1} - (1 - \beta_2)\, \mathrm{sign}(v_{t-1} - g_t^2)\, g_t^2, \qquad
    \theta_t = \theta_{t-1} - \mathrm{lr}\, \frac{m_t}{\sqrt{v_t} + \epsilon}$$

    or, with `bias_correction`, $m_t / (1 - \beta_1^t)$ and $v_t / (1 - \beta_2^t)$ in their places.

    Zaheer et al. 2018, "Adaptive methods for nonconvex optimization", algorithm 2. Equals `optax.yogi` with
    `bias_correction=True, initial_m=1e-6, initial_v=1e-6`. Two slots: $m$ and $v$.

    Args:
        lr: learning rate, default 0.01.
        b1: $\beta_1$, decay of the mean, default 0.9.
        b2: $\beta_2$, default 0.999.
        eps: $\epsilon$, default 0.001.
        initial_m: $m_0$, default 0.
        initial_v: $v_0$, default 0; the paper's experiments take a squared gradient of a large batch.
        bias_correction: whether to correct both for their start, default no.
    """

    lr: Hyperparameter = 1e-2
    b1: Hyperparameter = 0.9
    b2: Hyperparameter = 0.999
    eps: Hyperparameter = 1e-3
    initial_m: Hyperparameter = 0.0
    initial_v: Hyperparameter = 0.0
    bias_correction: bool = static(default=False)
    slots = ("m", "v")
    optax_slots = ("mu", "nu")

    def start(self, p):
        return jnp.full_like(p, self.initial_m), jnp.full_like(p, self.initial_v)

    def rule(self, t, g, p, m, v):
        m = self.b1 * m + (1 - self.b1) * g
        v = v - (1 - self.b2) * jnp.sign(v - g**2) * g**2
        first, second = (debias(self.b1, t), debias(self.b2, t)) if self.bias_correction else (1, 1)
        return -self.lr * first * m / (safe_sqrt(v * second) + self.eps), m, v

    def in_optax(self, optax):
        if not self.bias_correction:
            return None
        scale = optax.scale_by_yogi(self.b1, self.b2, self.eps, initial_accumulator_value=self.initial_v)
        start = lambda params: optax.tree_utils.tree_set(scale.init(params), mu=optax.tree.full_like(params, self.initial_m))
        return optax.chain(optax.GradientTransformation(start, scale.update), optax.scale_by_learning_rate(self.lr))
