"""Convolutional layers and `Parallel`: compositions of what `ops` computes, their parameters and their errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fdl import nn, ops
from fdl.core import FdlError

KEY = jax.random.key(0)
NORMAL = nn.initializers.normal()


def draw(*shape):
    return jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)


def shapes(layer, *sizes):
    return jax.tree.map(jnp.shape, jax.eval_shape(layer.init, KEY, jax.ShapeDtypeStruct(sizes, jnp.float32))[0])


@pytest.mark.parametrize(
    ("layer", "sizes", "operation"),
    [
        (nn.Conv(4, 3, 2, "CIRCULAR", groups=2, bias_init=NORMAL), (2, 5, 4), lambda x, k: ops.conv(x, k, 2, "CIRCULAR", 1, 2)),
        (nn.Conv(2, (1, 2, 2), bias=False), (1, 2, 3, 2, 3), ops.conv),
        (
            nn.DepthwiseConv(3, dilation=2, multiplier=2, bias_init=NORMAL),
            (1, 5, 6, 2),
            lambda x, k: ops.conv(x, k, 1, "SAME", 2, 2),
        ),
        (
            nn.ConvTranspose(4, 3, 2, ((1, 1),), groups=2, output_padding=1, bias_init=NORMAL),
            (2, 3, 2),
            lambda x, k: ops.conv_transpose(x, k, 2, ((1, 1),), 1, 2, 1),
        ),
    ],
)
def test_a_layer_is_its_operation_plus_a_bias(layer, sizes, operation):
    x = draw(*sizes)
    params, _ = layer.init(KEY, x)
    assert ("bias" in params) == layer.bias
    want = operation(x, params["kernel"]) + params.get("bias", jnp.zeros(())).reshape(*[1] * (x.ndim - 1), -1)
    assert abs(layer.apply(params, {}, x)[0] - want).max() < 1e-6  # measured 0


def test_parameters_have_the_documented_shapes():
    assert shapes(nn.Conv(6, (3, 2), groups=2), 1, 4, 4, 4) == {"kernel": (3, 2, 2, 6), "bias": (6,)}
    assert shapes(nn.Conv(6, 5), 1, 8, 4) == {"kernel": (5, 4, 6), "bias": (6,)}
    assert shapes(nn.DepthwiseConv(3, multiplier=2), 1, 4, 4, 4, 5) == {"kernel": (3, 3, 3, 1, 10), "bias": (10,)}
    separable = {"depthwise": {"kernel": (3, 3, 1, 8)}, "pointwise": {"kernel": (1, 1, 8, 6), "bias": (6,)}}
    assert shapes(nn.SeparableConv(6, multiplier=2), 1, 4, 4, 4) == separable
    assert shapes(nn.ConvTranspose(6, 2, groups=2), 1, 4, 4, 4) == {"kernel": (2, 2, 2, 6), "bias": (6,)}


def test_a_separable_convolution_is_one_of_lower_rank(error):
    """Its kernel is the outer product of the two."""
    layer, x = nn.SeparableConv(3, (2, 3), bias_init=NORMAL), draw(1, 4, 5, 2)
    params, _ = layer.init(KEY, x)
    depthwise, pointwise = params["depthwise"]["kernel"], params["pointwise"]["kernel"]
    want = ops.conv(x, depthwise.swapaxes(-1, -2) * pointwise, form="lax") + params["pointwise"]["bias"].reshape(1, 1, 1, -1)
    assert error(layer.apply(params, {}, x)[0], want) < 3e-6  # measured 2e-7


def test_a_transposed_convolution_enlarges_by_its_strides():
    run = lambda layer, *sizes: jax.eval_shape(lambda x: layer.apply(layer.init(KEY, x)[0], {}, x)[0], jnp.zeros(sizes)).shape
    assert run(nn.ConvTranspose(2, 3, 2), 1, 5, 4, 3) == (1, 10, 8, 2)
    assert run(nn.ConvTranspose(2, 3, (2, 1), "VALID"), 1, 5, 4, 3) == (1, 11, 6, 2)
    assert run(nn.ConvTranspose(2, 4, 2, ((1, 1),)), 1, 5, 3) == (1, 10, 2)


def test_flops_are_those_of_the_convolution_that_is_asked_for():
    count = lambda layer, *sizes: nn.summary(layer, jax.ShapeDtypeStruct(sizes, jnp.float32)).total.flops
    assert count(nn.Conv(8, 3, groups=2, bias=False), 2, 8, 8, 4) == 2 * (2 * 64 * 8) * (9 * 2)
    assert count(nn.DepthwiseConv(3, 2, bias=False), 2, 8, 8, 4) == 2 * (2 * 16 * 4) * 9
    assert count(nn.Conv(8, 3, bias=False), 2, 8, 4) == 2 * (2 * 8 * 8) * (3 * 4)
    assert count(nn.Conv(8, 3, bias=False), 1, 4, 5, 6, 6) == 2 * (120 * 8) * (27 * 6)
    for groups in (1, 2):  # each input meets the kernel once
        assert count(nn.ConvTranspose(8, 3, 2, groups=groups, bias=False), 2, 4, 4, 6) == 2 * (2 * 16 * 6) * (9 * 8 // groups)


@pytest.mark.parametrize("form", ["canonical", "lax"])
def test_flops_of_gradients_count_no_multiplication_by_a_zero_between(form):
    gradients = jax.grad(lambda x, w: ops.conv(x, w, 2, "VALID", form=form).sum(), (0, 1))
    products = 2 * (2 * 4 * 3) * (9 * 5 * 6)  # of the forward pass, and of each gradient
    found = nn.flops(gradients, jax.ShapeDtypeStruct((2, 9, 7, 5), jnp.float32), jax.ShapeDtypeStruct((3, 3, 5, 6), jnp.float32))
    assert 3 * products <= found <= 3 * products + 2 * 2 * 9 * 7 * 6  # and a sum over the outputs


def test_branches_run_side_by_side():
    x = draw(2, 4, 3)
    model = nn.Parallel(nn.Conv(2, 1), nn.Conv(5, 3), nn.relu)
    params, _ = model.init(KEY, x)
    assert list(params) == ["conv_0", "conv_1"]
    parts = [nn.Conv(2, 1).apply(params["conv_0"], {}, x)[0], nn.Conv(5, 3).apply(params["conv_1"], {}, x)[0], nn.relu(x)]
    assert (model.apply(params, {}, x)[0] == jnp.concatenate(parts, -1)).all()


def test_branches_are_summed_or_handed_to_a_function():
    run = lambda *inputs, combine: nn.Parallel(jnp.add, jnp.multiply, combine=combine).apply({}, {}, *inputs)[0]
    x, y = draw(3), draw(3) + 1
    assert (run(x, y, combine="sum") == (x + y) + x * y).all()
    assert (run(x, y, combine=jnp.maximum) == jnp.maximum(x + y, x * y)).all()
    assert [a.tolist() for a in run(x, y, combine=lambda *outputs: outputs)] == [(x + y).tolist(), (x * y).tolist()]
    assert nn.Parallel(nn.relu) == nn.Parallel(nn.relu, combine="concatenate") != nn.Parallel(nn.relu, combine="sum")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.Conv(0), "nn.Conv features: found 0; expected a positive whole number"),
        (lambda: nn.Conv(4, (3, 0)), "nn.Conv kernel_size: found 0"),
        (lambda: nn.Conv(4, 3, (1, 2), dilation=(1, 2, 1)), "nn.Conv dilation: found 3 numbers; expected 2"),
        (lambda: nn.Conv(4, padding="same"), "nn.Conv padding: found 'same'; expected one of SAME, VALID, CIRCULAR, REFLECT, or"),
        (lambda: nn.Conv(4, groups=3), "nn.Conv features: found 4; expected a multiple of the 3 groups"),
        (lambda: nn.DepthwiseConv(3, multiplier=1.5), "nn.DepthwiseConv multiplier: found 1.5"),
        (lambda: nn.SeparableConv(4, 3, -1), "nn.SeparableConv strides: found -1"),
        (lambda: nn.ConvTranspose(4, 3, padding="REFLECT"), "nn.ConvTranspose padding: found 'REFLECT'; expected one of SAME, VALID, or"),
        (lambda: nn.ConvTranspose(3, 3, groups=2), "nn.ConvTranspose features: found 3; expected a multiple of the 2 groups"),
        (lambda: nn.Parallel(), "nn.Parallel: found no branch"),
        (lambda: nn.Parallel(nn.relu, combine="concat"), "nn.Parallel combine: found 'concat'; expected one of concatenate, sum"),
    ],
)
def test_a_wrong_configuration_is_refused_at_once(make, message):
    with pytest.raises(FdlError) as caught:
        make()
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("layer", "sizes", "message"),
    [
        (nn.Conv(4), (2, 5), r"layer /conv_0: found inputs float32\[2, 5\].* not 2 of them"),
        (nn.Conv(4, (3, 3)), (2, 5, 3), r"layer /conv_0: .*kernel_size \(3, 3\) has 2 numbers for 1 spatial axes"),
        (nn.Conv(4, groups=2), (2, 5, 3), r"layer /conv_0: .*3 channels do not divide into 2 groups"),
        (nn.MaxPool((2, 2)), (2, 5, 3), r"layer /max_pool_0: .*window \(2, 2\) has 2 numbers for 1 spatial axes"),
        (nn.GlobalAvgPool(), (2, 5), r"layer /global_avg_pool_0: .* not 2 of them"),
    ],
)
def test_an_input_that_does_not_fit_is_refused_with_the_path_of_the_layer(layer, sizes, message):
    with pytest.raises(FdlError, match=message):
        nn.Sequential(layer).init(KEY, jnp.zeros(sizes))
