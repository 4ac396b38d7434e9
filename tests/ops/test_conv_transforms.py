"""`ops.conv` under every JAX transformation: the canonical forms are lax's convolution, and stay canonical."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec
from jax.test_util import check_grads

from fdl import ops

FORMS = ("canonical", "patches")
HOW = [{"strides": 1, "padding": "SAME", "dilation": 1}, {"strides": (2, 1), "padding": ((1, 0), (2, 1)), "dilation": (1, 2)}]
CANONICAL = "[b, 0, 1, f]x[0, 1, i, o]->[b, 0, 1, f]"


@pytest.fixture(params=[pytest.param(how, id=name) for how, name in zip(HOW, ("plain", "strided"))])
def how(request):
    return request.param


def draw(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def x_and_w():
    return draw(0, 2, 6, 5, 3), draw(1, 3, 2, 3, 4)


def loss_of(form, how):
    return lambda x, w: jnp.sum(jnp.tanh(ops.conv(x, w, form=form, **how)) ** 2)


def agrees(error, transform, *args):
    """The error of both forms against lax, where `transform` turns a form into a function of `args`."""
    want, *results = jax.jit(lambda *args: [transform(form)(*args) for form in ("lax", *FORMS)])(*args)
    return np.max([error(got, want) for got in results])


def test_jvp_agrees_with_lax(float64, error, how):
    x, w = x_and_w()
    dx, dw = draw(2, *x.shape), draw(3, *w.shape)
    push = lambda form: lambda *a: jax.jvp(lambda x, w: ops.conv(x, w, form=form, **how), a[:2], a[2:])
    assert agrees(error, push, x, w, dx, dw) < 5e-15  # measured 0


def test_the_hessian_vector_product_agrees_with_lax(float64, error, how):
    x, w = x_and_w()
    dx, dw = draw(2, *x.shape), draw(3, *w.shape)
    product = lambda form: lambda *a: jax.jvp(jax.grad(loss_of(form, how), (0, 1)), a[:2], a[2:])
    assert agrees(error, product, x, w, dx, dw) < 5e-15  # measured 0


def test_reverse_over_reverse_agrees_with_lax(float64, error):
    x, w = x_and_w()

    def transform(form):
        gradient = jax.grad(loss_of(form, HOW[1]), (0, 1))
        norm = lambda x, w: sum(jnp.sum(g**2) for g in gradient(x, w))
        return jax.grad(norm, (0, 1))

    assert agrees(error, transform, x, w) < 5e-15  # measured 0


@pytest.mark.parametrize("form", FORMS)
def test_finite_differences_agree_to_second_order(float64, form):
    x, w = draw(0, 1, 4, 4, 2), draw(1, 2, 3, 2, 2)
    conv = jax.jit(lambda x, w: jnp.tanh(ops.conv(x, w, (1, 2), ((1, 0), (1, 1)), form=form)))
    check_grads(conv, (x, w), order=2, modes=["fwd", "rev"], atol=1e-6, rtol=1e-6)  # measured between 3e-8 and 1e-7


@pytest.mark.parametrize(("x_axis", "w_axis", "how"), list(zip([0, 4, None, None, 0, 3], [None, None, 0, 2, 0, 4], HOW * 3)))
def test_vmap_is_a_loop_of_lax_forward_and_backward(float64, error, x_axis, w_axis, how):
    x, w = x_and_w()
    xs = x if x_axis is None else draw(4, 3, *x.shape)
    ws = w if w_axis is None else draw(5, 3, *w.shape)
    pick = lambda a, axis, i: a if axis is None else a[i]
    both = lambda form: jax.value_and_grad(loss_of(form, how), (0, 1))
    single = jax.jit(both("lax"))
    loop = [single(pick(xs, x_axis, i), pick(ws, w_axis, i)) for i in range(3)]
    want = jax.tree.map(lambda *leaves: np.stack(leaves), *loop)
    place = lambda a, axis: a if axis is None else np.moveaxis(a, 0, axis)
    mapped = jax.jit(lambda *args: [jax.vmap(both(form), (x_axis, w_axis))(*args) for form in FORMS])
    for got in mapped(place(xs, x_axis), place(ws, w_axis)):
        assert error(got, want) < 5e-15  # measured 0


@pytest.mark.parametrize(("x_axis", "w_axis", "how"), [(0, None, HOW[0]), (None, 0, HOW[1]), (0, 0, HOW[1])])
def test_the_gradient_of_a_vmap_agrees_with_lax(float64, error, x_axis, w_axis, how):
    x, w = x_and_w()
    xs = x if x_axis is None else draw(4, 3, *x.shape)
    ws = w if w_axis is None else draw(5, 3, *w.shape)
    total = lambda form: jax.grad(lambda x, w: jax.vmap(loss_of(form, how), (x_axis, w_axis))(x, w).sum(), (0, 1))
    assert agrees(error, total, xs, ws) < 5e-15  # measured 0


def train(form, how):
    """Three steps of gradient descent on both operands inside one scan."""

    def run(x, w):
        def step(xw, _):
            value, (dx, dw) = jax.value_and_grad(loss_of(form, how), (0, 1))(*xw)
            return (xw[0] - 0.01 * dx, xw[1] - 0.01 * dw), value

        return jax.lax.scan(step, (x, w), None, length=3)

    return run


def test_training_inside_scan_agrees_with_lax(float64, error, how):
    assert agrees(error, lambda form: train(form, how), *x_and_w()) < 5e-15  # measured 0


def test_differentiating_through_scan_and_remat_agrees_with_lax(float64, error):
    def transform(form):
        conv = jax.checkpoint(lambda x, w: jnp.tanh(ops.conv(x, w, 1, "SAME", (1, 2), form=form)))
        rolled = lambda x, w: jax.lax.scan(lambda x, _: (conv(x, w), None), x, None, length=3)[0]
        return jax.grad(lambda x, w: jnp.sum(rolled(x, w) ** 2), (0, 1))

    assert agrees(error, transform, x_and_w()[0], draw(1, 3, 2, 3, 3)) < 5e-15  # measured 0


def derivatives():
    second = lambda f: lambda x, w: jax.grad(lambda x, w: sum(jnp.sum(g**2) for g in jax.grad(f, (0, 1))(x, w)), (0, 1))(x, w)
    product = lambda f: lambda x, w: jax.jvp(jax.grad(f, (0, 1)), (x, w), (x, w))
    return [pytest.param(d, id=n) for n, d in [("first", lambda f: jax.grad(f, (0, 1))), ("second", second), ("product", product)]]


def layouts(function, *args):
    """The dimension numbers of every convolution that is handed to XLA, and the names of the primitives before."""
    lowered = jax.jit(function).lower(*args).as_text()
    return re.findall(r"stablehlo\.convolution\(.*?dim_numbers = (\S.*?), window", lowered), str(jax.make_jaxpr(function)(*args))


@pytest.mark.parametrize("derive", derivatives())
def test_derivatives_of_the_canonical_form_are_convolutions_in_canonical_layout(how, derive):
    x, w = (a.astype(jnp.float32) for a in x_and_w())
    found, jaxpr = layouts(derive(loss_of("canonical", how)), x, w)
    assert set(found) == {CANONICAL}
    assert "conv_general_dilated" not in jaxpr
    assert set(layouts(derive(loss_of("lax", how)), x, w)[0]) > {CANONICAL}  # so this test can fail


@pytest.mark.parametrize("form", FORMS)
def test_xla_keeps_the_canonical_layout_inside_scan(how, form):
    x, w = (a.astype(jnp.float32) for a in x_and_w())
    labels = lambda form: set(re.findall(r"dim_labels=(\w+->\w+)", jax.jit(train(form, how)).lower(x, w).compile().as_text()))
    assert labels(form) == {"b01f_01io->b01f"}
    assert labels("lax") > {"b01f_01io->b01f"}


@pytest.mark.parametrize("form", ["lax", *FORMS])
def test_shard_map_sums_the_gradient_of_a_replicated_kernel_over_devices(float64, error, form):
    mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Auto,))
    x, w = draw(0, 8, 5, 4, 3), draw(1, 3, 3, 3, 2)
    loss = loss_of(form, HOW[0])

    def gradients(x, w):
        return jax.grad(lambda x, w: jax.lax.psum(loss(x, w), "data"), (0, 1))(x, w)

    over, whole = PartitionSpec("data"), PartitionSpec()
    sharded = jax.jit(jax.shard_map(gradients, mesh=mesh, in_specs=(over, whole), out_specs=(over, whole)))
    assert error(sharded(x, w), jax.jit(jax.grad(loss, (0, 1)))(x, w)) < 5e-15  # measured 5e-16


@pytest.mark.parametrize("form", FORMS)
def test_trials_spread_over_devices_are_the_trials_one_by_one(float64, error, form):
    mesh = jax.make_mesh((4,), ("trials",), axis_types=(AxisType.Auto,))
    x, w = draw(0, 4, 2, 5, 4, 3), draw(1, 4, 3, 3, 3, 2)
    gradient = jax.jit(jax.grad(loss_of(form, HOW[0]), (0, 1)))
    spec = PartitionSpec("trials")
    spread = jax.jit(jax.shard_map(jax.vmap(gradient), mesh=mesh, in_specs=(spec, spec), out_specs=(spec, spec)))
    want = [np.stack(leaves) for leaves in zip(*[gradient(a, b) for a, b in zip(x, w)])]
    assert error(spread(x, w), want) < 5e-15  # measured 0
