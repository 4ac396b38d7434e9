"""The documentation is true: its code runs, its names exist, every public name is in it."""

import importlib
import re
from pathlib import Path

import jax
import pytest

from fdl import nn

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
MODULES = ["compare", "core", "data", "losses", "metrics", "models", "nn", "ops", "optim", "report", "tasks", "testing", "train"]
BORROWED = set(vars(nn)) & set(vars(jax.nn))
TABLES = {
    "named",
    "classics",
    "landscapes",
    "Hyperparameter",
    "Objective",
    "Axis",
    "Form",
    "Method",
    "space",
}  # documented beside what they hold


@pytest.fixture
def as_a_user():
    """JAX as it comes, in every thread: a context would hold in this one alone."""
    theirs = {"jax_numpy_dtype_promotion": "standard", "jax_numpy_rank_promotion": "allow"}
    ours = {name: getattr(jax.config, name) for name in theirs}
    for name, value in theirs.items():
        jax.config.update(name, value)
    yield
    for name, value in ours.items():
        jax.config.update(name, value)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
@pytest.mark.filterwarnings("default::UserWarning")
@pytest.mark.usefixtures("as_a_user")
def test_the_code_of_a_page_runs_from_top_to_bottom(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    assert blocks, "a page without an example"
    names = {"__name__": page.name}
    for block in blocks:
        exec(compile(block, str(page), "exec"), names)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_pictures_of_a_page_exist(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        assert (page.parent / target).exists(), target


def public(module):
    text = Path(importlib.import_module(f"fdl.{module}").__file__).read_text()
    exported = re.findall(r"^from \S+ import \w+ as (\w+)", text, re.MULTILINE)
    return set(exported or re.findall(r"^def ([a-z]\w+)", text, re.MULTILINE)) - BORROWED - TABLES


@pytest.mark.parametrize("module", MODULES)
def test_every_public_name_is_documented(module):
    reference = (ROOT / "docs" / "api" / f"{module}.md").read_text()
    listed = set(re.findall(r"\.\. auto\w+:: (\w+)", reference))
    names = public(module)
    assert names
    missing = {name for name in names if name not in listed and not (module == "core" and name in ("Layer", "Scope", "Wrapper"))}
    assert not missing
    for name in names:
        assert getattr(importlib.import_module(f"fdl.{module}"), name).__doc__, f"fdl.{module}.{name} has no docstring"
