import jax
import jax.numpy as jnp

from fdl.optim._base import Hyperparameter, optimizer, static
from fdl.optim._rule import Treewise, safe_sqrt
from fdl.optim._tree import copied, dot, minus, zero


@optimizer
class DoG(Treewise):
    r"""Distance over gradients: the rate is the farthest distance from the start over the root of all squared gradients.

    $$r_t = \max(r_{t-1}, \|\theta_{t-1} - \theta_0\|), \quad r_0 = r_\epsilon (1 + \|\theta_0\|), \qquad
      G_t = G_{t-1} + \|g_t\|^2, \qquad \theta_t = \theta_{t-1} - \mathrm{lr}\, \frac{r_t}{\sqrt{G_t + \epsilon}}\, g_t$$

    Ivgi, Hinder & Carmon 2023, "DoG is SGD's best friend", equations 1 and 4; `per_layer` is their L-DoG, where every array
    has its own $r$ and $G$. They measure an average of the iterates: `Averaged(DoG(), ...)`. Equals `optax.contrib.dog`,
    which has no layers. State: $\theta_0$, $r$ and $G$.

    Args:
        lr: default 1, the paper's rule.
        initial: $r_\epsilon$, default 1e-6; 1e-4 with batch normalisation.
        eps: $\epsilon$, default 1e-8.
        per_layer: default no.
    """

    lr: Hyperparameter = 1.0
    initial: Hyperparameter = 1e-6
    eps: Hyperparameter = 1e-8
    per_layer: bool = static(default=False)
    slots = ("start", "r", "G")
    optax_slots = ("init_params", "max_dist", "sum_sq_norm_grads")

    def start(self, p):
        r = jax.tree.map(lambda square: self.initial * (1 + safe_sqrt(square)), self._squares(p))
        return {"start": copied(p), "r": r, "G": jax.tree.map(jnp.zeros_like, r)}

    def rule(self, t, g, p, state, value, objective):
        far = self._squares(minus(p, state["start"]))
        r = jax.tree.map(lambda r, square: jnp.maximum(r, safe_sqrt(square)), state["r"], far)
        G = jax.tree.map(jnp.add, state["G"], self._squares(g))
        rate = jax.tree.map(lambda r, G: self.lr * r / safe_sqrt(G + self.eps), r, G)
        rates = rate if self.per_layer else jax.tree.map(lambda _: rate, g)
        return jax.tree.map(lambda rate, g: -rate * g, rates, g), {"start": state["start"], "r": r, "G": G}

    def _squares(self, tree):
        """Squared norms: of each array, or of all together."""
        return jax.tree.map(lambda x: (x**2).sum(), tree) if self.per_layer else jnp.asarray(dot(tree, tree))

    def in_optax(self, optax):
        return None if self.per_layer else optax.contrib.dog(self.lr, ("heuristic", self.initial), self.eps)


@optimizer
class DoWG(Treewise):
    r"""Distance over weighted gradients: as `DoG`, where a gradient counts by the distance at its time.

    $$r_t^2 = \max(r_{t-1}^2, \|\theta_{t-1} - \theta_0\|^2), \qquad G_t = G_{t-1} + r_t^2 \|g_t\|^2, \qquad
      \theta_t = \theta_{t-1} - \mathrm{lr}\, \frac{r_t^2}{\sqrt{G_t} + \epsilon}\, g_t$$

    Khaled, Mishchenko & Jin 2023, "DoWG unleashed", algorithm 1, which has no $\epsilon$. Equals `optax.contrib.dowg`, given
    both numbers: its default for each is 1e-4. State: $\theta_0$, $r^2$ and $G$.

    Args:
        lr: default 1, the paper's rule.
        initial: $r_0^2$, default 1e-4.
        eps: $\epsilon$, default 1e-8.
    """

    lr: Hyperparameter = 1.0
    initial: Hyperparameter = 1e-4
    eps: Hyperparameter = 1e-8
    slots = ("start", "r2", "G")
    optax_slots = ("init_params", "estim_sq_dist", "weighted_sq_norm_grads")

    def start(self, p):
        return {"start": copied(p), "r2": jnp.copy(self.initial), "G": zero(p)}

    def rule(self, t, g, p, state, value, objective):
        far = minus(p, state["start"])
        r2 = jnp.maximum(state["r2"], dot(far, far))
        G = state["G"] + r2 * dot(g, g)
        rate = self.lr * r2 / (safe_sqrt(G) + self.eps)
        return jax.tree.map(lambda g: -rate * g, g), {"start": state["start"], "r2": r2, "G": G}

    def in_optax(self, optax):
        return optax.contrib.dowg(self.lr, self.initial, self.eps)
