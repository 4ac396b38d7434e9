"""Sphinx: pages in Markdown, the reference from docstrings, formulas as MathML (no script or font from elsewhere)."""

import re
from importlib import metadata

from docutils import nodes
from latex2mathml.converter import convert

project = "fdl"
release = metadata.version("fdl")
extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "myst_parser"]
myst_enable_extensions = ["dollarmath"]
exclude_patterns = ["_build", "generated"]
default_role = "code"
html_theme = "furo"
html_title = "fdl"
html_math_renderer = "mathml"
autodoc_typehints = "none"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "exclude-members": "forward, rule, start"}
autodoc_preserve_defaults = True
napoleon_use_rtype = False
napoleon_use_ivar = True
add_module_names = False


def formulas(app, what, name, obj, options, lines):
    """Docstrings hold formulas as Markdown does, between dollar signs."""
    text = re.sub(r"\$\$(.+?)\$\$", lambda m: "\n.. math:: " + " ".join(m[1].split()) + "\n", "\n".join(lines), flags=re.DOTALL)
    lines[:] = re.sub(r"\$([^$\n]+)\$", r":math:`\1`", text).split("\n")


def visit_math(self, node):
    self.body.append(convert(node.astext(), display="inline"))
    raise nodes.SkipNode


def visit_math_block(self, node):
    self.body.append(f'<div class="math">{convert(node.astext(), display="block")}</div>')
    raise nodes.SkipNode


def setup(app):
    app.connect("autodoc-process-docstring", formulas)
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_math_block, None))
