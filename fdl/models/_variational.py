"""Variational autoencoders."""

from dataclasses import dataclass
from functools import partial

import jax
from jax.nn import initializers

from fdl import losses, nn


@dataclass(frozen=True)
class VAE(nn.Layer):
    """Encodes an input as a normal distribution, draws from it and decodes the draw.

    Kingma & Welling 2014, "Auto-encoding variational Bayes". Without a key (as where a loss is measured) the draw is always
    the same one.

    Args:
        encoder: from an input to `[batch, ...]`, from which means and log-variances follow linearly, Glorot uniform at the start.
        decoder: from `[batch, latents]` to an output like the input.
        latents: dimensions of the distribution.

    Output: `(reconstruction, means, log_variances)`, the latter two `[batch, latents]`.
    """

    encoder: nn.Layer
    decoder: nn.Layer
    latents: int

    def forward(self, scope: nn.Scope, x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        head = nn.Dense(self.latents, kernel_init=initializers.glorot_uniform())
        code = scope(self.encoder, x, name="encoder")
        means, log_variances = scope(head, code, name="means"), scope(head, code, name="log_variances")
        key = jax.random.key(0) if scope.key is None else scope.key
        return scope(self.decoder, losses.reparameterised(key, means, log_variances), name="decoder"), means, log_variances


def deepobs_vae() -> VAE:
    """The net of DeepOBS's `mnist_vae` and `fmnist_vae`, with 8 latent dimensions.

    Encoder: three 4 x 4 convolutions of 64 features, strides 2, 2 and 1, each with a leaky ReLU (0.3) and dropout of a fifth.
    Decoder: 24 and 49 leaky ReLU units, taken as 7 x 7 places; three transposed 4 x 4 convolutions of 64 features, strides 2, 1
    and 1, each with ReLU, the first two with dropout; 784 sigmoid units. Weights start Glorot uniform, biases at 0.

    Input `[batch, 28, 28, 1]` in 0..1; output as of `VAE`, the reconstruction like the input. 10,151,489 parameters.
    """
    glorot = initializers.glorot_uniform()
    conv = partial(nn.Conv, 64, 4, kernel_init=glorot)
    transposed = partial(nn.ConvTranspose, 64, 4, kernel_init=glorot)
    dense = partial(nn.Dense, kernel_init=glorot)
    drop = nn.Dropout(0.2)
    encoder = nn.Sequential(conv(2), _leaky, drop, conv(2), _leaky, drop, conv(1), _leaky, drop, nn.Flatten())
    decoder = nn.Sequential(
        dense(24), _leaky, dense(49), _leaky, _as_7_by_7,
        transposed(2), nn.relu, drop, transposed(1), nn.relu, drop, transposed(1), nn.relu,
        nn.Flatten(), dense(784), nn.sigmoid, _as_28_by_28,
    )  # fmt: skip
    return VAE(encoder, decoder, 8)


def _leaky(x: jax.Array) -> jax.Array:
    return nn.leaky_relu(x, 0.3)


def _as_7_by_7(x: jax.Array) -> jax.Array:
    return x.reshape(-1, 7, 7, 1)


def _as_28_by_28(x: jax.Array) -> jax.Array:
    return x.reshape(-1, 28, 28, 1)
