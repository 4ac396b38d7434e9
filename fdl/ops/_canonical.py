"""Two-dimensional convolution as a primitive in the form that stays fast inside compiled loops on CPU.

XLA:CPU has a fast kernel for NHWC x HWIO -> NHWC convolutions alone. It rewrites others into that form in the entry
computation, but not inside `scan` or `while_loop`, where the two gradient convolutions of `lax.conv_general_dilated`
fall to a naive loop, some forty times slower. Convolution is bilinear and each of its transposes is a convolution
again: written out in the fast form, the primitive below is closed under differentiation and batching, so that
gradients, Jacobian- and Hessian-vector products of every order stay fast. Accelerators need none of this.
"""

from collections.abc import Sequence
from fractions import Fraction
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from fdl.ops._window import pad, slices

WHOLE = Fraction(1)
LAYOUTS = {1: ("NWC", "WIO", "NWC"), 2: ("NHWC", "HWIO", "NHWC"), 3: ("NDHWC", "DHWIO", "NDHWC")}


class Steps(NamedTuple):
    """How a kernel walks over its input: an integer for each spatial axis; of `padding`, a pair `(low, high)`."""

    strides: tuple[Any, ...]
    padding: tuple[Any, ...]
    x_dilation: tuple[Any, ...]
    w_dilation: tuple[Any, ...]

    @property
    def plain(self) -> bool:
        return {*self.strides, *self.x_dilation, *self.w_dilation} == {1}


def lax_conv(x: jax.Array, w: jax.Array, groups: int, steps: Steps) -> jax.Array:
    """XLA's own convolution of any rank, with its own gradients."""
    return jax.lax.conv_general_dilated(x, w, *steps, LAYOUTS[x.ndim - 2], feature_group_count=groups)


def canonical_conv(x: jax.Array, w: jax.Array, steps: Steps, patches: bool = False, share: Fraction = WHOLE) -> jax.Array:
    """Convolution of `[batch, height, width, channels]`; its forward pass, for few channels, as one product of `patches`.

    As a part of a larger one, made for speed, its multiplications stand for a `share` of as many: `nn.summary` counts those.
    """
    return _conv_p.bind(*_varying_alike(x, w), patches=patches, share=share, **steps._asdict())


def _varying_alike(x: jax.Array, w: jax.Array) -> list[jax.Array]:
    """Inside `shard_map`: both operands as varying over the same mesh axes, so that a replicated one's gradient is summed over devices."""
    axes = [jax.typeof(a).manual_axis_type.varying for a in (x, w)]
    return [jax.lax.pcast(a, tuple((axes[0] | axes[1]) - own), to="varying") for a, own in zip((x, w), axes)]


def _patches_conv(x: jax.Array, w: jax.Array, steps: Steps) -> jax.Array:
    (s, t), (d, e) = steps.strides, steps.w_dilation
    rows = slices(pad(x, steps.padding, dilation=steps.x_dilation), 1, w.shape[0], s, d)
    patches = jnp.concatenate([p for row in rows for p in slices(row, 2, w.shape[1], t, e)], -1)
    return patches @ w.reshape(-1, w.shape[-1])


def _compute(x: jax.Array, w: jax.Array, *, patches: bool, share: Fraction, **how: Any) -> jax.Array:
    steps = Steps(**how)
    larger = any(k > n for k, n in zip(_extent(w.shape[:2], steps.w_dilation), _extent(x.shape[1:3], steps.x_dilation)))
    return _patches_conv(x, w, steps) if patches or larger else lax_conv(x, w, 1, steps)  # XLA has only a loop for a larger kernel


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


def _transpose_x(
    dy: Any, x: Any, w: Any, *, strides: Any, padding: Any, x_dilation: Any, w_dilation: Any, patches: bool, share: Fraction
) -> Any:
    """dx = dilated dy * flipped w, with input and output channels exchanged."""
    reach, spread = _extent(w.shape[:2], w_dilation), _extent(dy.shape[1:3], strides)
    length = _extent(x.aval.shape[1:3], x_dilation)
    low = [r - 1 - p[0] for r, p in zip(reach, padding)]
    high = [n + r - 1 - e - a for n, r, e, a in zip(length, reach, spread, low)]
    flipped = _fence(w[::-1, ::-1].transpose(0, 1, 3, 2))
    return canonical_conv(dy, flipped, Steps(x_dilation, tuple(zip(low, high)), strides, w_dilation), share=share)


def _transpose_w(
    dy: Any, x: Any, w: Any, *, strides: Any, padding: Any, x_dilation: Any, w_dilation: Any, patches: bool, share: Fraction
) -> Any:
    """dw = x * dy with the batch contracted: [C, H, W, N] * [H, W, N, O] -> [C, kh, kw, O]."""
    reach, spread = _extent(w.aval.shape[:2], w_dilation), _extent(dy.shape[1:3], strides)
    length = _extent(x.shape[1:3], x_dilation)
    high = [r - 1 + e - n - p[0] for r, e, n, p in zip(reach, spread, length, padding)]
    steps = Steps(w_dilation, tuple((p[0], h) for p, h in zip(padding, high)), x_dilation, strides)
    x = _fence(_fence(x).transpose(3, 1, 2, 0))  # read across: `x` is not to be computed again on the way
    return canonical_conv(x, _fence(dy.transpose(1, 2, 0, 3)), steps, share=share).transpose(1, 2, 0, 3)


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
