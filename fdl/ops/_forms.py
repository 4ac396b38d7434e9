"""The forms in which a convolution is computed: every rank, any groups, made of fast two-dimensional ones on CPU."""

import functools
import math
from fractions import Fraction
from typing import Literal

import jax
import jax.numpy as jnp

from fdl.ops._canonical import WHOLE, Steps, canonical_conv, lax_conv
from fdl.ops._tiled import OUTPUTS, conv_by_tiles
from fdl.ops._window import pad, slices

Form = Literal["auto", "canonical", "patches", "blocks", "winograd", "shifts", "lax"]
FEW_CHANNELS = 4  # up to here a product of patches, or blocks, beats the convolution kernel
MANY_CHANNELS = 32  # from here, in and out, fewer multiplications outweigh the transforms
FEWER = 0.6  # of the multiplications, at most, with more than one tile along the width
WINOGRAD_WIDTHS = (2, 3, 4, 5)
BUNDLE = 16  # channels: groups of fewer are computed several at once, as one kernel that is zero between them
FEW_TAPS = 9  # up to here a depthwise convolution is fastest as a sum of shifted products


def convolve(x: jax.Array, kernel: jax.Array, groups: int, form: Form, steps: Steps) -> jax.Array:
    """The convolution of `x` `[batch, ..., channels]` by `kernel` `[..., channels / groups, features]` in this form."""
    if form == "lax" or (form == "auto" and jax.default_backend() != "cpu"):
        return lax_conv(x, kernel, groups, steps)
    if groups > 1:
        return conv_by_groups(x, kernel, groups, form, steps)
    if form == "shifts":
        raise ValueError("no shifts form of one group: it is for depthwise convolutions")
    return _flat(x, kernel, form, steps, WHOLE)


@functools.partial(jax.jit, static_argnums=(2, 3, 4))  # a name in the jaxpr: `nn.summary` counts its convolutions alone
def conv_by_groups(x: jax.Array, kernel: jax.Array, groups: int, form: Form, steps: Steps) -> jax.Array:
    """Depthwise as a sum of shifted products, else as convolutions of bundles of groups, one after another."""
    *window, inputs, features = kernel.shape
    if form == "shifts" and inputs > 1:
        raise ValueError(f"no shifts form of {inputs} channels in each group: it is for depthwise convolutions")
    if form == "shifts" or (form == "auto" and inputs == 1 and features == groups and math.prod(window) <= FEW_TAPS):
        return conv_by_shifts(x, kernel, steps)
    outputs = features // groups
    size = next(n for n in range(1, groups + 1) if groups % n == 0 and (n == groups or n * min(inputs, outputs) >= BUNDLE))
    kernel = kernel.reshape(*window, 1, inputs, groups // size, size, outputs)
    if size > 1:
        kernel = kernel * jnp.eye(size, dtype=kernel.dtype).reshape(*(1 for _ in window), size, 1, 1, size, 1)
    kernel = kernel.reshape(*window, size * inputs, groups // size, size * outputs)
    x = x.reshape(*x.shape[:-1], groups // size, size * inputs)
    form = "canonical" if form == "auto" else form
    y = jax.vmap(lambda x, kernel: _flat(x, kernel, form, steps, Fraction(1, size)), (-2, -2), -2)(x, kernel)
    return y.reshape(*y.shape[:-2], features)


@functools.partial(jax.jit, static_argnums=2)  # a name in the jaxpr: `nn.summary` counts its products alone
def conv_by_shifts(x: jax.Array, kernel: jax.Array, steps: Steps) -> jax.Array:
    places = [pad(jnp.repeat(x, kernel.shape[-1] // x.shape[-1], -1), steps.padding, dilation=steps.x_dilation)]
    for axis, walk in enumerate(zip(kernel.shape[:-2], steps.strides, steps.w_dilation), 1):
        places = [part for place in places for part in slices(place, axis, *walk)]
    taps = kernel.reshape(len(places), *(1,) * (x.ndim - 1), -1)
    return functools.reduce(jnp.add, [place * tap for place, tap in zip(places, taps)])


def _flat(x: jax.Array, kernel: jax.Array, form: Form, steps: Steps, share: Fraction) -> jax.Array:
    """In two dimensions: one is given another of size 1; of three, the first joins the batch, and its taps the channels."""
    if x.ndim == 4:
        return _plane(x, kernel, form, steps, share)
    if x.ndim == 3:
        steps = Steps(*((still, *axes) for still, axes in zip((1, (0, 0), 1, 1), steps)))
        return _plane(x[:, None], kernel[None], form, steps, share)[:, 0]
    x = pad(x, (steps.padding[0], (0, 0), (0, 0)), dilation=(steps.x_dilation[0], 1, 1))
    x = jnp.concatenate(slices(x, 1, kernel.shape[0], steps.strides[0], steps.w_dilation[0]), -1)
    kernel = jnp.moveaxis(kernel, 0, 2).reshape(*kernel.shape[1:3], -1, kernel.shape[-1])
    y = _plane(x.reshape(-1, *x.shape[2:]), kernel, form, Steps(*(axes[1:] for axes in steps)), share)
    return y.reshape(*x.shape[:2], *y.shape[1:])


def _plane(x: jax.Array, kernel: jax.Array, form: Form, steps: Steps, share: Fraction) -> jax.Array:
    width = kernel.shape[1]
    if form == "auto":
        form = _fastest(x, kernel, steps)
    elif (form in ("blocks", "winograd") and not steps.plain) or (form == "winograd" and width not in WINOGRAD_WIDTHS):
        raise ValueError(f"no {form} form for strides {steps.strides}, dilation {steps.w_dilation} and a kernel {width} wide")
    if form in ("blocks", "winograd"):
        return conv_by_tiles(form, _valid, x, kernel, steps.padding, share)
    return canonical_conv(x, kernel, steps, form == "patches", share)


def _valid(x: jax.Array, kernel: jax.Array, share: Fraction) -> jax.Array:
    return canonical_conv(x, kernel, Steps((1, 1), ((0, 0), (0, 0)), (1, 1), (1, 1)), share=share)


def _fastest(x: jax.Array, kernel: jax.Array, steps: Steps) -> Form:
    """As measured on maps from 2 x 2 to 32 x 32 on two cores; of two bytes Winograd's transforms lose too many bits."""
    height, width, channels, features = kernel.shape
    if {*steps.x_dilation} != {1}:
        return "canonical"
    if channels <= FEW_CHANNELS and height * width > 1:
        return "blocks" if steps.plain and width > 1 else "patches"
    if not steps.plain or width not in WINOGRAD_WIDTHS[1:] or min(channels, features) < MANY_CHANNELS or x.dtype.itemsize < 4:
        return "canonical"
    outputs, size = x.shape[2] + sum(steps.padding[1]) - width + 1, OUTPUTS["winograd"]
    tiles = -(-outputs // size)
    return "winograd" if tiles > 1 and tiles * (size + width - 1) <= FEWER * outputs * width else "canonical"
