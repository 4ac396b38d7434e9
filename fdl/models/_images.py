"""Images drawn anew at every step, as TensorFlow's `tf.image` defines the draws."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from fdl import nn
from fdl.core import FdlError, fold


@dataclass(frozen=True)
class CifarInput(nn.Layer):
    """What DeepOBS does to CIFAR's and SVHN's pixels before a net sees them.

    While training, each image by itself: padded with zeros to 36 x 36 and cropped to 32 x 32 at random; flipped left to right
    with probability 1/2 (unless `flip` is False, as for SVHN's digits); brightness, an addend of -63/255 to 63/255 (so little
    because DeepOBS takes pixels of 0 to 255 here); saturation, a factor of 0.5 to 1.5; contrast, a factor of 0.2 to 1.8 on
    the distances from each channel's mean. Always: `standardise_images`.

    Input uint8 or floating pixels of 0 to 255 `[batch, height, width, 3]`, output float32 of the same shape.

    Args:
        augment: whether training draws images anew at all.
        flip: whether they are flipped.

    Raises:
        FdlError: when training without a key.
    """

    augment: bool = True
    flip: bool = True

    def forward(self, scope: nn.Scope, images: jax.Array) -> jax.Array:
        x = images.astype(jnp.float32)
        if scope.train and self.augment:
            if scope.key is None:
                fix = "model.apply(..., key=jax.random.key(0), train=True)"
                raise FdlError(f"layer {scope.path}", "no key", "a random key while training", fix)
            x = random_crop(fold(scope.key, "crop"), x, 2)
            x = random_flip(fold(scope.key, "flip"), x) if self.flip else x
            x = x + _uniform(fold(scope.key, "brightness"), x, -63 / 255, 63 / 255)
            x = saturate(x, _uniform(fold(scope.key, "saturation"), x, 0.5, 1.5))
            x = contrast(x, _uniform(fold(scope.key, "contrast"), x, 0.2, 1.8))
        return standardise_images(x)


def standardise_images(x: jax.Array) -> jax.Array:
    """Each image minus its mean, divided by its standard deviation, or by `1 / sqrt(n)` of its `n` values where that is more.

    `[batch, height, width, channels]`, floating; mean and deviation go over all three axes, as `per_image_standardization`.
    """
    size = x.shape[1] * x.shape[2] * x.shape[3]
    centred = x - x.mean((1, 2, 3), keepdims=True)
    return centred / jnp.maximum(jnp.sqrt(jnp.square(centred).mean((1, 2, 3), keepdims=True)), size**-0.5)


def random_crop(key: jax.Array, x: jax.Array, margin: int) -> jax.Array:
    """Each image moved by up to `margin` pixels along both axes, every place as likely, with zeros where nothing was."""
    padded = jnp.pad(x, ((0, 0), (margin, margin), (margin, margin), (0, 0)))
    corners = jax.random.randint(key, (len(x), 2), 0, 2 * margin + 1, jnp.int32)
    crop = lambda image, corner: jax.lax.dynamic_slice(image, (corner[0], corner[1], jnp.int32(0)), x.shape[1:])
    return jax.vmap(crop)(padded, corners)


def random_flip(key: jax.Array, x: jax.Array) -> jax.Array:
    """Each image, left and right exchanged with probability 1/2."""
    return jnp.where(jax.random.bernoulli(key, 0.5, (len(x), 1, 1, 1)), x[:, :, ::-1], x)


def saturate(x: jax.Array, factor: jax.Array) -> jax.Array:
    """Colours whose saturation, `(largest - smallest) / largest` of a pixel's channels, is multiplied, up to 1.

    Hue and largest channel stay, so every channel's distance from the largest grows by one factor per pixel.
    """
    largest, smallest = x.max(-1, keepdims=True), x.min(-1, keepdims=True)
    spread = largest - smallest
    most = jnp.where(spread > 0, largest / jnp.where(spread > 0, spread, 1), 1)
    return largest - jnp.where(largest > 0, jnp.minimum(factor, most), 1) * (largest - x)


def contrast(x: jax.Array, factor: jax.Array) -> jax.Array:
    """Each channel's distances from its mean over the image, multiplied."""
    mean = x.mean((1, 2), keepdims=True)
    return mean + factor * (x - mean)


def _uniform(key: jax.Array, x: jax.Array, low: float, high: float) -> jax.Array:
    """A number for each image."""
    return jax.random.uniform(key, (len(x), 1, 1, 1), x.dtype, low, high)
