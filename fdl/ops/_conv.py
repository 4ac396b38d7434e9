"""Two-dimensional convolution in a form that stays fast inside compiled loops on CPU.

XLA:CPU has a fast kernel for NHWC x HWIO -> NHWC convolutions alone. It rewrites others into that form in the entry
computation, but not inside `scan` or `while_loop`, where the two gradient convolutions of `lax.conv_general_dilated`
fall to a naive loop, some forty times slower. Convolution is bilinear and each of its transposes is a convolution
again: written out in the fast form, the primitive below is closed under differentiation and batching, so that
gradients, Jacobian- and Hessian-vector products of every order stay fast. Accelerators need none of this.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from fdl.ops._tiled import conv_by_tiles
from fdl.ops._window import Padding, explicit_padding, pad, pair, slices

Form = Literal["auto", "canonical", "patches", "blocks", "winograd", "lax"]
FEW_CHANNELS = 4  # up to here a product of patches, or blocks, beats the convolution kernel
MANY_CHANNELS = 32  # from here, in and out, fewer multiplications outweigh the transforms
WINOGRAD_WIDTHS = (2, 3, 4, 5)


def conv(
    x: jax.Array,
    kernel: jax.Array,
    strides: int | Sequence[int] = 1,
    padding: Padding = "SAME",
    dilation: int | Sequence[int] = 1,
    form: Form = "auto",
) -> jax.Array:
    """Cross-correlation, which deep learning calls convolution.

    `y[b, i, j, o] = sum_{u, v, c} x[b, i s + u d, j s + v d, c] kernel[u, v, c, o]`, with `x` padded.

    Args:
        x: `[batch, height, width, channels]`.
        kernel: `[kernel_height, kernel_width, channels, features]`, of `x`'s dtype.
        strides: `s`, one for both axes or one for each; so is `dilation`, `d`.
        padding: `"SAME"`, `"VALID"` or `(low, high)` for height and width.
        form: how it is computed. On CPU `"canonical"` is fast; `"patches"` is faster for few input channels and
            `"blocks"` more so (stride and dilation 1); `"winograd"` is faster for many, with fewer multiplications (stride
            and dilation 1, kernels 2 to 5 wide) and a rounding error some four times as large, 1e-6 of the result's root
            mean square in float32. `"lax"` is XLA's own with its own gradients. `"auto"` takes the fastest for the
            default backend and this shape.

    Returns:
        `[batch, height', width', features]`.
    """
    if x.ndim != 4 or kernel.ndim != 4 or x.shape[-1] != kernel.shape[2]:
        raise ValueError(f"a kernel of shape {kernel.shape} does not fit an input of shape {x.shape}")
    if form not in get_args(Form):
        raise ValueError(f"form {form!r} is none of {', '.join(map(repr, get_args(Form)))}")
    strides, dilation = pair(strides), pair(dilation)
    how: dict[str, Any] = {"strides": strides, "padding": explicit_padding(padding, x.shape[1:3], kernel.shape[:2], strides, dilation)}
    how |= {"x_dilation": (1, 1), "w_dilation": dilation}
    if form == "lax" or (form == "auto" and jax.default_backend() != "cpu"):
        return _lax_conv(x, kernel, **how)
    plain, width = strides == dilation == (1, 1), kernel.shape[1]
    if form == "auto":
        form = _fastest(x, kernel, plain)
    elif (form in ("blocks", "winograd") and not plain) or (form == "winograd" and width not in WINOGRAD_WIDTHS):
        raise ValueError(f"no {form} form for strides {strides}, dilation {dilation} and a kernel {width} wide")
    if form in ("blocks", "winograd"):
        return conv_by_tiles(form, _valid, x, kernel, how["padding"])
    return _conv_p.bind(*_varying_alike(x, kernel), patches=form == "patches", **how)


def _valid(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return conv(x, kernel, padding="VALID", form="canonical")


def _fastest(x: jax.Array, kernel: jax.Array, plain: bool) -> Form:
    """As measured on maps from 4 x 4 to 32 x 32 on two cores; of two bytes Winograd's transforms lose too many bits."""
    height, width, channels, features = kernel.shape
    if channels <= FEW_CHANNELS and height * width > 1:
        return "blocks" if plain and width > 1 else "patches"
    many = min(channels, features) >= MANY_CHANNELS and x.shape[2] >= 8
    return "winograd" if plain and many and width in WINOGRAD_WIDTHS[1:] and x.dtype.itemsize >= 4 else "canonical"


def _varying_alike(x: jax.Array, w: jax.Array) -> list[jax.Array]:
    """Inside `shard_map`: both operands as varying over the same mesh axes, so that a replicated one's gradient is summed over devices."""
    axes = [jax.typeof(a).manual_axis_type.varying for a in (x, w)]
    return [jax.lax.pcast(a, tuple((axes[0] | axes[1]) - own), to="varying") for a, own in zip((x, w), axes)]


def _lax_conv(x: jax.Array, w: jax.Array, *, strides: Any, padding: Any, x_dilation: Any, w_dilation: Any) -> jax.Array:
    return jax.lax.conv_general_dilated(x, w, strides, padding, x_dilation, w_dilation, ("NHWC", "HWIO", "NHWC"))


def _patches_conv(x: jax.Array, w: jax.Array, *, strides: Any, padding: Any, w_dilation: Any) -> jax.Array:
    rows = slices(pad(x, padding), 1, w.shape[0], strides[0], w_dilation[0])
    patches = jnp.concatenate([p for row in rows for p in slices(row, 2, w.shape[1], strides[1], w_dilation[1])], -1)
    return patches @ w.reshape(-1, w.shape[-1])


def _compute(x: jax.Array, w: jax.Array, *, patches: bool, x_dilation: Any, **how: Any) -> jax.Array:
    return _patches_conv(x, w, **how) if patches else _lax_conv(x, w, x_dilation=x_dilation, **how)


_conv_p = Primitive("canonical_conv")
_conv_p.def_impl(lambda x, w, **how: jax.jit(partial(_compute, **how))(x, w))
mlir.register_lowering(_conv_p, mlir.lower_fun(_compute, multiple_results=False))


@_conv_p.def_abstract_eval
def _shape(x: Any, w: Any, **how: Any) -> Any:
    out = jax.eval_shape(partial(_compute, **how), *(jax.ShapeDtypeStruct(a.shape, a.dtype) for a in (x, w)))
    return x.update(shape=out.shape, dtype=out.dtype, weak_type=False)  # of x's mesh axes


def _extent(sizes: Sequence[int], dilation: Sequence[int]) -> list[int]:
    return [(n - 1) * d + 1 for n, d in zip(sizes, dilation)]


# A barrier keeps XLA from folding a transpose back into the convolution's dimension numbers, that is, off the fast path.
_fence = jax.lax.optimization_barrier


def _transpose_x(dy: Any, x: Any, w: Any, *, strides: Any, padding: Any, x_dilation: Any, w_dilation: Any, patches: bool) -> Any:
    """dx = dilated dy * flipped w, with input and output channels exchanged."""
    reach, spread = _extent(w.shape[:2], w_dilation), _extent(dy.shape[1:3], strides)
    length = _extent(x.aval.shape[1:3], x_dilation)
    low = [r - 1 - p[0] for r, p in zip(reach, padding)]
    high = [n + r - 1 - e - a for n, r, e, a in zip(length, reach, spread, low)]
    flipped = _fence(w[::-1, ::-1].transpose(0, 1, 3, 2))
    return _conv_p.bind(
        dy, flipped, strides=x_dilation, padding=tuple(zip(low, high)), x_dilation=strides, w_dilation=w_dilation, patches=False
    )


def _transpose_w(dy: Any, x: Any, w: Any, *, strides: Any, padding: Any, x_dilation: Any, w_dilation: Any, patches: bool) -> Any:
    """dw = x * dy with the batch contracted: [C, H, W, N] * [H, W, N, O] -> [C, kh, kw, O]."""
    reach, spread = _extent(w.aval.shape[:2], w_dilation), _extent(dy.shape[1:3], strides)
    length = _extent(x.shape[1:3], x_dilation)
    high = [r - 1 + e - n - p[0] for r, e, n, p in zip(reach, spread, length, padding)]
    dw = _conv_p.bind(
        _fence(x.transpose(3, 1, 2, 0)), _fence(dy.transpose(1, 2, 0, 3)), strides=w_dilation,
        padding=tuple((p[0], h) for p, h in zip(padding, high)), x_dilation=x_dilation, w_dilation=strides, patches=False,
    )  # fmt: skip
    return dw.transpose(1, 2, 0, 3)


ad.defbilinear(_conv_p, _transpose_x, _transpose_w)


def _batch(args: Any, dims: Any, **how: Any) -> Any:
    """A batch axis of one operand joins that operand's batch or features; of both, one convolution follows another."""
    (x, w), (x_dim, w_dim) = args, dims
    if w_dim is None:
        x = jnp.moveaxis(x, x_dim, 0)
        y = _conv_p.bind(x.reshape(-1, *x.shape[2:]), w, **how)
        return y.reshape(*x.shape[:2], *y.shape[1:]), 0
    if x_dim is None:
        w = jnp.moveaxis(w, w_dim, -2)
        y = _conv_p.bind(x, w.reshape(*w.shape[:3], -1), **how)
        return y.reshape(*y.shape[:3], *w.shape[-2:]), 3
    return jax.lax.map(lambda xw: _conv_p.bind(*xw, **how), (jnp.moveaxis(x, x_dim, 0), jnp.moveaxis(w, w_dim, 0))), 0


batching.primitive_batchers[_conv_p] = _batch
