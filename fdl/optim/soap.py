import jax
import jax.numpy as jnp

from fdl.optim._base import Hyperparameter, optimizer, static
from fdl.optim._kronecker import axes, gram, times
from fdl.optim._rule import Decayed, safe_sqrt
from fdl.optim._wrapper import whole


@optimizer
class SOAP(Decayed):
    r"""Adam in the eigenbasis of Shampoo's factors.

    $$M_t = \beta_1 M_{t-1} + (1 - \beta_1) G_t, \qquad
      V_t = \beta_2 V_{t-1} + (1 - \beta_2) (Q_L^\top G_t Q_R)^2, \qquad
      \theta_t = \theta_{t-1} - \mathrm{lr}\, \left(Q_L \frac{Q_L^\top \hat M_t Q_R}{\sqrt{\hat V_t} + \epsilon} Q_R^\top
      + \lambda \theta_{t-1}\right)$$
    $$L_t = \beta_2 L_{t-1} + (1 - \beta_2) G_t G_t^\top, \qquad Q_L \leftarrow \mathrm{QR}(L_t Q_L) \text{ every $f$ steps}, \qquad
      \text{likewise } R_t, Q_R$$

    $\hat M$ and $\hat V$ are bias-corrected. The first gradient gives $L$, $R$ and, by their eigenvectors, the first bases, and
    moves nothing, decay aside. An array of more axes has a basis for each; vectors, and axes longer than `largest`, have none:
    Adam. Vyas et al. 2024, "SOAP: improving and stabilizing Shampoo using Adam", algorithms 3 and 4; the authors' code also
    sorts the basis by its eigenvalues before each QR. Not in optax. Derivatives by hyperparameters take the bases as
    constants. Slots: $M$, $V$, the factors and the bases.

    Args:
        lr: default 0.003.
        b1: $\beta_1$, default 0.95.
        b2: $\beta_2$, default 0.95.
        eps: $\epsilon$, default 1e-8.
        weight_decay: $\lambda$, default 0.01.
        every: $f$, default 10.
        decay_only: patterns of the paths that decay, as `core.select` takes them; all by default.
        largest: default 10,000.
    """

    lr: Hyperparameter = 3e-3
    b1: Hyperparameter = 0.95
    b2: Hyperparameter = 0.95
    eps: Hyperparameter = 1e-8
    weight_decay: Hyperparameter = 0.01
    every: Hyperparameter = 10.0
    decay_only: str | tuple[str, ...] = static(default="*")
    largest: int = static(default=10_000)
    slots = ("m", "v", "factors", "bases")

    def start(self, p):
        sizes = axes(p, self.largest, vectors=False)
        square = lambda make: tuple(None if n is None else make(n) for n in sizes)
        return (
            jnp.zeros_like(p), jnp.zeros_like(p), square(lambda n: jnp.zeros((n, n), p.dtype)), square(lambda n: jnp.eye(n, dtype=p.dtype))
        )  # fmt: skip

    def rule(self, t, g, p, m, v, factors, bases):
        first, taken = t == 1, jnp.maximum(t - 1, 1)
        m = jnp.where(first, m, self.b1 * m + (1 - self.b1) * g)
        v = jnp.where(first, v, self.b2 * v + (1 - self.b2) * times(g, bases, transposed=True) ** 2)
        rotated = times(m / (1 - self.b1**taken), bases, transposed=True)
        step = -self.lr * times(rotated / (safe_sqrt(v / (1 - self.b2**taken)) + self.eps), bases)
        gathered = gram(g, axes(g, self.largest, vectors=False))
        keep = jnp.where(first, 0, self.b2)
        factors = jax.tree.map(lambda L, new: keep * L + (1 - keep) * new, factors, gathered)
        eigenvectors = lambda L, Q: jnp.linalg.eigh(L)[1][:, ::-1]
        turned = lambda L, Q: jnp.linalg.qr(L @ Q)[0]
        fixed, old = jax.lax.stop_gradient((factors, bases))
        again = (t.astype(jnp.int32) - 1) % jnp.maximum(whole(self.every), 1) == 0
        kind = jnp.where(first, 0, jnp.where(again, 1, 2))
        choices = [lambda: jax.tree.map(eigenvectors, fixed, old), lambda: jax.tree.map(turned, fixed, old), lambda: old]
        return jnp.where(first, 0, step), m, v, factors, jax.lax.switch(kind, choices)
