"""A learning rate that cannot be meant is refused where it is written."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fdl import optim
from fdl.core import FdlError

REFUSED = {
    "-0.1": -0.1,
    "-1": -1,
    "0": 0,
    "0.0": 0.0,
    "-0.0": -0.0,
    "nan": math.nan,
    "inf": math.inf,
    "-inf": -math.inf,
    "np.float64(-1.0)": np.float64(-1),
}


@pytest.mark.parametrize("name", optim.named)
@pytest.mark.parametrize("text", REFUSED)
def test_a_rate_that_is_not_positive_and_finite_is_refused(name, text):
    cls = optim.named[name]
    with pytest.raises(FdlError) as error:
        cls(REFUSED[text])
    assert str(error.value) == f"{cls.__name__}(lr): found {text}; expected a positive, finite learning rate."


def test_the_message_word_for_word():
    with pytest.raises(FdlError) as error:
        optim.Adam(lr=-0.001)
    assert str(error.value) == "Adam(lr): found -0.001; expected a positive, finite learning rate."
    assert (error.value.where, error.value.found) == ("Adam(lr)", "-0.001")


def test_another_rate_for_the_same_optimizer_is_checked_as_well():
    with pytest.raises(FdlError, match=r"^Momentum\(lr\): found 0; expected a positive, finite learning rate\.$"):
        dataclasses.replace(optim.Momentum(), lr=0)


@pytest.mark.parametrize("name", optim.named)
def test_arrays_traced_values_and_schedules_are_not_judged(name):
    """Their values are unknown, or one of many: a sweep that holds a bad one must still run the rest."""
    cls = optim.named[name]
    assert cls(jnp.asarray([0.1, -0.1])).lr.shape == (2,)
    assert jax.jit(lambda lr: cls(lr).lr)(-1.0) == -1
    assert cls(lambda step: -1.0).at(jnp.asarray(0)).lr == -1
    assert cls(1e-30).lr == 1e-30
    assert cls(7).lr == 7
