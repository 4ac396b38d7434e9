"""Each law of `fdl.testing.optimizers` for each case of `fdl.testing.rules`."""

import pytest

from fdl.testing import optimizers
from fdl.testing.rules import CASES


@pytest.mark.parametrize("law", optimizers.LAWS)
@pytest.mark.parametrize("name", CASES)
def test_law(name, law):
    optimizers.check(law, CASES[name])
