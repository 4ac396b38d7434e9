"""Pooling over one and three axes, padding that counts, adaptive pooling and upsampling: against PyTorch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fdl import nn, ops


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)  # normal draws: no ties


def compared(torch, error, x, pairs):
    """The largest error of our functions, in values and gradients, against PyTorch's of `[batch, channels, ...]`."""

    def both(function, x):
        y, pull = jax.vjp(function, x)
        return y, pull(jnp.cos(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape))[0]

    results = jax.jit(lambda x: [both(ours, x) for ours, _ in pairs])(x)
    errors = []
    for got, (_, reference) in zip(results, pairs):
        t = torch.tensor(x, requires_grad=True)
        y = reference(t.movedim(-1, 1)).movedim(1, -1)
        y.backward(torch.cos(torch.arange(y.numel(), dtype=torch.float64)).reshape(y.shape))
        errors.append(error(got, [y.detach().numpy(), t.grad.numpy()]))
    return max(errors)


@pytest.mark.parametrize(
    ("size", "window", "strides", "padding"),
    [((7,), 3, 2, (1,)), ((8,), 2, None, (0,)), ((6, 5), (2, 3), (1, 2), (1, 0)), ((5, 4, 6), (2, 3, 2), (2, 1, 2), (1, 1, 0))],
)
def test_pytorch_agrees_on_pools_of_every_rank(float64, torch, error, size, window, strides, padding):
    rank, pads = len(size), [(p, p) for p in padding]
    functional = lambda kind: getattr(torch.nn.functional, f"{kind}_pool{rank}d")
    average = lambda count: (
        lambda x: ops.avg_pool(x, window, strides, pads, count),
        lambda t: functional("avg")(t, window, strides, padding, count_include_pad=count),
    )
    largest = (lambda x: ops.max_pool(x, window, strides, pads), lambda t: functional("max")(t, window, strides, padding))
    assert compared(torch, error, draw(2, *size, 3), [largest, average(False), average(True)]) < 5e-15  # measured 3e-16


@pytest.mark.parametrize(
    ("sizes", "bins"), [((7,), 3), ((6,), 2), ((3,), 5), ((7, 8), (3, 4)), ((6, 9), (2, 3)), ((5, 3), (1, 4)), ((5, 4, 6), (2, 3, 4))]
)
def test_pytorch_agrees_on_adaptive_pools(float64, torch, error, sizes, bins):
    name = lambda kind: getattr(torch.nn.functional, f"adaptive_{kind}_pool{len(sizes)}d")
    pairs = [
        (lambda x: ops.adaptive_max_pool(x, bins), lambda t: name("max")(t, bins)),
        (lambda x: ops.adaptive_avg_pool(x, bins), lambda t: name("avg")(t, bins)),
    ]
    assert compared(torch, error, draw(2, *sizes, 3), pairs) < 5e-15  # measured 5e-16


@pytest.mark.parametrize("sizes", [(5,), (4, 3), (3, 2, 3)])
def test_pytorch_agrees_on_global_pools(float64, torch, error, sizes):
    axes = tuple(range(2, 2 + len(sizes)))
    run = lambda layer: lambda x: layer.apply({}, {}, x)[0]
    pairs = [(run(nn.GlobalMaxPool()), lambda t: t.amax(axes)), (run(nn.GlobalAvgPool()), lambda t: t.mean(axes))]
    assert compared(torch, error, draw(2, *sizes, 3), pairs) < 5e-15  # measured 3e-16


@pytest.mark.parametrize(("sizes", "bins"), [((7,), 3), ((6,), 2), ((7, 8), (3, 4)), ((4, 6), (2, 3)), ((5, 4, 6), (2, 3, 4))])
def test_of_values_that_tie_the_first_gets_an_adaptive_pool_s_gradient_as_in_pytorch(float64, torch, error, sizes, bins):
    x = np.random.default_rng(0).integers(0, 2, (3, *sizes, 2)).astype("d")
    reference = getattr(torch.nn.functional, f"adaptive_max_pool{len(sizes)}d")
    assert compared(torch, error, x, [(lambda x: ops.adaptive_max_pool(x, bins), lambda t: reference(t, bins))]) < 5e-15


def test_all_values_that_tie_share_a_global_pool_s_gradient():
    x = jnp.array([1.0, 0.0, 1.0, 1.0, 1.0]).reshape(1, -1, 1)
    dx = jax.grad(lambda x: nn.GlobalMaxPool().apply({}, {}, x)[0].sum())(x)
    assert dx.ravel().tolist() == [0.25, 0, 0.25, 0.25, 0.25]


LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}


@pytest.mark.parametrize(("sizes", "target"), [((5,), (10,)), ((4,), (7,)), ((3, 4), (6, 12)), ((3, 1), (5, 4)), ((2, 3, 2), (4, 3, 5))])
def test_pytorch_agrees_on_upsampling(float64, torch, error, sizes, target):
    resize = torch.nn.functional.interpolate
    pairs = [
        (lambda x: ops.upsample(x, size=target), lambda t: resize(t, target, mode="nearest-exact")),
        (
            lambda x: ops.upsample(x, method="linear", size=target),
            lambda t: resize(t, target, mode=LINEAR[len(sizes)], align_corners=False),
        ),
        (
            lambda x: ops.upsample(x, method="linear", align_corners=True, size=target),
            lambda t: resize(t, target, mode=LINEAR[len(sizes)], align_corners=True),
        ),
    ]
    assert compared(torch, error, draw(2, *sizes, 3), pairs) < 1e-14  # measured 4e-16


def test_whole_factors_repeat():
    x = jnp.arange(4, dtype=jnp.int32).reshape(1, 2, 2, 1)
    assert ops.upsample(x, (2, 1))[0, :, :, 0].tolist() == [[0, 1], [0, 1], [2, 3], [2, 3]]
    assert (ops.upsample(x, 1) == x).all()


def test_what_does_not_fit_is_refused():
    x = jnp.zeros((1, 4, 2))
    with pytest.raises(ValueError, match=r"window \(2, 2\) has 2 numbers for 1 spatial axes"):
        ops.max_pool(x, (2, 2))
    with pytest.raises(ValueError, match=r"size \(2, 3\) has 2 numbers for 1 spatial axes"):
        ops.adaptive_avg_pool(x, (2, 3))
    with pytest.raises(ValueError, match=r"a size of \(0,\) bins is not positive"):
        ops.adaptive_max_pool(x, 0)
    with pytest.raises(ValueError, match="method 'cubic' is neither 'nearest' nor 'linear'"):
        ops.upsample(x, method="cubic")
    with pytest.raises(ValueError, match="method 'nearest' with align_corners is neither"):
        ops.upsample(x, align_corners=True)
    with pytest.raises(ValueError, match=r"a target of size \(3,\) is smaller than the input's \(4,\)"):
        ops.upsample(x, size=3)
