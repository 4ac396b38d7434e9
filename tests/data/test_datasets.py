"""Shipped data sets, and what is refused of a user's own."""

import numpy as np
import pytest

from fdl import FdlError, data


def split(labels=(0, 1, 2), x=None):
    labels = np.asarray(labels)
    return data.Split((np.ones((len(labels), 2), np.float32) if x is None else np.asarray(x),), labels)


def build(**changes):
    return data.Dataset("mine", **{"train": split(), "validation": split(), "test": split(), "classes": 3, **changes})


def test_digits_are_split_once_and_standardised():
    digits = data.digits()
    assert [len(s) for s in (digits.train, digits.validation, digits.test)] == [1077, 360, 360]
    (x,) = digits.train.inputs
    assert x.shape[1:] == (8, 8, 1)
    assert x.dtype == np.float32
    assert abs(x.mean()) < 1e-6  # measured 5e-8
    assert abs(x.std() - 1) < 1e-5
    images = np.concatenate([s.inputs[0] for s in (digits.train, digits.validation, digits.test)]).reshape(1797, -1)
    from sklearn.datasets import load_digits

    original = load_digits().data
    assert len(np.unique(images.round(4), axis=0)) == len(np.unique(original, axis=0))  # no image stands in two splits


def test_vowels_keep_the_original_test_series_and_pad_with_zeros():
    vowels = data.vowels()
    assert [len(s) for s in (vowels.train, vowels.validation, vowels.test)] == [216, 54, 370]
    assert np.bincount(vowels.train.labels).tolist() == [24] * 9
    assert np.bincount(vowels.validation.labels).tolist() == [6] * 9
    assert np.bincount(vowels.test.labels).tolist() == [31, 35, 88, 44, 29, 24, 40, 50, 29]  # as UCI describes it
    x, lengths = vowels.train.inputs
    valid = np.arange(29) < lengths[:, None]
    assert (x[~valid] == 0).all()
    np.testing.assert_allclose(x[valid].mean(0), 0, atol=3e-5)  # measured 2.6e-6
    np.testing.assert_allclose(x[valid].std(0), 1, atol=1e-5)  # measured 1.1e-6
    assert lengths.min() >= 7


def test_a_constant_feature_is_standardised_to_zero():
    train = np.array([[1.0, 5.0], [3.0, 5.0]])
    ours, other = data.standardise(train, train + 1, axis=0)
    np.testing.assert_array_equal(ours, np.array([[-1, 0], [1, 0]], np.float32))
    np.testing.assert_array_equal(other, np.array([[0, 1], [2, 1]], np.float32))


BAD = {
    "label too large": (
        {"test": split([0, 3, 1])},
        "data set mine, split test, labels: found 3 at row 1 (1 such); expected classes 0 to 2.",
    ),
    "label negative": (
        {"train": split([-1, 0, -1])},
        "data set mine, split train, labels: found -1 at row 0 (2 such); expected classes 0 to 2.",
    ),
    "labels floating": ({"train": split([0.0, 1.0])}, "found float64 of shape (2,); expected integers of shape [examples]"),
    "labels as columns": ({"train": split([[0], [1]])}, "of shape (2, 1); expected integers of shape [examples]"),
    "texts": ({"train": split(["a", "b"])}, "expected numbers"),
    "no examples": ({"validation": split([])}, "data set mine, split validation: found no examples; expected at least one."),
    "rows missing": ({"train": split([0, 1, 2], np.ones((2, 2)))}, "input 0: found 2 rows; expected 3, as many as labels."),
    "not a number": (
        {"train": split([0, 1], [[1, 2], [np.nan, 3]])},
        "input 0: found nan at row 1, place 0 (1 such); expected finite values.",
    ),
    "infinite": ({"test": split([0], [[1, np.inf]])}, "input 0: found inf at row 0, place 1 (1 such)"),
}

TREE = {"x": np.ones((3, 2)), "more": (np.arange(3),)}
BAD_TREES = {
    "rows missing": (
        {**TREE, "x": np.ones((2, 2))},
        "data set mine, split test, array ['x']: found 2 rows; expected 3, as many as array ['more'][0].",
    ),
    "infinite": ({**TREE, "x": np.array([[0, 1], [0, np.inf], [np.nan, 0]])}, "array ['x']: found inf at row 1, place 1 (2 such)"),
    "a single number": ({**TREE, "x": 2.0}, "array ['x']: found 2.0; expected an array with examples along its first axis."),
    "no arrays": ({}, "data set mine, split test: found no arrays; expected at least one."),
    "no examples": (np.ones((0, 2)), "data set mine, split test: found no examples"),
}


@pytest.mark.parametrize("case", BAD_TREES)
def test_bad_trees_of_arrays_are_refused_with_their_place(case):
    changes, message = BAD_TREES[case]
    with pytest.raises(FdlError) as caught:
        data.Dataset("mine", TREE, TREE, changes)
    assert message in str(caught.value)


def test_classes_need_labels():
    with pytest.raises(FdlError, match="expected a Split with labels, since classes are given"):
        data.Dataset("mine", TREE, TREE, TREE, classes=3)


@pytest.mark.parametrize("case", BAD)
def test_bad_data_is_refused_with_its_place(case):
    changes, message = BAD[case]
    with pytest.raises(FdlError) as caught:
        build(**changes)
    assert message in str(caught.value)


def test_regression_takes_floating_labels_of_any_shape():
    assert build(**{name: split(np.ones((4, 2))) for name in ("train", "validation", "test")}, classes=None).classes is None
