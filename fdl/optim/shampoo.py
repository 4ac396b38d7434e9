from typing import Literal

import jax
import jax.numpy as jnp

from fdl.optim._base import Hyperparameter, optimizer, static
from fdl.optim._kronecker import axes, gram, inverse_power, times
from fdl.optim._rule import Leafwise, safe_sqrt
from fdl.optim._wrapper import whole


@optimizer
class Shampoo(Leafwise):
    r"""Preconditions a gradient along each of its axes by a root of what it has gathered there.

    $$L_t = \beta L_{t-1} + w\, G_t G_t^\top, \qquad R_t = \beta R_{t-1} + w\, G_t^\top G_t, \qquad
      U_t = (L_t + \epsilon I)^{-p/2}\, G_t\, (R_t + \epsilon I)^{-p/2}$$
    $$B_t = \mu B_{t-1} + U_t, \qquad \theta_t = \theta_{t-1} - \mathrm{lr}\, B_t$$

    Sums, $\beta = w = 1$, or with `average` means, $w = 1 - \beta$. An array of $k$ axes has $k$ such factors with exponent
    $-p / k$; axes longer than `largest` have none. A vector's step is that of Adagrad with a full matrix. `graft` gives $U_t$
    of each array the norm of another rule's step: of the gradient (`"sgd"`), or of Adagrad's (`"adagrad"`).

    Gupta, Koren & Singer 2018, "Shampoo: preconditioned stochastic tensor optimization", algorithms 1 and 2, $p = 1/2$;
    Morwani et al. 2024, "A new perspective on Shampoo's preconditioner", for $p = 1$; Anil et al. 2020, "Scalable second order
    optimization for deep learning", for averages, grafting and rarer roots. Not in optax. Slots: the factors, their roots, $B$
    and the sum of squares of `"adagrad"`.

    Args:
        lr: default 0.1.
        momentum: $\mu$, default 0, the paper's algorithm; 0.9 in its experiments.
        b2: $\beta$ of averages, default 0.99.
        eps: $\epsilon$, default 1e-4.
        power: $p$, default 0.5.
        every: steps from one computation of the roots to the next, default 1.
        graft: default `None`.
        average: default no.
        largest: default 1024.
    """

    lr: Hyperparameter = 0.1
    momentum: Hyperparameter = 0.0
    b2: Hyperparameter = 0.99
    eps: Hyperparameter = 1e-4
    power: Hyperparameter = 0.5
    every: Hyperparameter = 1.0
    graft: Literal["sgd", "adagrad"] | None = static(default=None)
    average: bool = static(default=False)
    largest: int = static(default=1024)
    slots = ("factors", "roots", "b", "squares")

    def start(self, p):
        sizes = axes(p, self.largest, vectors=True)
        square = lambda make: tuple(None if n is None else make(n, dtype=p.dtype) for n in sizes)
        squares = jnp.zeros_like(p) if self.graft == "adagrad" else ()
        return square(lambda n, dtype: jnp.zeros((n, n), dtype)), square(jnp.eye), jnp.zeros_like(p), squares

    def rule(self, t, g, p, factors, roots, b, squares):
        keep, weight = (self.b2, 1 - self.b2) if self.average else (1, 1)
        factors = jax.tree.map(lambda L, new: keep * L + weight * new, factors, gram(g, axes(g, self.largest, vectors=True)))
        power = self.power / max(len(jax.tree.leaves(factors)), 1)
        take = lambda: jax.tree.map(lambda L: inverse_power(L, power, self.eps), factors)
        roots = jax.lax.cond((t.astype(jnp.int32) - 1) % jnp.maximum(whole(self.every), 1) == 0, take, lambda: roots)
        u = times(g, roots)
        if self.graft:
            other = g
            if self.graft == "adagrad":
                squares = squares + g**2
                root = safe_sqrt(squares)
                other = g / jnp.where(root > 0, root, 1)
            norm = safe_sqrt((u**2).sum())
            u = u * safe_sqrt((other**2).sum()) / jnp.where(norm > 0, norm, 1)
        b = self.momentum * b + u
        return -self.lr * b, factors, roots, b, squares
