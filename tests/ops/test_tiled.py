"""`ops.conv` by tiles, `"blocks"` and `"winograd"`, is lax's convolution under every transformation; `"auto"` knows where it pays."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fdl import nn, ops
from fdl.ops._tiled import matrices


def draw(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


@pytest.fixture(params=["blocks", "winograd"])
def tiled(request):
    return request.param


def loss_of(form, padding="SAME"):
    return lambda x, w: jnp.sum(jnp.tanh(ops.conv(x, w, padding=padding, form=form)) ** 2)


def compared(error, tiled, transform, *args):
    """The error of the form against lax, where `transform` turns a form into a function of `args`."""
    return error(*jax.jit(lambda *args: [transform(form)(*args) for form in (tiled, "lax")])(*args))


@pytest.mark.parametrize(("outputs", "taps"), [(1, 3), (2, 3), (3, 5), (4, 2), (4, 3), (4, 4), (4, 5), (6, 3)])
def test_the_matrices_filter(outputs, taps):
    back, filters, transform = matrices(outputs, taps)
    signal, taps_ = draw(0, outputs + taps - 1), draw(1, taps)
    want = np.correlate(signal, taps_, "valid")
    np.testing.assert_allclose(back @ ((filters @ taps_) * (transform @ signal)), want, rtol=0, atol=1e-13)  # measured 2e-15
    assert len(back) == outputs
    assert len(transform) == outputs + taps - 1
    np.testing.assert_array_equal(abs(transform).max(1), 1)


@pytest.mark.parametrize(
    ("size", "kernel", "padding"),
    [
        ((5, 8), (3, 3), "SAME"),
        ((6, 9), (5, 5), "SAME"),
        ((4, 5), (1, 5), "VALID"),
        ((7, 11), (2, 4), "SAME"),
        ((4, 6), (3, 2), ((2, 1), (0, 1))),
        ((5, 3), (3, 3), ((0, 0), (4, 5))),  # more padding than the kernel reaches
        ((3, 1), (2, 3), "SAME"),
    ],
)
def test_values_and_gradients_are_those_of_lax(float64, error, tiled, size, kernel, padding):
    def transform(form):
        def forward_and_gradients(x, w):
            y, pull = jax.vjp(lambda x, w: ops.conv(x, w, padding=padding, form=form), x, w)
            return y, *pull(jnp.cos(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape))

        return forward_and_gradients

    assert compared(error, tiled, transform, draw(0, 2, *size, 3), draw(1, *kernel, 3, 4)) < 5e-14  # measured 8e-15


def hessian_product(f):
    return lambda x, w: jax.jvp(jax.grad(f, (0, 1)), (x, w), (w.sum() * x, x.sum() * w))


def over_reverse(f):
    return lambda x, w: jax.grad(lambda x, w: sum(jnp.sum(g**2) for g in jax.grad(f, (0, 1))(x, w)), (0, 1))(x, w)


def through_scan(f):
    def run(x, w):
        def step(xw, _):
            value, grads = jax.value_and_grad(f, (0, 1))(*xw)
            return jax.tree.map(lambda a, g: a - 0.01 * g, xw, grads), value

        return jax.lax.scan(step, (x, w), None, length=3)

    return run


@pytest.mark.parametrize("derive", [hessian_product, over_reverse, through_scan])
def test_derivatives_of_every_order_are_those_of_lax(float64, error, tiled, derive):
    assert compared(error, tiled, lambda form: derive(loss_of(form)), draw(0, 2, 4, 6, 3), draw(1, 3, 3, 3, 4)) < 1e-13  # measured 1e-14


@pytest.mark.parametrize("axes", [(0, None), (None, 0), (0, 0)])
@pytest.mark.parametrize("outside", [False, True])
def test_vmap_is_that_of_lax_inside_and_outside_the_gradient(float64, error, tiled, axes, outside):
    x, w = draw(0, 2, 4, 6, 3), draw(1, 3, 3, 3, 4)
    stack = lambda a, axis: a if axis is None else np.stack([a, 2 * a, a - 1])

    def transform(form):
        if outside:
            return jax.vmap(jax.value_and_grad(loss_of(form), (0, 1)), axes)
        return jax.grad(lambda x, w: jax.vmap(loss_of(form), axes)(x, w).sum(), (0, 1))

    assert compared(error, tiled, transform, stack(x, axes[0]), stack(w, axes[1])) < 1e-13  # measured 1e-14


def test_single_precision_loses_two_bits(float64):
    """Relative to the root mean square, as stated in the docstring."""
    x, w = draw(0, 8, 14, 14, 32).astype("f"), draw(1, 5, 5, 32, 64).astype("f")
    results = jax.jit(lambda x, w: [ops.conv(x, w, form=form) for form in ("winograd", "canonical")])
    want = np.asarray(ops.conv(x.astype("d"), w.astype("d"), form="lax"))
    rms = lambda a: np.sqrt(np.mean(np.square(a)))
    winograd, canonical = [rms(np.asarray(y, "d") - want) / rms(want) for y in results(x, w)]
    print(f"error {winograd:.1e} against {canonical:.1e}")
    assert winograd < 3e-6  # measured 1e-6
    assert canonical < 1e-6  # measured 3e-7


def test_the_dtype_is_kept(tiled):
    both = lambda x, w: jax.vjp(lambda x, w: ops.conv(x, w, form=tiled), x, w)[1](ops.conv(x, w))
    for dtype in (jnp.bfloat16, jnp.float16, jnp.float32):
        x, w = draw(0, 1, 4, 4, 3).astype(dtype), draw(1, 3, 3, 3, 3).astype(dtype)
        assert {a.dtype for a in jax.eval_shape(both, x, w)} == {jnp.dtype(dtype)}


def taken(size=8, kernel=3, channels=32, features=32, dtype=jnp.float32, **how):
    """The form that stands in the program."""
    kernel = (kernel, kernel) if isinstance(kernel, int) else kernel
    x, w = jnp.ones((1, size, size, channels), dtype), jnp.ones((*kernel, channels, features), dtype)
    jaxpr = str(jax.make_jaxpr(lambda x, w: ops.conv(x, w, **how))(x, w))
    names = {"name=conv_by_tiles": "tiles", "patches=True": "patches", "patches=False": "canonical"}
    return next((form for name, form in names.items() if name in jaxpr), "lax")


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="accelerators take lax's own convolution")
def test_auto_takes_what_was_measured_fastest():
    assert taken() == taken(kernel=5) == taken(channels=4, features=1) == taken(channels=1, kernel=2, dtype=jnp.bfloat16) == "tiles"
    few = {"channels": 4, "features": 64}
    assert {taken(**few, **how) for how in ({"strides": 2}, {"dilation": 2}, {"kernel": (3, 1)})} == {"patches"}
    others = [{"size": 6}, {"kernel": 1}, {"kernel": 2}, {"kernel": 7}, {"channels": 31}, {"features": 31}, {"dtype": jnp.bfloat16}]
    others += [{"strides": 2}, {"dilation": 2}, {"form": "canonical"}, {"channels": 1, "kernel": 1}, {"channels": 5}]
    assert {taken(**other) for other in others} == {"canonical"}


@pytest.mark.parametrize(("kernel", "how"), [(3, {"strides": 2}), (3, {"dilation": (1, 2)}), (6, {}), (1, {})])
def test_what_winograd_cannot_do_is_refused(kernel, how):
    with pytest.raises(ValueError, match=r"no winograd form for strides .*, dilation .* and a kernel . wide"):
        ops.conv(jnp.ones((1, 8, 8, 2)), jnp.ones((3, kernel, 2, 2)), form="winograd", **how)


@pytest.mark.parametrize("how", [{"strides": (1, 2)}, {"dilation": 2}])
def test_what_blocks_cannot_do_is_refused(how):
    with pytest.raises(ValueError, match=r"no blocks form for strides .*, dilation .* and a kernel 3 wide"):
        ops.conv(jnp.ones((1, 8, 8, 2)), jnp.ones((3, 3, 2, 2)), form="blocks", **how)


def test_blocks_take_any_width_of_kernel(float64, error):
    for width in (1, 6, 7):
        transform = lambda form: jax.grad(loss_of(form), (0, 1))
        assert compared(error, "blocks", transform, draw(0, 2, 3, 9, 2), draw(1, 2, width, 2, 3)) < 5e-14


@pytest.mark.parametrize("channels", [1, 32])
def test_a_summary_counts_the_convolution_that_is_computed(channels):
    x = jax.ShapeDtypeStruct((1, 14, 14, channels), jnp.float32)
    assert nn.summary(nn.Conv(64, 5), x).total.flops == 2 * 14 * 14 * 64 * (25 * channels) + 14 * 14 * 64  # and the bias
