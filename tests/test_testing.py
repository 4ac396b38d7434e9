"""`fdl.testing`: layers that break one law each are told which, and one that keeps them all passes."""

import random
import subprocess
import sys
import time
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fdl import nn, testing
from fdl.core import FdlError
from fdl.testing import layers

ZEROS, NORMAL = nn.initializers.zeros, nn.initializers.normal()


@dataclass(frozen=True)
class Broken(nn.Layer):
    """`y = sin(w x)`, and one mistake."""

    mistake: str = ""

    def forward(self, scope, x):
        mistake = self.mistake
        dtype = jnp.float32 if mistake == "weights in float32" else x.dtype
        init = (lambda key, shape, dtype: jnp.full(shape, random.random(), dtype)) if mistake == "a seed of its own" else NORMAL
        w = scope.param("w", init, x.shape[-1:], dtype)[None]
        y = jnp.sin(w.astype(x.dtype) * x)
        if mistake == "a batch's mean":
            y = y - y.mean(0, keepdims=True)
        if mistake == "noise":
            y = y + jax.random.normal(scope.key, x.shape, x.dtype)
        if mistake == "a clock":
            y = y + time.perf_counter_ns() % 1000
        if mistake == "a constant where traced":
            y = y + (1 if isinstance(x, jax.core.Tracer) else 0)
        if mistake == "a root":
            y = y + jnp.sqrt(jnp.maximum(x, 0)) * 0
        if mistake == "a wrong gradient":
            y = wrong(y)
        if mistake == "no forward mode":
            y = reverse_only(y)
        if mistake == "a growing state":
            scope.state["n"] = jnp.zeros(len(scope.state.get("n", ())) + 1)
        if mistake == "a count in evaluation":
            scope.set("n", 1 + scope.variable("n", ZEROS, (), jnp.float32))
        if mistake == "weights changed":
            scope.params["w"] = y[0]
        if mistake == "a state of numbers":
            scope.variable("n", ZEROS, (), jnp.float32)
            scope.state["n"] = 1.0
        return y


@jax.custom_jvp
def wrong(x):
    return x**2


wrong.defjvp(lambda primals, tangents: (primals[0] ** 2, 2.001 * primals[0] * tangents[0]))


@jax.custom_vjp
def reverse_only(x):
    return x**2


reverse_only.defvjp(lambda x: (x**2, x), lambda x, g: (2 * x * g,))


@pytest.mark.parametrize(
    ("mistake", "law", "found"),
    [
        ("a growing state", "shapes_suffice", "a new state"),
        ("a state of numbers", "shapes_suffice", "a new state"),
        ("weights in float32", "dtype_is_kept", "weights in float32 for inputs in bfloat16"),
        ("a constant where traced", "jit_is_eager", "outputs and state of jit and of an eager call"),
        ("a clock", "nothing_is_changed", "two calls with one key"),
        ("weights changed", "nothing_is_changed", "a change in the params or state that were given"),
        ("noise", "evaluation_is_deterministic", "outputs under two keys"),
        ("a count in evaluation", "evaluation_is_deterministic", "the state before and after an evaluation"),
        ("a batch's mean", "examples_stand_alone", "outputs of an example in two batches"),
        ("a seed of its own", "weights_follow_names", "initial weights with a layer before it"),
        ("a root", "derivatives_are_true", "gradients that are not finite"),
        ("a wrong gradient", "derivatives_are_true", "the gradient and differences along a direction"),
        ("no forward mode", "derivatives_are_true", "TypeError: can't apply forward-mode"),
    ],
)
def test_a_broken_layer_is_told_which_law_it_breaks(mistake, law, found):
    with pytest.raises(FdlError) as caught:
        layers.check(law, Broken(mistake), (4, 3))
    assert str(caught.value).startswith(f"Broken, law {law!r}: found {found}")


def test_the_figures_are_told():
    with pytest.raises(
        FdlError, match=r"found outputs and state of jit and of an eager call \d\.\de[+-]\d\d apart; expected at most 1e-13"
    ):
        layers.check("jit_is_eager", Broken("a constant where traced"), (4, 3))


def test_a_good_layer_passes_whatever_the_settings():
    assert testing.check_layer(Broken(), (4, 3)) is None
    with jax.enable_x64(True):
        testing.check_layer(nn.Recurrent(nn.RNN(2)), (2, 3, 2), np.array([2, 3]), skip=["derivatives_are_true", "vmap_is_a_loop"])


def test_a_law_may_be_left_out_and_one_that_is_none_is_told():
    skip = set(layers.LAWS) - {"examples_stand_alone"}
    with pytest.raises(FdlError, match="Broken, law 'examples_stand_alone'"):
        testing.check_layer(Broken("a batch's mean"), (4, 3), skip=skip)
    testing.check_layer(Broken("a batch's mean"), (4, 3), skip=set(layers.LAWS))
    with pytest.raises(FdlError, match=r"check_layer\(skip\): found jit; expected names of laws: shapes_suffice, "):
        testing.check_layer(Broken(), (4, 3), skip=["jit"])


def test_every_law_is_named_in_the_docstring():
    assert all(f"`{law}`" in testing.check_layer.__doc__ for law in layers.LAWS)


def test_it_needs_no_pytest():
    code = "import sys; sys.modules['pytest'] = None; import fdl; print(fdl.testing.check_layer.__name__)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "check_layer"
