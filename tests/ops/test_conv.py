"""`ops.conv`: every form computes the same convolution and gradients, which PyTorch and six loops confirm."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fdl import ops

FORMS = ("auto", "canonical", "patches")


def grid():
    """Kernels x paddings with two of three (strides, dilation) each, over sizes odd and even and 1, 3 and 8 channels in turn; larger kernels."""
    kernels = [(1, 1), (2, 2), (3, 3), (4, 3)]
    paddings = ["SAME", "VALID", ((2, 1), (0, 1))]
    steps = [(1, 1), (2, 1), ((1, 3), (2, 1))]
    sizes, channels = itertools.cycle([(7, 6), (8, 7), (8, 8), (9, 7)]), itertools.cycle([1, 3, 8])
    cases = [case for i, case in enumerate(itertools.product(kernels, paddings, steps)) if i % 3 != i // 3 % 3]
    larger = [((2, 2), 8, (3, 3), (1, 1), "SAME", (1, 1)), ((3, 1), 8, (4, 3), (2, 1), "SAME", (1, 2)), ((3, 4), 3, (5, 2), 1, (2, 1), 1)]
    return [(next(sizes), next(channels), k, s, p, d) for k, p, (s, d) in cases] + larger


def arrays(size, channels, kernel, features=5, batch=2, seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    x, w = rng.normal(size=(batch, *size, channels)), rng.normal(size=(*kernel, channels, features))
    return x.astype(dtype), w.astype(dtype)


@pytest.mark.parametrize(("size", "channels", "kernel", "strides", "padding", "dilation"), grid())
def test_every_form_has_the_values_and_gradients_of_lax(float64, error, size, channels, kernel, strides, padding, dilation):
    conv = lambda form: lambda x, w: ops.conv(x, w, strides, padding, dilation, form=form)
    x, w = arrays(size, channels, kernel)

    @jax.jit
    def forward_and_gradients(x, w):
        def one(form):
            y, pull = jax.vjp(conv(form), x, w)
            return y, *pull(jnp.cos(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape))

        return {form: one(form) for form in ("canonical", "patches", "lax")}

    results = forward_and_gradients(x, w)
    for form in ("canonical", "patches"):
        assert error(results[form], results["lax"]) < 5e-15  # measured 2e-16


@pytest.mark.parametrize("form", [*FORMS, "lax"])
@pytest.mark.parametrize(
    ("strides", "dilation", "padding"), [((2, 1), (1, 2), ((1, 0), (2, 1))), (1, 1, "SAME"), (2, 1, "SAME"), (1, 2, "VALID")]
)
def test_six_loops_agree(float64, error, form, strides, dilation, padding):
    x, w = arrays((5, 6), 2, (2, 3), features=2)
    (s, t), (d, e) = np.broadcast_to(strides, 2), np.broadcast_to(dilation, 2)
    reach = (d + 1, 2 * e + 1)
    if padding == "SAME":  # ceil(size / stride) outputs, the odd element at the high end
        total = [max((-(-n // q) - 1) * q + r - n, 0) for n, q, r in zip((5, 6), (s, t), reach)]
        padding_ = [(t // 2, t - t // 2) for t in total]
    else:
        padding_ = [(0, 0), (0, 0)] if padding == "VALID" else padding
    p = np.pad(np.asarray(x), [(0, 0), *padding_, (0, 0)])
    want = np.zeros((2, (p.shape[1] - reach[0]) // s + 1, (p.shape[2] - reach[1]) // t + 1, 2))
    for i, j, o, u, v, c in np.ndindex(*want.shape[1:], *w.shape[:3]):
        want[:, i, j, o] += p[:, i * s + u * d, j * t + v * e, c] * float(w[u, v, c, o])
    assert error(ops.conv(x, w, strides, padding, dilation, form=form), want) < 5e-15  # measured 2e-16


def torch_cases():
    symmetric = [((7, 10), 3, (3, 5), (2, 1), ((1, 1), (2, 2)), (1, 1)), ((9, 6), 1, (5, 2), (1, 2), ((0, 0), (0, 0)), (1, 2))]
    return [*symmetric, ((8, 11), 8, (2, 4), (3, 2), ((0, 1), (1, 2)), (2, 1)), ((5, 7), 3, (1, 1), (2, 2), ((0, 0), (0, 0)), (1, 1))]


@pytest.mark.parametrize(("size", "channels", "kernel", "strides", "padding", "dilation"), torch_cases())
def test_pytorch_agrees_forward_and_in_every_gradient(float64, torch, error, size, channels, kernel, strides, padding, dilation):
    x, w = arrays(size, channels, kernel)
    b = np.linspace(-1, 1, w.shape[-1])

    @jax.jit
    def forward_and_gradients(x, w, b):
        def one(form):
            y, pull = jax.vjp(lambda x, w, b: ops.conv(x, w, strides, padding, dilation, form=form) + b.reshape(1, 1, 1, -1), x, w, b)
            return y, *pull(jnp.cos(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape))

        return one("canonical"), one("patches")

    leaves = [torch.tensor(a, requires_grad=True) for a in (x, w, b)]
    (top, bottom), (left, right) = padding
    padded = torch.nn.functional.pad(leaves[0].permute(0, 3, 1, 2), (left, right, top, bottom))
    out = torch.nn.functional.conv2d(padded, leaves[1].permute(3, 2, 0, 1), leaves[2], strides, 0, dilation).permute(0, 2, 3, 1)
    out.backward(torch.cos(torch.arange(out.numel(), dtype=torch.float64)).reshape(out.shape))
    want = [out.detach().numpy(), *[leaf.grad.numpy() for leaf in leaves]]
    for got in forward_and_gradients(x, w, b):
        assert error(got, want) < 1e-14  # measured 1e-15


@pytest.mark.parametrize("form", [*FORMS, "lax"])
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
@pytest.mark.parametrize("channels", [3, 8])
def test_the_dtype_is_kept_forward_and_backward(form, dtype, channels):
    x, w = arrays((6, 5), channels, (3, 3), dtype=dtype)

    def forward_and_gradients(x, w):
        y, pull = jax.vjp(lambda x, w: ops.conv(x, w, 2, form=form), x, w)
        return y, *pull(y)

    assert {a.dtype for a in jax.eval_shape(forward_and_gradients, x, w)} == {jnp.dtype(dtype)}


@pytest.mark.parametrize("form", ["canonical", "patches"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(jnp.float32, 2e-6), (jnp.bfloat16, 3e-2)])  # measured 2e-7, 3e-3
def test_low_precision_is_near_float64(float64, error, form, dtype, tolerance):
    x, w = arrays((6, 5), 8, (3, 3), dtype=dtype)

    def results(x, w, form):
        y, pull = jax.vjp(lambda x, w: ops.conv(x, w, 2, form=form), x, w)
        return y, *pull(jnp.ones_like(y))

    wide = [a.astype(jnp.float64) for a in (x, w)]
    got, want = jax.jit(lambda low, wide: (results(*low, form), results(*wide, "lax")))((x, w), wide)
    assert error(got, want) < tolerance


def test_shapes_and_forms_that_do_not_fit_are_refused():
    x, w = arrays((4, 4), 3, (3, 3), dtype=np.float32)
    with pytest.raises(ValueError, match=r"a kernel of shape \(3, 3, 3, 5\) does not fit an input of shape \(4, 4, 3\)"):
        ops.conv(x[0], w)
    with pytest.raises(ValueError, match=r"a kernel of shape \(3, 3, 3, 5\) does not fit an input of shape \(2, 4, 4, 2\)"):
        ops.conv(x[..., :2], w)
    with pytest.raises(ValueError, match="form 'fast' is none of 'auto', 'canonical', 'patches', 'blocks', 'winograd', 'shifts', 'lax'"):
        ops.conv(x, w, form="fast")
    with pytest.raises(ValueError, match="padding 'same' is none of 'SAME', 'VALID', a whole number"):
        ops.conv(x, w, padding="same")


def test_a_number_pads_both_sides_and_one_alone_every_axis():
    x, w = arrays((5, 6), 2, (3, 2))
    x, w = x.astype("f"), w.astype("f")
    for short, whole in ((1, ((1, 1), (1, 1))), ((0, 2), ((0, 0), (2, 2))), (((1, 0), 1), ((1, 0), (1, 1)))):
        np.testing.assert_array_equal(ops.conv(x, w, padding=short), ops.conv(x, w, padding=whole))
    np.testing.assert_array_equal(ops.max_pool(x, 3, 2, 1), ops.max_pool(x, 3, 2, ((1, 1), (1, 1))))
    np.testing.assert_array_equal(ops.conv_transpose(x, w, 2, 1), ops.conv_transpose(x, w, 2, ((1, 1), (1, 1))))


@pytest.mark.parametrize("padding", [1.5, None, ((1,), (1, 1)), ((1, 2), (3, 4.5))])
def test_a_padding_of_another_kind_is_refused_by_name(padding):
    with pytest.raises(ValueError, match=r"^padding .* is none of 'SAME', 'VALID', a whole number, or for each axis one or a pair"):
        ops.conv(*arrays((5, 6), 2, (3, 2)), padding=padding)
