"""What a user's mistake says."""

import copy
import math
import pickle

import numpy as np
import pytest

from fdl.core import FdlError, check_positive, choose


def test_the_message_tells_place_finding_expectation_and_cure():
    assert str(FdlError("row 3", "'x'", "a number", "Mend it.")) == "row 3: found 'x'; expected a number.\n  Mend it."
    assert str(FdlError("row 3", "'x'", "a number")) == "row 3: found 'x'; expected a number."


@pytest.mark.parametrize("remake", [lambda e: pickle.loads(pickle.dumps(e)), copy.copy, copy.deepcopy])
def test_an_error_survives_pickling_and_copying(remake):
    error = FdlError("a", "b", "c", "d")
    twin = remake(error)
    assert type(twin) is FdlError
    assert str(twin) == str(error)
    assert (twin.where, twin.found, twin.expected, twin.fix) == ("a", "b", "c", "d")


def test_choose_gives_the_option():
    assert choose("optimizer", "adam", {"sgd": 1, "adam": 2}) == 2


def test_choose_suggests_the_nearest_spelling_and_lists_every_option():
    with pytest.raises(FdlError) as caught:
        choose("optimizer", "adm", {"sgd": 1, "adam": 2})
    assert str(caught.value) == "optimizer: found 'adm'; expected one of sgd, adam.\n  Did you mean 'adam'?"


@pytest.mark.parametrize("name", ["zzz", "", None, 3, []])
def test_choose_suggests_nothing_for_what_resembles_nothing(name):
    with pytest.raises(FdlError) as caught:
        choose("optimizer", name, {"sgd": 1, "adam": 2})
    assert str(caught.value) == f"optimizer: found {name!r}; expected one of sgd, adam."


@pytest.mark.parametrize("value", [1, 0.5, 1e-300, np.float32(0.1), np.float64(2), np.int32(3), 10**400])
def test_positive_numbers_pass(value):
    check_positive("lr", value)


@pytest.mark.parametrize(
    "value", [0, 0.0, -1, -0.0, math.inf, -math.inf, math.nan, np.float32("nan"), True, np.True_, "1", None, [1.0], 1j]
)
def test_everything_else_is_refused(value):
    with pytest.raises(FdlError) as caught:
        check_positive("lr", value, fix="Try 0.1.")
    assert str(caught.value) == f"lr: found {value!r}; expected a positive, finite number.\n  Try 0.1."


@pytest.mark.parametrize("value", [1, np.int64(7), 10**400])
def test_whole_positive_numbers_pass(value):
    check_positive("steps", value, int)


@pytest.mark.parametrize("value", [0, -2, 1.0, 0.5, True, np.float64(3), "3", None])
def test_everything_but_whole_positive_numbers_is_refused(value):
    with pytest.raises(FdlError) as caught:
        check_positive("steps", value, int)
    assert str(caught.value) == f"steps: found {value!r}; expected a positive whole number."
