"""What `import fdl` costs: nothing that is not used."""

import subprocess
import sys

import pytest

HEAVY = ("matplotlib", "optax", "rich", "safetensors", "scipy.stats", "sklearn", "tyro", "jinja2")


@pytest.mark.parametrize("statement", ["import fdl", "import jax, fdl.nn, fdl.optim, fdl.losses, fdl.train"])
def test_heavy_libraries_are_imported_where_they_are_used(statement):
    code = f"import sys; {statement}; print([name for name in {HEAVY} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_modules_and_names_are_reached_from_the_package():
    import fdl

    for name in fdl.__all__:
        assert getattr(fdl, name) is not None
    assert "nn" in dir(fdl)
    with pytest.raises(AttributeError, match="module 'fdl' has no attribute 'keras'"):
        fdl.keras  # noqa: B018
