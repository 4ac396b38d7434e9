"""Each law of `fdl.testing.optimizers` for each rule of `fdl.testing.rules`: a case of every structure, for laws hold at any values."""

import jax
import pytest

from fdl.testing import optimizers
from fdl.testing.rules import CASES

KINDS = {jax.tree.structure(case.ours): name for name, case in reversed(CASES.items())}


@pytest.mark.parametrize("law", optimizers.LAWS)
@pytest.mark.parametrize("name", sorted(KINDS.values(), key=list(CASES).index))
def test_law(name, law):
    optimizers.check(law, CASES[name])
