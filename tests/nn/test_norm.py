"""Normalisations against PyTorch, under masks and over devices."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec
from jax.test_util import check_grads

from fdl import nn
from fdl.core import FdlError

KEY = jax.random.key(0)


def draw(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def away(tree, seed=1):
    return jax.tree.map(lambda a: jnp.asarray(1 + 0.3 * draw(seed, *a.shape), a.dtype), tree)


def pull_back(layer, params, state, *inputs, train=True):
    """Output, new state and the gradients of params and x, with the cotangent cos(0, 1, 2, ...)."""

    def run(params, state, x, *rest):
        y, pull, state = jax.vjp(lambda p, x: layer.apply(p, state, x, *rest, train=train), params, x, has_aux=True)
        return y, state, *pull(jnp.cos(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape))

    return jax.jit(run)(params, state, *inputs)


def torch_backward(torch, y):
    y.backward(torch.cos(torch.arange(y.numel(), dtype=y.dtype)).reshape(y.shape))


# Against PyTorch.


def norms(torch):
    n = torch.nn
    return {
        "LayerNorm": (nn.LayerNorm(1e-3), n.LayerNorm(6, 1e-3), (3, 5, 6)),
        "LayerNorm over two axes": (nn.LayerNorm(axes=(1, 2)), n.LayerNorm((5, 6)), (3, 5, 6)),
        "LayerNorm of one example": (nn.LayerNorm(), n.LayerNorm(6), (6,)),
        "RMSNorm": (nn.RMSNorm(), n.RMSNorm(6, 1e-6), (3, 5, 6)),
        "GroupNorm": (nn.GroupNorm(3, 1e-3), n.GroupNorm(3, 6, 1e-3), (2, 3, 5, 6)),
        "GroupNorm of vectors": (nn.GroupNorm(2), n.GroupNorm(2, 6), (4, 6)),
        "GroupNorm in 3D": (nn.GroupNorm(2), n.GroupNorm(2, 4), (2, 3, 1, 2, 4)),
        "InstanceNorm1d": (nn.InstanceNorm(), n.InstanceNorm1d(3, affine=True), (2, 5, 3)),
        "InstanceNorm2d": (nn.InstanceNorm(1e-3), n.InstanceNorm2d(3, 1e-3, affine=True), (2, 3, 5, 3)),
        "InstanceNorm without parameters": (nn.InstanceNorm(scale=False, bias=False), n.InstanceNorm2d(3), (2, 3, 5, 3)),
    }


@pytest.mark.parametrize("name", norms(pytest.importorskip("torch", reason="PyTorch, the reference of this test, is not installed")))
def test_a_normalisation_is_pytorch_s(float64, torch, error, name):
    layer, reference, shape = norms(torch)[name]
    x = 3 + 2 * draw(0, *shape)
    params, state = layer.init(KEY, jnp.asarray(x))
    params = away(params)
    assert state == {}
    y, _, dparams, dx = pull_back(layer, params, state, jnp.asarray(x))
    reference.to(torch.float64)
    places = {"scale": reference.weight, "bias": getattr(reference, "bias", None)}
    for key, value in params.items():
        places[key].data = torch.tensor(np.asarray(value))
    moved = (lambda t: t.movedim(-1, 1), lambda t: t.movedim(1, -1)) if name.startswith(("Group", "Instance")) else (lambda t: t,) * 2
    t = torch.tensor(x, requires_grad=True)
    out = moved[1](reference(moved[0](t)))
    torch_backward(torch, out)
    want = {key: places[key].grad.numpy() for key in params}
    assert error([y, dparams, dx], [out.detach().numpy(), want, t.grad.numpy()]) < 1e-14  # measured 2e-15


@pytest.mark.parametrize("steps", [1, 3])
def test_spectral_norm_is_pytorch_s_over_three_steps(float64, torch, error, steps):
    layer, linear = nn.SpectralNorm(nn.Dense(4), steps), torch.nn.Linear(5, 4, dtype=torch.float64)
    x = draw(0, 3, 5)
    params, state = layer.init(KEY, jnp.asarray(x))
    params = away(params)
    linear.weight.data, linear.bias.data = torch.tensor(np.array(params["kernel"]).T), torch.tensor(np.array(params["bias"]))
    linear = torch.nn.utils.spectral_norm(linear, n_power_iterations=steps)
    linear.weight_u.copy_(torch.tensor(np.array(state["kernel_u"])))
    for _ in range(3):
        y, state, dparams, dx = pull_back(layer, params, state, jnp.asarray(x))
        linear.zero_grad()
        t = torch.tensor(x, requires_grad=True)
        out = linear(t)
        torch_backward(torch, out)
        want = {"kernel": linear.weight_orig.grad.numpy().T, "bias": linear.bias.grad.numpy()}
        got = [y, state, dparams, dx]
        assert error(got, [out.detach().numpy(), {"kernel_u": linear.weight_u.numpy()}, want, t.grad.numpy()]) < 5e-15  # measured 6e-16


@pytest.mark.parametrize(("layer", "shape"), [(nn.Dense(4), (3, 5)), (nn.Conv(4, (2, 3), bias=False), (2, 4, 4, 3))])
def test_spectral_norm_converges_to_the_largest_singular_value(float64, layer, shape):
    x = jnp.asarray(draw(0, *shape))
    wrapped = nn.SpectralNorm(layer, steps=200)
    params, state = wrapped.init(KEY, x)
    _, state = wrapped.apply(params, state, x, train=True)
    sigma = np.linalg.norm(np.reshape(params["kernel"], (-1, 4)), 2)
    want = layer.apply(params | {"kernel": params["kernel"] / sigma}, {}, x)[0]
    worst = abs(wrapped.apply(params, state, x)[0] - want).max()
    print(f"error {worst:.1e}")
    assert worst < 1e-13  # measured 4e-16


@pytest.mark.parametrize("layer", [nn.Dense(4), nn.Conv(4, 3)], ids=["dense", "conv"])
def test_spectral_norm_s_gradient_is_true_where_u_stands_still(float64, layer):
    """In evaluation, to first order; while training u and v follow the kernel, and count as constants."""
    x = jnp.asarray(draw(0, *((3, 5) if isinstance(layer, nn.Dense) else (2, 3, 3, 2))))
    params, state = nn.SpectralNorm(layer).init(KEY, x)
    run = jax.jit(lambda params, x: nn.SpectralNorm(layer).apply(params, state, x)[0])
    check_grads(run, (away(params), x), order=1, atol=1e-8, rtol=1e-8, eps=1e-5)


@pytest.mark.parametrize("of", ["dense", "conv"])
def test_weight_norm_is_pytorch_s(float64, torch, error, of):
    if of == "dense":
        layer, reference, shape, turn = nn.Dense(4), torch.nn.Linear(5, 4), (3, 5), ((1, 0), (1, 0))
    else:
        layer, reference = nn.Conv(4, (2, 3), padding="VALID"), torch.nn.Conv2d(3, 4, (2, 3))
        shape, turn = (2, 4, 5, 3), ((3, 2, 0, 1), (2, 3, 1, 0))
    x = draw(0, *shape)
    wrapped = nn.WeightNorm(layer)
    params = away(wrapped.init(KEY, jnp.asarray(x))[0])
    y, _, dparams, dx = pull_back(wrapped, params, {}, jnp.asarray(x))
    reference.to(torch.float64)
    reference.weight.data = torch.tensor(np.transpose(params["kernel"], turn[0]).copy())
    reference.bias.data = torch.tensor(np.array(params["bias"]))
    reference = torch.nn.utils.parametrizations.weight_norm(reference, dim=0)
    scale, direction = reference.parametrizations.weight.original0, reference.parametrizations.weight.original1
    scale.data = torch.tensor(np.array(params["scale"])).reshape(scale.shape)
    t = torch.tensor(x, requires_grad=True)
    out = reference(t) if of == "dense" else reference(t.movedim(-1, 1)).movedim(1, -1)
    torch_backward(torch, out)
    want = {
        "kernel": np.transpose(direction.grad.numpy(), turn[1]),
        "bias": reference.bias.grad.numpy(),
        "scale": scale.grad.numpy().reshape(-1),
    }
    assert error([y, dparams, dx], [out.detach().numpy(), want, t.grad.numpy()]) < 5e-15  # measured 4e-16


# Masks.


MASK = np.arange(5) < np.array([4, 5, 3])[:, None]


@pytest.mark.parametrize("train", [True, False])
def test_batch_norm_under_a_mask_is_batch_norm_of_what_is_valid(float64, error, train):
    layer, x = nn.BatchNorm(0.7), 3 + 2 * draw(0, *MASK.shape, 2)
    params, state = (away(tree) for tree in layer.init(KEY, jnp.asarray(x)))
    cotangent = draw(5, *x.shape)

    def run(params, x, mask=None, weights=None):
        y, new = layer.apply(params, state, x, *(() if mask is None else (mask,)), train=train)
        return jnp.sum(y * weights), (y, new)

    whole = jax.grad(run, (0, 1), has_aux=True)(params, jnp.where(MASK[..., None], x, jnp.nan), jnp.asarray(MASK), cotangent)
    (dparams, dx), (y, new) = jax.grad(run, (0, 1), has_aux=True)(params, jnp.asarray(x[MASK]), None, cotangent[MASK])
    assert not np.asarray(whole[1][0])[~MASK].any()
    assert not np.asarray(whole[0][1])[~MASK].any()  # no gradient, not even NaN, where a NaN stands
    got = [whole[0][0], whole[0][1][MASK], whole[1][0][MASK], whole[1][1]]
    assert error(got, [dparams, dx, y, new]) < 2e-15  # measured 2e-16


@pytest.mark.parametrize("layer", [nn.InstanceNorm(), nn.GroupNorm(2)], ids=["instance", "group"])
def test_a_padded_sequence_is_normalised_as_the_cut_one(float64, error, layer):
    x = 3 + 2 * draw(0, *MASK.shape, 4)
    params, _ = layer.init(KEY, jnp.asarray(x))
    params = away(params)
    loss = lambda x, mask: jnp.sum(jnp.sin(layer.apply(params, {}, x, mask)[0]))
    y = layer.apply(params, {}, jnp.where(MASK[..., None], x, jnp.nan), jnp.asarray(MASK))[0]
    dx = jax.grad(loss)(jnp.where(MASK[..., None], x, jnp.nan), jnp.asarray(MASK))
    assert not np.asarray(y)[~MASK].any()
    assert not np.asarray(dx)[~MASK].any()
    for i, length in enumerate(MASK.sum(1)):
        cut = jnp.asarray(x[i : i + 1, :length])
        want = layer.apply(params, {}, cut)[0][0], jax.grad(loss)(cut, None)[0]
        assert error([y[i, :length], dx[i, :length]], want) < 1e-13  # measured 2e-15


def test_a_mask_of_examples_and_one_of_channels_are_spread():
    layer, x = nn.BatchNorm(), jnp.asarray(draw(0, 4, 3, 2), jnp.float32)
    params, state = layer.init(KEY, x)
    half = jnp.array([True, True, False, False])
    y, new = layer.apply(params, state, x, half, train=True)
    want, want_state = layer.apply(params, state, x[:2], train=True)
    assert abs(y[:2] - want).max() < 1e-6
    assert jax.tree.all(jax.tree.map(lambda a, b: abs(a - b).max() < 1e-6, new, want_state))
    whole = layer.apply(params, state, x, jnp.ones((4, 3, 2), bool), train=True)[0]
    assert abs(whole - layer.apply(params, state, x, train=True)[0]).max() < 1e-6


def test_nothing_valid_leaves_the_running_values_and_gives_zeros():
    layer, x = nn.BatchNorm(), jnp.full((3, 2), jnp.nan)
    params, state = layer.init(KEY, x)
    y, new = layer.apply(params, state, x, jnp.zeros(3, bool), train=True)
    assert not y.any()
    assert jax.tree.all(jax.tree.map(np.array_equal, new, state))


@pytest.mark.parametrize("mask", [np.ones(3, np.float32), np.ones((3, 2, 1, 1), bool), np.ones(4, bool)], ids=["floats", "axes", "size"])
def test_a_mask_that_does_not_fit_is_refused_with_both_shapes(mask):
    with pytest.raises(FdlError, match=r"layer /: found inputs float32\[3, 2, 4\]"):
        nn.BatchNorm().init(KEY, jnp.ones((3, 2, 4)), mask)


# Batches over devices and mapped axes.


def test_a_batch_over_devices_under_jit_is_one_batch(float64, error):
    layer, x = nn.BatchNorm(), jnp.asarray(3 + draw(0, 8, 3, 2))
    params, state = layer.init(KEY, x)
    mesh = jax.make_mesh((4,), ("batch",))
    over = jax.device_put(x, NamedSharding(mesh, PartitionSpec("batch")))
    got = pull_back(layer, params, state, over)
    assert len(got[-1].sharding.device_set) == 4
    assert error(got, pull_back(layer, params, state, x)) < 4e-15  # measured 4e-16


@pytest.mark.parametrize("masked", [False, True])
def test_shard_map_and_vmap_with_an_axis_name_see_the_whole_batch(float64, error, masked):
    layer, x = nn.BatchNorm(axis_name="batch"), jnp.asarray(3 + draw(0, 8, 3, 2))
    mask = jnp.asarray(draw(1, 8, 3) > -0.5) if masked else jnp.ones((8, 3), bool)
    params, state = layer.init(KEY, x)  # outside of any axis
    params = away(params)
    weights = jnp.asarray(draw(2, 8, 3, 2))

    def run(layer, params, state, x, mask, weights):
        y, new = layer.apply(params, state, x, mask, train=True)
        return jnp.sum(y * weights), (y, new)

    want = jax.grad(partial(run, nn.BatchNorm()), (0, 2), has_aux=True)(params, state, x, mask, weights)
    mesh = jax.make_mesh((4,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
    P = PartitionSpec
    sharded = jax.shard_map(
        lambda *a: jax.tree.map(lambda x: x, run(layer, *a)[1]), mesh=mesh, in_specs=(P(), P(), P("batch"), P("batch"), P("batch")),
        out_specs=(P("batch"), P()),
    )  # fmt: skip
    assert error(jax.jit(sharded)(params, state, x, mask, weights), want[1]) < 6e-15  # measured 6e-16

    total = jax.shard_map(
        lambda *a: jax.lax.psum(run(layer, *a)[0], "batch"),
        mesh=mesh,
        in_specs=(P(), P(), P("batch"), P("batch"), P("batch")),
        out_specs=P(),
    )
    assert error(jax.jit(jax.grad(total, (0, 2)))(params, state, x, mask, weights), want[0]) < 6e-15  # measured 5e-16

    parts = [a.reshape(4, 2, *a.shape[1:]) for a in (x, mask, weights)]
    _, (y, new) = jax.vmap(partial(run, layer), (None, None, 0, 0, 0), axis_name="batch")(params, state, *parts)
    assert error([y.reshape(x.shape), jax.tree.map(lambda a: a[0], new)], list(want[1])) < 6e-15  # measured 5e-16


def test_an_axis_name_without_its_axis_is_told():
    layer = nn.Sequential(nn.BatchNorm(axis_name="batch"))
    x = jnp.ones((2, 3))
    params, state = layer.init(KEY, x)
    with pytest.raises(FdlError) as caught:
        layer.apply(params, state, x, train=True)
    assert str(caught.value) == (
        "layer /batch_norm_0: found no axis 'batch' around; expected a call inside shard_map or vmap with this axis_name.\n"
        "  Under jit leave axis_name out: an array spread over devices is one array."
    )
    assert layer.apply(params, state, x)[0].shape == (2, 3)  # evaluation needs none


# Numbers and mistakes.


def test_a_large_mean_costs_no_digits(error):
    x = 1e4 + draw(0, 64, 3)
    for layer in (nn.LayerNorm(axes=0, scale=False, bias=False), nn.BatchNorm(scale=False, bias=False)):
        narrow = jnp.asarray(x, jnp.float32)
        wide = np.asarray(narrow, np.float64)
        want = (wide - wide.mean(0)) / np.sqrt(wide.var(0) + 1e-5)
        y = layer.apply({}, layer.init(KEY, narrow)[1], narrow, train=True)[0]
        assert error(y, want) < 1e-3  # measured 2e-4; of E[x^2] - E[x]^2 in float32 nothing would be left


@pytest.mark.parametrize("layer", [nn.LayerNorm(), nn.RMSNorm(), nn.GroupNorm(1), nn.InstanceNorm()], ids=lambda x: type(x).__name__)
def test_a_constant_input_has_finite_gradients(layer):
    x = jnp.zeros((2, 3, 4))
    params, _ = layer.init(KEY, x)
    y, pull = jax.vjp(lambda p, x: layer.apply(p, {}, x)[0], params, x)
    assert not y.any()
    assert all(jnp.isfinite(g).all() for g in jax.tree.leaves(pull(jnp.ones_like(y))))


def test_groups_that_do_not_part_the_channels_are_refused():
    with pytest.raises(FdlError, match=r"layer /group_norm_0: found inputs float32\[2, 6\].*4 groups do not part the channels"):
        nn.Sequential(nn.GroupNorm(4)).init(KEY, jnp.ones((2, 6)))
    with pytest.raises(FdlError, match=r"GroupNorm\(groups\): found 0"):
        nn.GroupNorm(0)
    with pytest.raises(FdlError, match=r"BatchNorm\(momentum\): found 1.1"):
        nn.BatchNorm(1.1)
