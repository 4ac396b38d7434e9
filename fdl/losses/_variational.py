"""Pieces of the evidence lower bound (Kingma & Welling 2014, "Auto-Encoding Variational Bayes")."""

import jax
import jax.numpy as jnp

from fdl.losses._classification import binary_cross_entropy
from fdl.losses._reduce import check_same, mean, wide


def gaussian_kl(means: jax.Array, log_variances: jax.Array) -> jax.Array:
    """Mean over the batch of `KL(N(mean, variance) || N(0, 1)) = sum (variance + mean^2 - 1 - log variance) / 2`.

    The paper's appendix B.

    Args:
        means: `[batch, ...]`; `log_variances` have the same shape. The sum is over every axis but the first.

    Raises:
        ValueError: for unequal shapes.
    """
    check_same(means, log_variances)
    m, s = wide(means), wide(log_variances)
    each = (jnp.expm1(s) - s + jnp.square(m)) / 2  # expm1: near 0 the difference would be rounding alone
    return mean(each.reshape(each.shape[0], -1).sum(-1))


def negative_elbo(outputs: tuple[jax.Array, jax.Array, jax.Array], targets: jax.Array, *, beta: float = 1.0) -> jax.Array:
    """Mean over the batch of `-log p(x | z) + beta KL(q(z | x) || N(0, 1))`, with `p` independent Bernoulli variables.

    The paper's equation 10 with one draw of z; `beta` other than 1: Higgins et al. 2017, "beta-VAE".

    Args:
        outputs: `(logits, means, log_variances)`: logits `[batch, ...]` of `p`, the others `[batch, latents]` of `q`.
        targets: `x`, in 0..1, of the logits' shape; their log-probability is summed over every axis but the first.
        beta: at least 0.

    Raises:
        ValueError: for unequal shapes.
    """
    logits, means, log_variances = outputs
    per_example = logits.size // logits.shape[0]
    return per_example * binary_cross_entropy(logits, targets) + beta * gaussian_kl(means, log_variances)


def reparameterised(key: jax.Array, means: jax.Array, log_variances: jax.Array) -> jax.Array:
    """A draw `z = mean + exp(log_variance / 2) noise`, through which gradients pass (the paper's section 2.4).

    Args:
        key: a `jax.random.key`.
        means: `[...]`; `log_variances` have the same shape and dtype, and so has the result.

    Raises:
        ValueError: for unequal shapes.
    """
    check_same(means, log_variances)
    return means + jnp.exp(log_variances / 2) * jax.random.normal(key, means.shape, means.dtype)
