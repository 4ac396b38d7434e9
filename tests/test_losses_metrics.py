"""Losses and metrics against PyTorch, scikit-learn and their own laws."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st

from fdl.losses import cross_entropy, mean_squared_error
from fdl.metrics import accuracy


def draw(*shape, seed=0, dtype=np.float64):
    return jnp.asarray((np.random.default_rng(seed).normal(size=shape) * 3).astype(dtype))


def labels(*shape, classes, seed=1):
    return jnp.asarray(np.random.default_rng(seed).integers(0, classes, shape).astype(np.int32))


def relative(got, want):
    worst = float(np.max(abs(np.asarray(got, np.float64) - np.asarray(want, np.float64))) / np.max(abs(np.asarray(want, np.float64))))
    print(f"error {worst:.1e}")
    return worst


# Cross entropy.


@pytest.mark.parametrize("shape", [(5,), (3, 4), ()])
def test_cross_entropy_is_pytorch_s_forward_and_backward(float64, torch, shape):
    logits, y = draw(*shape, 7), labels(*shape, classes=7)
    value, gradient = jax.jit(jax.value_and_grad(cross_entropy))(logits, y)
    t = torch.tensor(np.array(logits), requires_grad=True)
    loss = torch.nn.functional.cross_entropy(t.reshape(-1, 7), torch.tensor(np.array(y), dtype=torch.int64).reshape(-1))
    loss.backward()
    assert relative(value, loss.detach().numpy()) < 5e-15  # measured 2e-16
    assert relative(gradient, t.grad.numpy()) < 5e-15  # measured 2e-16


def test_its_gradient_is_softmax_minus_one_hot(float64):
    logits, y = draw(6, 5), labels(6, classes=5)
    want = (jax.nn.softmax(logits) - jax.nn.one_hot(y, 5, dtype=jnp.float64)) / 6
    assert relative(jax.grad(cross_entropy)(logits, y), want) < 5e-15  # measured 1e-16


def test_equal_logits_give_the_logarithm_of_the_number_of_classes():
    assert float(cross_entropy(jnp.zeros((3, 8)), jnp.array([0, 3, 7]))) == pytest.approx(np.log(8), rel=1e-6)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
def test_huge_logits_stay_finite(dtype):
    logits = jnp.array([[1e4, -1e4, 0.0], [-1e4, 1e4, 1e4], [-1e4, -1e4, -1e4]], dtype)
    value, gradient = jax.value_and_grad(cross_entropy)(logits, jnp.array([0, 1, 2]))
    assert float(value) == pytest.approx((0 + np.log(2) + np.log(3)) / 3, rel=1e-6)
    assert jnp.isfinite(gradient).all()
    assert gradient.dtype == dtype
    big = float(logits[0, 0])  # 9984 in bfloat16
    assert float(cross_entropy(logits, jnp.array([1, 0, 2]))) == pytest.approx((4 * big + np.log(2) + np.log(3)) / 3, rel=1e-6)


numbers = st.floats(-50, 50)


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.lists(numbers, min_size=4, max_size=4), min_size=3, max_size=3), shift=numbers)
def test_a_shift_of_all_logits_changes_nothing(rows, shift):
    with jax.enable_x64(True):
        logits, y = jnp.array(rows, jnp.float64), jnp.array([0, 3, 1])
        value, shifted = (jax.value_and_grad(cross_entropy)(a, y) for a in (logits, logits + shift))
        assert abs(value[0] - shifted[0]) < 2e-13  # of losses to 100; measured 2e-14
        assert abs(value[1] - shifted[1]).max() < 1e-14  # measured 8e-16


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.lists(numbers, min_size=4, max_size=4), min_size=3, max_size=3))
def test_it_is_never_negative_and_its_gradient_sums_to_zero(rows):
    value, gradient = jax.value_and_grad(cross_entropy)(jnp.array(rows, jnp.float32), jnp.array([0, 3, 1]))
    assert value >= 0
    assert abs(gradient.sum(-1)).max() < 6e-7  # measured 6e-8


@pytest.mark.parametrize("wrong", [-1, -3, 3, 100, 2**31 - 1, -(2**31)])
def test_a_label_out_of_range_gives_nan(wrong):
    logits = draw(2, 3, dtype=np.float32)
    assert jnp.isnan(cross_entropy(logits, jnp.array([1, wrong], jnp.int32)))
    assert jnp.isfinite(cross_entropy(logits, jnp.array([1, 2], jnp.int32)))


def test_a_wide_label_is_not_wrapped_into_range(float64):
    assert jnp.isnan(cross_entropy(draw(2, 3), jnp.array([1, 2**32 + 1], jnp.int64)))


@pytest.mark.parametrize("dtype", [jnp.uint8, jnp.int8, jnp.int16, jnp.uint32, jnp.int32])
@pytest.mark.parametrize("classes", [10, 127, 128, 256, 300])
def test_labels_of_any_integer_type_are_labels(dtype, classes):
    logits = draw(3, classes, dtype=np.float32)
    top = min(classes - 1, int(jnp.iinfo(dtype).max))
    y = np.array([0, top, 5])
    assert cross_entropy(logits, jnp.asarray(y, dtype)) == cross_entropy(logits, jnp.asarray(y, jnp.int32))
    assert jnp.isfinite(cross_entropy(logits, jnp.asarray(y, dtype)))
    assert accuracy(logits, jnp.asarray(y, dtype)) == accuracy(logits, jnp.asarray(y, jnp.int32))


def test_low_precision_logits_are_summed_in_float32():
    logits = draw(4, 1000, dtype=jnp.bfloat16)
    value = cross_entropy(logits, labels(4, classes=1000))
    assert value.dtype == jnp.float32
    assert relative(value, cross_entropy(logits.astype(jnp.float32), labels(4, classes=1000))) == 0


# Mean squared error.


def test_mean_squared_error_is_pytorch_s(float64, torch):
    a, b = draw(4, 3), draw(4, 3, seed=2)
    value, gradient = jax.value_and_grad(mean_squared_error)(a, b)
    t = torch.tensor(np.array(a), requires_grad=True)
    loss = torch.nn.functional.mse_loss(t, torch.tensor(np.array(b)))
    loss.backward()
    assert relative(value, loss.detach().numpy()) < 5e-15  # measured 0
    assert relative(gradient, t.grad.numpy()) < 5e-15  # measured 0


@pytest.mark.parametrize(("a", "b"), [((4, 1), (4,)), ((4,), (4, 1)), ((4, 3), (3,)), ((4, 3), ()), ((4, 3), (1, 3))])
def test_unequal_shapes_are_refused_not_broadcast(a, b):
    with pytest.raises(ValueError, match="^" + re.escape(f"predictions of shape {a} and targets of shape {b}")):
        mean_squared_error(jnp.zeros(a), jnp.zeros(b))


# Accuracy.


@pytest.mark.parametrize("seed", range(3))
def test_accuracy_is_scikit_learn_s_with_ties_going_to_the_first(seed):
    logits = np.random.default_rng(seed).integers(0, 3, (50, 4)).astype(np.float32)  # most rows tie
    y = labels(50, classes=4, seed=seed)
    want = sklearn.metrics.accuracy_score(y, np.argmax(logits, -1))
    assert (np.sort(logits)[:, -1] == np.sort(logits)[:, -2]).sum() > 10
    assert relative(accuracy(jnp.asarray(logits), y), want) < 6e-7  # measured 6e-8: XLA multiplies by 1 / 50


def test_accuracy_counts_places_of_any_shape():
    logits = jnp.array([[[1.0, 2.0], [2.0, 1.0]], [[5.0, 5.0], [0.0, 1.0]]])
    assert float(accuracy(logits, jnp.array([[1, 1], [0, 1]]))) == 0.75
    assert float(accuracy(logits, jnp.array([[-1, 2], [1, -2]]))) == 0
    assert accuracy(logits.astype(jnp.bfloat16), jnp.array([[1, 1], [0, 1]])).dtype == jnp.float32


def test_accuracy_works_with_wide_types(float64):
    for dtype in (jnp.int32, jnp.int64, jnp.uint8):
        assert float(accuracy(jnp.eye(4), jnp.array([0, 1, 2, 0], dtype))) == 0.75


@pytest.mark.parametrize("function", [cross_entropy, accuracy])
def test_labels_of_another_shape_or_kind_are_refused(function):
    logits = jnp.zeros((4, 3))
    text = f"{function.__name__} takes scores [..., classes] and integer labels [...], not (4, 3) and "
    for dtype, shape in ((jnp.int32, (4, 1)), (jnp.int32, (3,)), (jnp.int32, (4, 3)), (jnp.float32, (4,)), (bool, (4,))):
        with pytest.raises(ValueError, match="^" + re.escape(text)):
            function(logits, jnp.zeros(shape, dtype))
