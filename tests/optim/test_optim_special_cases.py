"""Rules that coincide for some value of a hyperparameter."""

import jax
import numpy as np
import pytest

from fdl import optim
from fdl.testing import optimizers

SAME = {
    # name: one optimizer, another
    "momentum 0 is SGD": (optim.Momentum(0.1, 0.0), optim.SGD(0.1)),
    "Nesterov's momentum 0 is SGD": (optim.Momentum(0.1, 0.0, nesterov=True), optim.SGD(0.1)),
}


@pytest.mark.parametrize("name", SAME)
def test_special_case(name, float64):
    a, b = (jax.tree.leaves(jax.jit(optimizers.run)(optimizer)[0]) for optimizer in SAME[name])
    start = jax.tree.leaves(optimizers.start())
    assert any((x != s).any() for x, s in zip(a, start))
    apart = max(np.abs(x - y).max() for x, y in zip(a, b))
    assert apart <= 1e-14  # rounding of the same mathematics in another order
