"""What holds for every layer: each law of `fdl.testing` for each case of every `cases_*.py` beside this file."""

import importlib.util
from pathlib import Path

import pytest

from fdl import testing
from fdl.core import FdlError

# What shall not hold, and why.
EXCEPT = {
    ("LSTM that keeps its carry", "evaluation_is_deterministic"): "an evaluation goes on where the batch before ended, too",
    ("LSTM that keeps its carry", "examples_stand_alone"): "each row has a carry of its own",
    ("Embedding", "dtype_is_kept"): "it has no floating input: its dtype is an option",
    ("SpectralNorm", "derivatives_are_true"): "its gradient takes u and v, which follow from the kernel, as constants",
    ("SpectralNorm of a Conv", "derivatives_are_true"): "likewise",
}


def cases():
    table = {}
    for path in sorted(Path(__file__).parent.glob("cases_*.py")):
        spec = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        assert not table.keys() & module.CASES.keys(), f"{path.name} repeats a name"
        table |= module.CASES
    return table


CASES = cases()
FIRST = {type(layer): name for name, (layer, _) in reversed(CASES.items())}
LONG = "derivatives_are_true", "jit_is_eager"  # of a class's further cases these are among the slow tests


def pairs():
    for name, (layer, _) in CASES.items():
        for law in testing.layers.LAWS:
            slow = law in LONG and FIRST[type(layer)] != name
            yield pytest.param(name, law, marks=[pytest.mark.slow] if slow else [], id=f"{name}-{law}")


@pytest.mark.parametrize(("name", "law"), [*pairs()])
def test_law(name, law):
    layer, inputs = CASES[name]
    if (name, law) in EXCEPT:
        with pytest.raises(FdlError):  # an exception that is none is taken away
            testing.layers.check(law, layer, *inputs)
    else:
        testing.layers.check(law, layer, *inputs)


def test_every_exception_is_of_a_case_and_a_law():
    assert all(name in CASES and law in testing.layers.LAWS for name, law in EXCEPT)
