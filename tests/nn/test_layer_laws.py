"""What holds for every layer, from one table."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fdl import nn

KEY = jax.random.key(3)
LAYERS = {
    "Dense": (nn.Dense(4), (2, 3)),
    "Conv of few channels": (nn.Conv(3, (2, 3), 2), (2, 5, 4, 3)),
    "Conv of many channels": (nn.Conv(2, 3, padding="VALID", dilation=(1, 2)), (2, 4, 5, 6)),
    "BatchNorm": (nn.BatchNorm(), (4, 3, 2)),
    "Dropout": (nn.Dropout(0.3), (3, 5)),
    "MaxPool": (nn.MaxPool(2, padding="SAME"), (2, 5, 4, 2)),
    "AvgPool": (nn.AvgPool(3, 2), (2, 5, 4, 2)),
    "Flatten": (nn.Flatten(), (2, 3, 2)),
    "Residual": (nn.Residual(nn.Sequential(nn.Dense(3), nn.relu, nn.Dropout(0.2))), (2, 3)),
    "Sequential": (nn.Sequential(nn.Conv(3, 3), nn.BatchNorm(), nn.relu, nn.MaxPool(2), nn.Flatten(), nn.Dense(2)), (2, 4, 4, 2)),
    "RNN": (nn.Recurrent(nn.RNN(3)), (2, 4, 3)),
    "LSTM": (nn.Recurrent(nn.LSTM(3), "all"), (2, 4, 3)),
    "GRU": (nn.Recurrent(nn.GRU(3)), (2, 4, 3)),
}
each = pytest.mark.parametrize(("layer", "shape"), LAYERS.values(), ids=LAYERS)


def draw(shape, seed=0, dtype=np.float64):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def fitted(layer, x, seed=1):
    """Params and state away from zeros and ones, as after some training."""
    params, state = jax.eval_shape(layer.init, KEY, x)
    return jax.tree.map(lambda a: draw(a.shape, seed, a.dtype), params), jax.tree.map(
        lambda a: 1 + abs(draw(a.shape, seed, a.dtype)), state
    )


@each
def test_jit_is_eager(float64, error, layer, shape):
    x = draw(shape)
    params, state = fitted(layer, x)
    run = lambda params, state, x, key: layer.apply(params, state, x, key=key, train=True)
    eager = run(*jax.tree.map(jnp.asarray, (params, state, x)), KEY)
    assert error(jax.jit(run)(params, state, x, KEY), eager) < 5e-15  # measured 2e-16


@each
def test_vmap_is_a_loop(float64, error, layer, shape):
    xs, keys = draw((3, *shape)), [jax.random.key(i) for i in range(3)]
    params, state = (jax.tree.map(lambda *a: np.stack(a), *trees) for trees in zip(*[fitted(layer, xs[0], seed) for seed in range(3)]))

    def run(params, state, x, key):
        def loss(params, x):
            y, new = layer.apply(params, state, x, key=key, train=True)
            return jnp.sum(jnp.sin(y)), (y, new)

        return jax.grad(loss, has_aux=True)(params, x)

    single = jax.jit(run)
    loop = [single(*jax.tree.map(lambda a, i=i: a[i], (params, state, xs)), keys[i]) for i in range(3)]
    assert (
        error(jax.jit(jax.vmap(run))(params, state, xs, jnp.stack(keys)), jax.tree.map(lambda *a: np.stack(a), *loop)) < 5e-15
    )  # measured 0


@each
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32, jnp.float64])
def test_the_input_s_dtype_is_kept_by_weights_outputs_and_gradients(float64, layer, shape, dtype):
    def run(key, x):
        params, state = layer.init(key, x)
        y, pull = jax.vjp(lambda p, x: layer.apply(p, state, x, key=key, train=True)[0], params, x)
        return params, y, pull(y)

    results = jax.eval_shape(run, KEY, jax.ShapeDtypeStruct(shape, dtype))
    assert {leaf.dtype for leaf in jax.tree.leaves(results)} == {jnp.dtype(dtype)}


@each
def test_shapes_alone_suffice_and_state_keeps_its_form(layer, shape):
    x = jax.ShapeDtypeStruct(shape, jnp.float32)
    params, state = jax.eval_shape(layer.init, KEY, x)
    for train in (False, True):
        _, new = jax.eval_shape(partial(layer.apply, train=train), params, state, x, key=KEY)
        assert new == state


@each
def test_the_second_call_traces_nothing(layer, shape):
    traces = []

    @jax.jit
    def step(params, state, x, key):
        traces.append(1)
        grad = jax.grad(lambda p: layer.apply(p, state, x, key=key, train=True)[0].sum())(params)
        return jax.tree.map(lambda p, g: p - g, params, grad), layer.apply(params, state, x, key=key, train=True)[1]

    x = draw(shape, dtype=np.float32)
    params, state = fitted(layer, x)
    for i in range(3):
        params, state = step(params, state, x, jax.random.fold_in(KEY, i))
    assert len(traces) == 1


@each
def test_evaluation_treats_each_example_alone(float64, error, layer, shape):
    x = draw((4, *shape[1:]))
    params, state = fitted(layer, x)
    run = jax.jit(lambda x: layer.apply(params, state, x)[0])
    order = np.array([2, 0, 3, 1])
    assert error(run(x[order]), np.asarray(run(x))[order]) < 5e-15  # measured 0


def test_a_sweep_and_a_deeper_transform_work_on_a_whole_model(float64, error):
    """Hessian-vector product, under vmap over three sets of weights, against differences of gradients."""
    model, shape = LAYERS["Sequential"]
    x = draw(shape)
    params, state = fitted(model, x)
    stacked = jax.tree.map(lambda a: np.stack([a, 1.1 * a, 0.9 * a]), params)
    gradient = jax.grad(lambda p: jnp.sum(model.apply(p, state, x, train=True)[0] ** 2))
    product = jax.jit(jax.vmap(lambda p, v: jax.jvp(gradient, (p,), (v,))[1]))(stacked, stacked)
    small = 1e-5
    ahead, behind = (jax.jit(jax.vmap(gradient))(jax.tree.map(lambda a: a * s, stacked)) for s in (1 + small, 1 - small))  # noqa: B023
    slope = jax.tree.map(lambda a, b: (a - b) / (2 * small), ahead, behind)
    flat = lambda tree: np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])
    assert error(flat(product), flat(slope)) < 3e-10  # measured 2e-11
