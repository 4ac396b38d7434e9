"""What happens inside a model: outputs of its layers, and gradients with respect to them."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fdl import nn
from fdl.core import FdlError

KEY = jax.random.key(0)


def draw(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


MODEL = nn.Sequential(nn.Dense(4), nn.relu, nn.Residual(nn.Sequential(nn.Dense(4), nn.BatchNorm(), nn.relu)), nn.Dropout(0.5), nn.Dense(2))
X = draw(6, 3)


@pytest.fixture
def fitted():
    return MODEL.init(KEY, X)


def test_taps_are_the_outputs_and_change_nothing(fitted):
    y, state, taps = nn.tap(MODEL, *fitted, X, key=KEY, train=True)
    want, want_state = MODEL.apply(*fitted, X, key=KEY, train=True)
    assert (y == want).all()
    assert jax.tree.all(jax.tree.map(np.array_equal, state, want_state))
    body = "/residual_0/body"
    inside = [f"{body}/{name}" for name in ("dense_0", "batch_norm_0", "relu_0")]
    assert list(taps) == ["/dense_0", "/relu_0", *inside, body, "/residual_0", "/dropout_0", "/dense_1"]
    assert (taps["/dense_1"] == y).all()
    assert (taps["/relu_0"] == nn.relu(taps["/dense_0"])).all()
    assert (taps["/residual_0"] == taps["/relu_0"] + taps[body]).all()


def test_a_pattern_chooses_and_one_of_nothing_is_told(fitted):
    paths = lambda at: list(nn.tap(MODEL, *fitted, X, at=at)[2])
    assert paths("relu*") == paths("**/relu*") == ["/relu_0", "/residual_0/body/relu_0"]
    assert paths("/relu*") == ["/relu_0"]
    assert paths(("dense_1", "body")) == ["/residual_0/body", "/dense_1"]
    with pytest.raises(FdlError, match="at: found 'rely_0'; expected a pattern of a path that is there"):
        paths("rely_0")
    assert nn.tap(nn.Dense(2), *nn.Dense(2).init(KEY, X), X)[2] == {}


def test_a_layer_called_again_has_a_place_for_each_call():
    @dataclass(frozen=True)
    class Twice(nn.Layer):
        def forward(self, scope, x):
            return scope(nn.Dense(3), scope(nn.Dense(3), x, name="tied"), name="tied")

    params, state = Twice().init(KEY, X)
    y, _, taps = nn.tap(Twice(), params, state, X)
    assert list(taps) == ["/tied", "/tied#1"]
    assert (taps["/tied#1"] == y).all()
    assert not (taps["/tied"] == y).all()


def test_a_function_is_counted_without_moving_the_names_of_layers():
    def dense(x):
        return 2 * x

    params, _ = nn.Sequential(dense, nn.Dense(3), dense).init(KEY, X)
    assert list(params) == ["dense_0"]
    wrapped = nn.Sequential(jnp.tanh, lambda x: x + 1, jnp.tanh)
    assert list(nn.tap(wrapped, {}, {}, X)[2]) == ["/tanh_0", "/<lambda>_0", "/tanh_1"]


def test_taps_work_under_jit_and_through_wrappers(fitted):
    taps = jax.jit(lambda p, s, x: nn.tap(MODEL, p, s, x, at="relu*")[2])(*fitted, X)
    want = nn.tap(MODEL, *fitted, X, at="relu*")[2]
    assert all(abs(taps[path] - want[path]).max() < 1e-6 for path in want)
    inside = nn.Sequential(nn.Remat(nn.Sequential(nn.Dense(3), nn.relu)))
    params, state = inside.init(KEY, X)
    assert list(nn.tap(inside, params, state, X)[2]) == ["/sequential_0/dense_0", "/sequential_0/relu_0", "/sequential_0"]
    assert inside.apply(params, state, X)[0].shape == (6, 3)


def test_gradients_are_those_of_the_rest_of_the_model():
    model = nn.Sequential(nn.Dense(4), jnp.tanh, nn.Dense(2))
    params, state = model.init(KEY, X)
    gradients = nn.tap_gradients(lambda y: jnp.sum(y**3), model, params, state, X)
    hidden = nn.Dense(4).apply(params["dense_0"], {}, X)[0]
    tail = lambda h: jnp.sum(nn.Dense(2).apply(params["dense_1"], {}, h)[0] ** 3)
    want = {
        "/dense_0": jax.grad(lambda h: tail(jnp.tanh(h)))(hidden),
        "/tanh_0": jax.grad(tail)(jnp.tanh(hidden)),
        "/dense_1": jax.grad(lambda y: jnp.sum(y**3))(model.apply(params, state, X)[0]),
    }
    assert gradients.keys() == want.keys()
    assert all(abs(gradients[path] - want[path]).max() < 1e-5 for path in want)
    chosen = nn.tap_gradients(lambda y: jnp.sum(y**3), model, params, state, X, at="tanh*")
    assert list(chosen) == ["/tanh_0"]


def test_the_gradient_by_time_step_shows_what_comes_back_through_time():
    """Before a recurrent layer: by hand, from the gradient of the last output with respect to each input."""
    model = nn.Sequential(nn.Dense(3), nn.Recurrent(nn.RNN(2)))
    x = draw(2, 5, 4)
    params, state = model.init(KEY, x)
    loss = lambda y: jnp.sum(y**2)
    gradient = nn.tap_gradients(loss, model, params, state, x, at="dense_0")["/dense_0"]
    z = nn.Dense(3).apply(params["dense_0"], {}, x)[0]
    want = jax.grad(lambda z: loss(nn.Recurrent(nn.RNN(2)).apply(params["recurrent_0"], {}, z)[0]))(z)
    norms = jnp.linalg.norm(gradient, axis=(0, 2))
    assert norms.shape == (5,)
    assert (norms > 0).all()
    assert abs(gradient - want).max() < 1e-6


def test_outputs_that_are_no_floats_have_no_gradient():
    model = nn.Sequential(nn.Dense(3), lambda x: (x, jnp.argmax(x, -1)))
    params, state = model.init(KEY, X)
    gradients = nn.tap_gradients(lambda y: y[0].sum(), model, params, state, X)
    assert gradients["/<lambda>_0"][1] is None
    assert (gradients["/dense_0"] == 1).all()
