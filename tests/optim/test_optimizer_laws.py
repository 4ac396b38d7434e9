"""Each law of `fdl.testing.optimizers` for each rule of `fdl.testing.rules`.

A case of every structure, for laws hold at any values; what is beyond one structure of each class takes minutes more.
"""

import jax
import pytest

from fdl.testing import optimizers
from fdl.testing.rules import CASES

KINDS = {jax.tree.structure(case.ours): name for name, case in reversed(CASES.items())}
FIRST = {type(CASES[name].ours): name for name in KINDS.values()}
NAMES = [pytest.param(n, marks=[] if n in FIRST.values() else pytest.mark.slow) for n in sorted(KINDS.values(), key=list(CASES).index)]


@pytest.mark.parametrize("law", optimizers.LAWS)
@pytest.mark.parametrize("name", NAMES)
def test_law(name, law):
    optimizers.check(law, CASES[name])
