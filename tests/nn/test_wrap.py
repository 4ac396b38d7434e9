"""Layers in the place of another: names and weights stay, and what changes is what was asked for."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fdl import nn
from fdl.core import FdlError

KEY = jax.random.key(0)
WRAPPERS = [nn.Remat, nn.Precision, nn.SpectralNorm, nn.WeightNorm]


def draw(*shape, seed=0, dtype=jnp.float32):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), dtype)


def equal(a, b):
    return jax.tree.all(jax.tree.map(np.array_equal, a, b))


@pytest.mark.parametrize("wrap", WRAPPERS)
def test_a_wrapped_layer_keeps_its_name_and_its_initial_weights(wrap):
    x = draw(2, 3)
    plain, _ = nn.Sequential(nn.Dense(4), nn.Dense(2)).init(KEY, x)
    wrapped, _ = nn.Sequential(wrap(nn.Dense(4)), wrap(nn.Dense(2))).init(KEY, x)
    assert wrapped.keys() == plain.keys()
    for name, weights in plain.items():
        assert equal({key: wrapped[name][key] for key in weights}, weights)
        assert set(wrapped[name]) - set(weights) == ({"scale"} if wrap is nn.WeightNorm else set())


def test_wrappers_wrap_each_other():
    x = draw(2, 3)
    model = nn.Sequential(nn.Remat(nn.Precision(nn.WeightNorm(nn.SpectralNorm(nn.Dense(4))))), nn.Dense(2))
    params, state = model.init(KEY, x)
    assert jax.tree.map(jnp.shape, (params, state)) == (
        {"dense_0": {"kernel": (3, 4), "bias": (4,), "scale": (4,)}, "dense_1": {"kernel": (4, 2), "bias": (2,)}},
        {"dense_0": {"kernel_u": (4,)}},
    )
    gradient = jax.grad(lambda p: model.apply(p, state, x, train=True)[0].sum())(params)
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


@pytest.mark.parametrize("wrap", WRAPPERS)
def test_a_wrapper_wraps_a_layer(wrap):
    with pytest.raises(FdlError, match=rf"{wrap.__name__}\(layer\): found <.*; expected a layer"):
        wrap(jnp.tanh)


@pytest.mark.parametrize("wrap", [nn.SpectralNorm, nn.WeightNorm])
def test_a_layer_without_a_kernel_is_refused(wrap):
    for layer, names in ((nn.BatchNorm(), "['bias', 'scale']"), (nn.Sequential(nn.Dense(2)), "['dense_0']")):
        with pytest.raises(FdlError) as caught:
            nn.Sequential(nn.relu, wrap(layer)).init(KEY, draw(2, 3))
        assert f"found parameters {names}; expected a layer with a kernel of its own in {wrap.__name__}" in str(caught.value)


# Remat.


def body():
    return nn.Sequential(nn.Dense(4), nn.BatchNorm(), nn.tanh, nn.Dropout(0.3), nn.Dense(3))


@pytest.mark.parametrize("train", [True, False])
def test_remat_changes_no_number_with_state_and_dropout(float64, error, train):
    x = draw(5, 3, dtype=jnp.float64)
    params, state = body().init(KEY, x)

    def run(model):
        def loss(params, x):
            y, new = model.apply(params, state, x, key=KEY, train=train)
            return jnp.sum(jnp.sin(y)), (y, new)

        return jax.jit(jax.grad(loss, (0, 1), has_aux=True))(params, x)

    assert error(run(nn.Remat(body())), run(body())) < 1e-14


def test_remat_computes_again_and_keeps_what_its_policy_says():
    x = draw(5, 3)
    params, state = body().init(KEY, x)

    def tanhs(model):
        loss = lambda p: model.apply(p, state, x, key=KEY, train=True)[0].sum()
        return str(jax.make_jaxpr(jax.grad(loss))(params)).count("= tanh ")

    assert tanhs(body()) == 1
    assert tanhs(nn.Remat(body())) == 2
    assert tanhs(nn.Remat(body(), jax.checkpoint_policies.everything_saveable)) == 1


# Precision.


def test_precision_keeps_parameters_in_float32_and_computes_in_bfloat16():
    seen = []

    @dataclass(frozen=True)
    class Spy(nn.Layer):
        def forward(self, scope, x):
            seen.append((x.dtype, scope(nn.Dense(4), x).dtype))
            return scope(nn.BatchNorm(), x)

    model, x = nn.Precision(Spy()), draw(6, 3)
    params, state = model.init(KEY, x)
    seen.clear()
    (_, (y, new)), gradient = jax.value_and_grad(
        lambda p: (lambda out: (out[0].sum(), out))(model.apply(p, state, x, train=True)), has_aux=True
    )(params)
    assert seen == [(jnp.bfloat16, jnp.bfloat16)]
    assert {str(a.dtype) for a in jax.tree.leaves((params, state, y, new, gradient))} == {"float32"}


def test_precision_equals_the_casts_by_hand():
    model, x, n = nn.Sequential(nn.Dense(4), nn.tanh, nn.Dense(2)), draw(6, 3), jnp.arange(6)
    params, _ = model.init(KEY, x)
    half = lambda tree: jax.tree.map(lambda a: a.astype(jnp.bfloat16), tree)
    want = model.apply(half(params), {}, half(x))[0]
    got = nn.Precision(model).apply(params, {}, x)[0]
    assert got.dtype == jnp.float32
    assert (got == want.astype(jnp.float32)).all()
    kept = nn.Precision(nn.Sequential(lambda x, n: n)).apply({}, {}, x, n)[0]
    assert kept.dtype == n.dtype  # what is no float stays
    assert nn.Precision(model, jnp.float16, output=jnp.bfloat16).apply(params, {}, x)[0].dtype == jnp.bfloat16


@pytest.mark.parametrize("name", ["compute", "params", "output"])
@pytest.mark.parametrize("dtype", [jnp.int32, "half a float"])
def test_precision_takes_floating_dtypes(name, dtype):
    with pytest.raises(FdlError, match=rf"Precision\({name}\): found .*; expected a floating-point dtype"):
        nn.Precision(nn.Dense(2), **{name: dtype})


# Weight normalisation.


def test_weight_norm_starts_as_the_layer_itself():
    for layer, x in ((nn.Dense(4), draw(2, 3)), (nn.Conv(4, 2), draw(2, 3, 3, 2))):
        params, _ = nn.WeightNorm(layer).init(KEY, x)
        want = layer.apply({name: params[name] for name in ("kernel", "bias")}, {}, x)[0]
        assert abs(nn.WeightNorm(layer).apply(params, {}, x)[0] - want).max() < 5e-6
        norms = np.linalg.norm(np.reshape(params["kernel"], (-1, 4)), axis=0)
        assert abs(params["scale"] - norms).max() < 1e-6
