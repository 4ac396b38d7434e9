"""The scope: names and their owners, state, keys, and what it says when something does not fit."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fdl import nn
from fdl.core import FdlError, Layer

KEY = jax.random.key(0)
X = jnp.ones((2, 3))


def layer(forward):
    """A layer of this `forward(scope, x)`."""
    return type("Custom", (Layer,), {"forward": lambda self, scope, *inputs, **options: forward(scope, *inputs, **options)})()


def message(function, *args, **kwargs):
    with pytest.raises(FdlError) as caught:
        function(*args, **kwargs)
    return str(caught.value)


# Names and their owners.


def test_one_layer_under_one_name_shares_its_weights():
    twice = layer(lambda scope, x: scope(nn.Dense(3), scope(nn.Dense(3), x, name="tied"), name="tied"))
    params, state = twice.init(KEY, X)
    assert list(params) == ["tied"]
    once, _ = nn.Dense(3).apply(params["tied"], {}, X)
    assert (twice.apply(params, state, X)[0] == nn.Dense(3).apply(params["tied"], {}, once)[0]).all()


def test_shared_batch_statistics_see_both_calls():
    norm = nn.BatchNorm(momentum=0.5)
    twice = layer(lambda scope, x: scope(norm, scope(norm, x, name="n") + 4, name="n"))
    params, state = twice.init(KEY, X)
    _, state = twice.apply(params, state, X, train=True)
    assert state["n"]["mean"].tolist() == [2.25] * 3  # 0 -> 0.5 towards 1 -> 0.5 towards 4


def test_two_layers_under_one_name_are_refused():
    model = layer(lambda scope, x: scope(nn.Dense(4), scope(nn.Dense(3), x, name="a"), name="a"))
    assert message(model.init, KEY, X) == "layer /a: found a second owner of this name; expected a name of its own for each layer."


def test_a_name_given_by_hand_is_not_shared_by_counting():
    model = layer(lambda scope, x: scope(nn.Dense(3), scope(nn.Dense(3), x, name="dense_0")))
    params, _ = model.init(KEY, X)
    assert list(params) == ["dense_0", "dense_1"]


def test_a_parameter_and_a_layer_of_one_name_are_refused_in_either_order():
    weight = lambda scope, x: scope.param("dense_0", nn.initializers.ones, (3,), x.dtype)
    running = lambda scope, x: scope.variable("batch_norm_0", nn.initializers.ones, (3,), x.dtype)
    second = "found a second owner of this name; expected a name of its own for each layer."
    assert message(layer(lambda s, x: (weight(s, x), s(nn.Dense(3), x))).init, KEY, X) == f"layer /dense_0: {second}"
    assert message(layer(lambda s, x: (running(s, x), s(nn.BatchNorm(), x))).init, KEY, X) == f"layer /batch_norm_0: {second}"
    late = layer(lambda s, x: (s(nn.Dense(3), x), weight(s, x)))
    assert message(late.init, KEY, X) == "params /dense_0: found a layer of this name; expected a name of its own, without a '/'."


def test_a_slash_in_a_name_is_refused():
    child = layer(lambda scope, x: scope(nn.Dense(3), x, name="a/b"))
    assert message(child.init, KEY, X) == "layer /a/b: found a '/' in the name; expected a name without it: it parts the names of a path."
    weight = layer(lambda scope, x: scope.param("a/b", nn.initializers.ones, (3,), x.dtype))
    assert message(weight.init, KEY, X).startswith("params /a/b: found a '/' in the name")


# What it says.


def test_a_wrong_input_size_names_path_and_both_shapes():
    model = nn.Sequential(nn.relu, nn.Residual(nn.Sequential(nn.Dense(3))))
    params, state = model.init(KEY, X)
    assert message(model.apply, params, state, jnp.ones((2, 5))) == (
        "params /residual_0/body/dense_0/kernel: found shape (3, 3); expected shape (5, 3) for this input.\n"
        "  Does the input have the size that the model was initialised with?"
    )


def test_missing_params_name_path_and_what_is_there():
    params, state = nn.Dense(4).init(KEY, X)
    del params["bias"]
    assert message(nn.Dense(4).apply, params, state, X) == (
        "params /bias: found only ['kernel']; expected an array of shape (4,).\n  Are these the params and state that this model's init returned?"
    )
    assert message(nn.Sequential(nn.Dense(4)).apply, {}, {}, X).startswith(
        "params /dense_0/kernel: found only []; expected an array of shape (3, 4)."
    )


def test_missing_state_names_path():
    model = nn.Sequential(nn.BatchNorm())
    params, _ = model.init(KEY, X)
    assert message(model.apply, params, {}, X).startswith("state /batch_norm_0/mean: found only []; expected an array of shape (3,).")


def test_a_missing_dropout_key_names_path_and_cure():
    model = nn.Residual(nn.Sequential(nn.Dropout(0.5)))
    assert message(model.apply, {}, {}, X, train=True) == (
        "layer /body/dropout_0: found no key; expected a random key while training.\n  model.apply(..., key=jax.random.key(0), train=True)"
    )


def test_what_jax_says_of_shapes_is_told_with_the_innermost_path():
    model = nn.Sequential(nn.Residual(nn.Sequential(nn.Dense(4))))
    text = message(model.init, KEY, X)
    assert text.startswith("layer /residual_0: found inputs float32[2, 3]; expected inputs that it can take (")
    assert "(2, 4), (2, 3)" in text  # JAX's own words
    pooled = nn.Sequential(nn.MaxPool(3))
    assert message(pooled.init, KEY, jnp.ones((1, 2, 5, 1))).startswith(
        "layer /max_pool_0: found inputs float32[1, 2, 5, 1]; expected inputs"
    )


def test_a_plain_function_is_located_by_its_own_name():
    def halve(x):
        raise ValueError("odd")

    model = nn.Sequential(nn.Sequential(halve))
    assert message(model.init, KEY, X) == "layer /sequential_0/halve_0: found inputs float32[2, 3]; expected inputs that it can take (odd)."


def test_an_error_of_another_kind_passes_through():
    def broken(x):
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError) as caught:
        nn.Sequential(broken).init(KEY, X)
    assert str(caught.value) == "mine"


# State, options and purity.


def test_set_keeps_the_dtype_and_lets_no_gradient_through():
    def forward(scope, x):
        old = scope.variable("last", nn.initializers.zeros, (), jnp.float32)
        scope.set("last", x.sum())
        return old + scope.state["last"]

    model = layer(forward)
    _, state = model.init(KEY, X.astype(jnp.bfloat16))
    y, state = model.apply({}, state, X.astype(jnp.bfloat16))
    assert (float(y), float(state["last"]), state["last"].dtype) == (6.0, 6.0, jnp.float32)
    assert not jax.grad(lambda x: model.apply({}, state, x)[0])(X).any()


def test_apply_changes_none_of_what_it_is_given():
    model = nn.Sequential(nn.Dense(3), nn.BatchNorm())
    params, state = model.init(KEY, X)
    kept = jax.tree.map(lambda a: a.copy(), (params, state))
    _, new = model.apply(params, state, X, train=True)
    assert jax.tree.all(jax.tree.map(np.array_equal, kept, (params, state)))
    assert not (new["batch_norm_0"]["mean"] == state["batch_norm_0"]["mean"]).all()


def test_evaluation_returns_the_state_untouched():
    params, state = nn.BatchNorm().init(KEY, X)
    assert jax.tree.all(jax.tree.map(np.array_equal, nn.BatchNorm().apply(params, state, X + 3)[1], state))


def test_options_reach_the_layer_by_keyword():
    inner = layer(lambda scope, x, *, scale: x * scale)
    assert (layer(lambda scope, x, *, scale: scope(inner, x, scale=scale)).apply({}, {}, X, scale=3.0)[0] == 3.0).all()


def test_each_child_draws_from_a_key_of_its_own():
    drop = nn.Dropout(0.5)
    pair = layer(lambda scope, x: (scope(drop, x), scope(drop, x)))
    (a, b), _ = pair.apply({}, {}, jnp.ones(64), key=KEY, train=True)
    assert not (a == b).all()


# Lifting a child out of its scope.


def test_a_lifted_child_is_the_child():
    def lifted(scope, x):
        params, function = scope.lift(nn.Dense(3), x, name="inner")
        return jax.lax.scan(lambda h, _: (function(params, h), None), x, None, length=2)[0]

    model, plain = layer(lifted), layer(lambda s, x: s(nn.Dense(3), s(nn.Dense(3), x, name="inner"), name="inner"))
    params, state = model.init(KEY, X)
    assert jax.tree.all(jax.tree.map(np.array_equal, (params, state), plain.init(KEY, X)))
    assert abs(model.apply(params, state, X)[0] - plain.apply(params, state, X)[0]).max() < 1e-6  # measured 0


@pytest.mark.parametrize("call", ["init", "apply"])
def test_a_lifted_child_with_state_is_refused(call):
    @dataclass(frozen=True)
    class Loop(Layer):
        def forward(self, scope, x):
            params, function = scope.lift(nn.BatchNorm(), x, name="norm")
            return function(params, x)

    params, state = nn.BatchNorm().init(KEY, X)
    args = (KEY, X) if call == "init" else ({"norm": params}, {"norm": state}, X)
    assert message(getattr(Loop(), call), *args) == (
        "layer /norm: found a layer with state inside a loop; expected a layer without state.\n  Use another normalisation there."
    )
