"""Leaves chosen by patterns of their paths."""

import jax
import numpy as np
import optax
import pytest

from fdl import nn
from fdl.core import FdlError, group, select

PARAMS = {
    "dense_0": {"kernel": 1, "bias": 2},
    "residual_0": {"body": {"dense_0": {"kernel": 3, "bias": 4}, "batch_norm_0": {"scale": 5, "bias": 6}}},
    "dense_10": {"kernel": 7},
}


def chosen(*patterns):
    mask = select(PARAMS, patterns)
    assert jax.tree.structure(mask) == jax.tree.structure(PARAMS)
    return [leaf for leaf, picked in zip(jax.tree.leaves(PARAMS), jax.tree.leaves(mask), strict=True) if picked]


@pytest.mark.parametrize(
    ("pattern", "leaves"),
    [
        ("kernel", [1, 7, 3]),
        ("*/kernel", [1, 7, 3]),
        ("**/kernel", [1, 7, 3]),
        ("dense_0/kernel", [1, 3]),
        ("/dense_0/kernel", [1]),
        ("/*/kernel", [1, 7, 3]),
        ("dense_?/*", [2, 1, 4, 3]),
        ("residual_0/*", [6, 5, 4, 3]),
        ("b*_norm_[01]/scale", [5]),
        ("*", [2, 1, 7, 6, 5, 4, 3]),
    ],
)
def test_a_pattern_chooses(pattern, leaves):
    assert chosen(pattern) == leaves


def test_several_patterns_choose_what_any_of_them_does():
    assert chosen("scale", "/dense_0/bias") == [2, 5]
    assert chosen() == []


@pytest.mark.parametrize("pattern", ["kernl", "Kernel", "ense_0/kernel", "/kernel", "dense", ""])
def test_a_pattern_of_nothing_is_an_error_that_lists_the_nearest(pattern):
    with pytest.raises(FdlError, match="The nearest are /"):
        select(PARAMS, pattern)


def test_what_it_says():
    with pytest.raises(FdlError) as caught:
        select({"dense_0": {"kernel": 1, "bias": 2}}, ("bias", "dense_1/kernel"), "L2(of)")
    assert str(caught.value) == (
        "L2(of): found 'dense_1/kernel'; expected a pattern of a path that is there.\n  The nearest are /dense_0/kernel, /dense_0/bias."
    )
    with pytest.raises(FdlError) as caught:
        select({}, "bias")
    assert str(caught.value) == "pattern: found 'bias'; expected a pattern of a path that is there."


def test_groups_are_the_first_that_fits_and_the_rest():
    labels = group(PARAMS, {"head": "/dense_10/*", "plain": ("bias", "scale")})
    assert labels["dense_10"] == {"kernel": "head"}
    assert labels["dense_0"] == {"kernel": "rest", "bias": "plain"}
    first = group(PARAMS, {"norm": "batch_norm_0/*", "plain": "bias"}, rest="decayed")
    assert first["residual_0"]["body"]["batch_norm_0"] == {"scale": "norm", "bias": "norm"}
    assert first["dense_10"] == {"kernel": "decayed"}
    with pytest.raises(FdlError, match="group 'plain': found 'biases'"):
        group(PARAMS, {"plain": "biases"})


def test_lists_and_a_lone_leaf_have_paths_too():
    assert select([{"w": 1}, {"w": 2}], "/1/w") == [{"w": False}, {"w": True}]
    assert select(3.0, "*") is True


def test_it_is_the_mask_that_weight_decay_takes():
    x = np.ones((2, 3), np.float32)
    params, _ = nn.Sequential(nn.Dense(4), nn.BatchNorm()).init(jax.random.key(0), x)
    decay = optax.add_decayed_weights(0.5, mask=lambda params: select(params, "kernel"))
    updates, _ = decay.update(jax.tree.map(np.zeros_like, params), decay.init(params), params)
    assert (updates["dense_0"]["kernel"] == 0.5 * params["dense_0"]["kernel"]).all()
    assert not any(leaf.any() for leaf in jax.tree.leaves((updates["dense_0"]["bias"], updates["batch_norm_0"])))
