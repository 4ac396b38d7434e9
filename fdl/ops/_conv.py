"""Convolution in one, two and three dimensions and its transpose, each in the form that is fast on the default backend."""

from collections.abc import Sequence
from typing import get_args

import jax
import jax.numpy as jnp

from fdl.ops._canonical import Steps
from fdl.ops._forms import Form, convolve
from fdl.ops._window import Padding, explicit_padding, per_axis, spatial_rank

MODES = {"CIRCULAR": "wrap", "REFLECT": "reflect"}  # as `jnp.pad` calls them


def conv(
    x: jax.Array,
    kernel: jax.Array,
    strides: int | Sequence[int] = 1,
    padding: Padding = "SAME",
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    form: Form = "auto",
) -> jax.Array:
    """Cross-correlation, which deep learning calls convolution, over one, two or three axes.

    `y[b, i, j, o] = sum_{u, v, c} x[b, i s + u d, j s + v d, c] kernel[u, v, c, o]`, with `x` padded. Of several `groups`,
    input channels and features are cut into as many equal parts, and each part of the features sees its part of the
    channels alone.

    Args:
        x: `[batch, height, width, channels]`, or with one axis or three between batch and channels.
        kernel: `[kernel_height, kernel_width, channels / groups, features]`, of `x`'s dtype.
        strides: `s`, one for all axes or one for each; so is `dilation`, `d`.
        padding: `"SAME"` (zeros; `ceil(size / stride)` outputs), `"VALID"` (none), a number of zeros for all sides, or for each
            axis one or `(low, high)`; or what takes the place of `"SAME"`'s zeros: `"CIRCULAR"`, the values from the other end,
            or `"REFLECT"`, those mirrored at the outermost one.
        groups: how many; as many as channels make the convolution depthwise.
        form: how it is computed. On CPU `"canonical"` is fast; `"patches"` is faster for few input channels and
            `"blocks"` more so (stride and dilation 1); `"winograd"` is faster for many, with fewer multiplications (stride
            and dilation 1, kernels 2 to 5 wide) and a rounding error some four times as large, 1e-6 of the result's root
            mean square in float32; `"shifts"` is faster for depthwise convolutions with few taps. Of several groups, any but
            `"shifts"` computes one after another, small ones several at a time (where what is not finite spreads from one to
            the others). `"lax"` is XLA's own with its own gradients. `"auto"` takes the fastest for the default backend and
            this shape.

    Returns:
        `[batch, height', width', features]`.
    """
    rank = spatial_rank(x)
    check_kernel(x, kernel, groups)
    if form not in get_args(Form):
        raise ValueError(f"form {form!r} is none of {', '.join(map(repr, get_args(Form)))}")
    strides, dilation = per_axis(strides, rank, "strides"), per_axis(dilation, rank, "dilation")
    mode = MODES.get(padding) if isinstance(padding, str) else None
    pads = explicit_padding("SAME" if mode else padding, x.shape[1:-1], kernel.shape[:-2], strides, dilation)
    if mode:
        x, pads = jnp.pad(x, ((0, 0), *pads, (0, 0)), mode=mode), ((0, 0),) * rank
    return convolve(x, kernel, groups, form, Steps(strides, pads, (1,) * rank, dilation))


def conv_transpose(
    x: jax.Array,
    kernel: jax.Array,
    strides: int | Sequence[int] = 1,
    padding: Padding = "SAME",
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    output_padding: int | Sequence[int] = 0,
) -> jax.Array:
    """The transpose of `conv` as a linear map: every input spreads the kernel over the outputs that it reaches.

    `y[b, i s + u d - low, j s + v d - low, o] += x[b, i, j, c] kernel[u, v, c, o]`: the gradient, with respect to its input,
    of a `conv` whose kernel has channels and features exchanged. PyTorch's is the same, its kernel's axes in another
    order; `lax.conv_transpose` is the same for a kernel flipped along its spatial axes.

    Args:
        x: `[batch, height, width, channels]`, or with one axis or three between batch and channels.
        kernel: `[kernel_height, kernel_width, channels / groups, features]`, of `x`'s dtype.
        strides: `s`, how far apart the inputs stand among the outputs; so is `dilation`, `d`, of the kernel's elements.
        padding: of the convolution that is transposed, which for an axis of `n` inputs and a kernel with reach
            `r = (size - 1) d + 1` gives the number of outputs: `"SAME"`: `n s`; `"VALID"`: `n s + max(r - s, 0)`, both as in
            `lax.conv_transpose`; `(low, high)`, or a number for both: `(n - 1) s + r - low - high + output_padding`, as in PyTorch.
        groups: as in `conv`.
        output_padding: further outputs at the high end, less than `s`, one number for all axes or one for each; for explicit
            padding alone.

    Returns:
        `[batch, height', width', features]`.
    """
    rank = spatial_rank(x)
    check_kernel(x, kernel, groups)
    strides, dilation = per_axis(strides, rank, "strides"), per_axis(dilation, rank, "dilation")
    more = per_axis(output_padding, rank, "output_padding")
    if any(m and (isinstance(padding, str) or not 0 < m < s) for m, s in zip(more, strides)):
        raise ValueError(f"output_padding {more} is for explicit padding, and from 0 to less than the strides {strides}")
    sizes, reach = x.shape[1:-1], [(k - 1) * d + 1 for k, d in zip(kernel.shape[:-2], dilation)]
    spread = [(n - 1) * s + 1 for n, s in zip(sizes, strides)]
    if isinstance(padding, str):
        outputs = [n * s + (max(r - s, 0) if padding == "VALID" else 0) for n, s, r in zip(sizes, strides, reach)]
        cut = explicit_padding(padding, outputs, kernel.shape[:-2], strides, dilation)
    else:
        cut = explicit_padding(padding, sizes, kernel.shape[:-2], strides)
        outputs = [e + r - 1 - low - high + m for e, r, (low, high), m in zip(spread, reach, cut, more)]
    pads = tuple((r - 1 - low, n - e + low) for n, e, r, (low, _) in zip(outputs, spread, reach, cut))
    return convolve(x, jnp.flip(kernel, range(rank)), groups, "auto", Steps((1,) * rank, pads, strides, dilation))


def check_kernel(x: jax.Array, kernel: jax.Array, groups: int) -> None:
    channels, features = x.shape[-1], kernel.shape[-1]
    if groups < 1 or channels % groups or features % groups:
        raise ValueError(f"{channels} channels and {features} features do not divide into {groups} groups")
    if kernel.ndim != x.ndim or kernel.shape[-2] * groups != channels:
        of = f" of {groups} groups" if groups > 1 else ""
        raise ValueError(f"a kernel of shape {kernel.shape}{of} does not fit an input of shape {x.shape}")
