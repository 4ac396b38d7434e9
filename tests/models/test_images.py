"""CIFAR's input: every draw against its definition, and the whole against NumPy."""

import colorsys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from fdl import FdlError
from fdl.core import fold
from fdl.models import CifarInput
from fdl.models._images import contrast, random_crop, random_flip, saturate

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (6, 32, 32, 3)).astype(np.uint8)
FALSE_ALARM = 1e-6


def apply(images=IMAGES, seed=None, train=False):
    key = None if seed is None else jax.random.key(seed)
    return np.asarray(CifarInput().apply({}, {}, jnp.asarray(images), key=key, train=train)[0])


def standardised(images):
    images = np.asarray(images, np.float64)
    mean, std = (f(images, (1, 2, 3), keepdims=True) for f in (np.mean, np.std))
    return (images - mean) / np.maximum(std, 1 / np.sqrt(images[0].size))


def test_without_training_images_are_standardised_one_by_one(error):
    assert error(apply(), standardised(IMAGES)) < 2e-6  # measured 1.3e-7
    assert apply().dtype == np.float32
    flat = np.full((2, 32, 32, 3), 255, np.uint8)
    flat[1, 0, 0, 0] = 254  # a deviation of 0.018, about 1 / sqrt(3072)
    assert (apply(flat)[0] == 0).all()
    assert error(apply(flat)[1:], standardised(flat[1:])) < 5e-5  # measured 5e-6: little is left of 255


def test_every_crop_is_as_likely():
    image = np.arange(1, 1 + 6 * 5).reshape(1, 6, 5, 1).astype(np.float32)
    padded = np.pad(image[0], ((2, 2), (2, 2), (0, 0)))
    places = {padded[i : i + 6, j : j + 5].tobytes(): (i, j) for i in range(5) for j in range(5)}
    crops = np.asarray(random_crop(jax.random.key(0), jnp.asarray(np.repeat(image, 5000, 0)), 2))
    counts = np.zeros((5, 5))
    for crop in crops:
        counts[places[crop.tobytes()]] += 1
    assert scipy.stats.chisquare(counts.ravel()).pvalue > FALSE_ALARM


def test_half_of_the_images_are_flipped_left_to_right():
    images = np.repeat(RNG.normal(size=(1, 2, 3, 1)).astype(np.float32), 4000, 0)
    flipped = np.asarray(random_flip(jax.random.key(0), jnp.asarray(images)))
    is_flipped = (flipped == images[:, :, ::-1]).all((1, 2, 3))
    assert (is_flipped | (flipped == images).all((1, 2, 3))).all()
    assert scipy.stats.binomtest(int(is_flipped.sum()), 4000).pvalue > FALSE_ALARM


@given(st.floats(0.5, 1.5), st.lists(st.floats(0, 1), min_size=3, max_size=3))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_saturation_is_that_of_hue_saturation_value(factor, pixel):
    hue, saturation, value = colorsys.rgb_to_hsv(*pixel)
    want = np.array(colorsys.hsv_to_rgb(hue, min(1, factor * saturation), value))
    got = saturate(jnp.asarray([[[pixel]]], jnp.float32) * 255, jnp.full((1, 1, 1, 1), factor, jnp.float32))[0, 0, 0]
    np.testing.assert_allclose(got, 255 * want, atol=3e-4)  # of 255: measured 3e-5 over 20,000 pixels


def test_black_grey_and_darkened_pixels_keep_their_colour():
    x = jnp.asarray([[[[0, 0, 0], [7, 7, 7], [-0.2, -0.2, -0.2]]]], jnp.float32)
    np.testing.assert_array_equal(saturate(x, jnp.full((1, 1, 1, 1), 1.5)), x)


def test_contrast_scales_distances_from_each_channel_s_mean(error):
    x, factor = RNG.normal(size=(4, 5, 6, 3)), RNG.uniform(0.2, 1.8, (4, 1, 1, 1))
    mean = x.mean((1, 2), keepdims=True)
    got = contrast(jnp.asarray(x, jnp.float32), jnp.asarray(factor, jnp.float32))
    assert error(got, (x - mean) * factor + mean) < 1e-6  # measured 7e-8


def test_training_is_crop_flip_brightness_saturation_contrast_in_this_order(error):
    key = fold(jax.random.key(3), "image")

    draw = lambda name, low, high: np.asarray(jax.random.uniform(fold(key, name), (6, 1, 1, 1), jnp.float32, low, high), np.float64)
    x = jnp.asarray(IMAGES, jnp.float32)
    x = random_flip(fold(key, "flip"), random_crop(fold(key, "crop"), x, 2))
    x = np.asarray(x, np.float64) + draw("brightness", -63 / 255, 63 / 255)
    factor = draw("saturation", 0.5, 1.5)
    for i, j, k in np.ndindex(x.shape[:3]):
        hue, saturation, value = colorsys.rgb_to_hsv(*x[i, j, k]) if x[i, j, k].max() > 0 else (0, 0, x[i, j, k].max())
        x[i, j, k] = colorsys.hsv_to_rgb(hue, min(1, factor[i, 0, 0, 0] * saturation), value)
    mean = x.mean((1, 2), keepdims=True)
    want = standardised((x - mean) * draw("contrast", 0.2, 1.8) + mean)
    got, _ = CifarInput().apply({}, {}, jnp.asarray(IMAGES), key=key, train=True)
    assert error(got, want) < 5e-6  # measured 4e-7


def test_draws_are_of_the_key_and_of_each_image():
    same = np.repeat(IMAGES[:1], 8, 0)
    trained = apply(same, 0, train=True)
    assert len({image.tobytes() for image in trained}) == 8
    np.testing.assert_array_equal(trained, apply(same, 0, train=True))
    assert not (trained == apply(same, 1, train=True)).all((1, 2, 3)).any()
    np.testing.assert_array_equal(apply(same, 0), apply(same))  # without training no key matters
    np.testing.assert_array_equal(np.asarray(CifarInput(augment=False).apply({}, {}, jnp.asarray(same), train=True)[0]), apply(same))
    np.testing.assert_array_less(abs(trained.mean((1, 2, 3))), 1e-5)
    np.testing.assert_allclose(trained.std((1, 2, 3)), 1, atol=1e-5)


def test_it_is_mapped_and_compiled_like_anything_else(error):
    keys = jax.random.split(jax.random.key(0), 3)
    function = lambda key: CifarInput().apply({}, {}, jnp.asarray(IMAGES), key=key, train=True)[0]
    one_by_one = jnp.stack([function(key) for key in keys])
    assert error(jax.jit(jax.vmap(function))(keys), one_by_one) < 5e-6  # measured 5e-7


def test_training_without_a_key_is_told():
    with pytest.raises(FdlError, match="found no key; expected a random key while training"):
        apply(train=True)
