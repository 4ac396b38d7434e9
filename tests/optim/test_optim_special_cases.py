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
    "AdamW without decay is Adam": (optim.AdamW(0.1, weight_decay=0.0), optim.Adam(0.1)),
    "NAdamW without decay is NAdam": (optim.NAdamW(0.1, weight_decay=0.0), optim.NAdam(0.1)),
    "AdEMAMix without its slow mean is Adam": (optim.AdEMAMix(0.1, alpha=0.0), optim.Adam(0.1)),
    "RMSProp of momentum 0 is RMSProp": (optim.RMSProp(0.1, momentum=0.0), optim.RMSProp(0.1)),
    "Lion of equal decays is Signum": (optim.Lion(0.3, 0.9, 0.9), optim.Signum(0.3, 0.9)),
    "LARS that adapts nothing is momentum": (optim.LARS(0.1, weight_decay=0.0, adapt_only="/dead/*"), optim.Momentum(0.1)),
    "Cautious SGD is SGD, but for xi": (optim.Cautious(optim.SGD(0.1), xi=1e-15), optim.SGD(0.1)),
}


@pytest.mark.parametrize("name", SAME)
def test_special_case(name, float64):
    a, b = (jax.tree.leaves(jax.jit(optimizers.run)(optimizer)[0]) for optimizer in SAME[name])
    start = jax.tree.leaves(optimizers.start())
    assert any((x != s).any() for x, s in zip(a, start))
    apart = max(np.abs(x - y).max() for x, y in zip(a, b))
    assert apart <= 1e-14  # rounding of the same mathematics in another order
