"""fdl: functional deep learning in JAX. Everything is a pure function of pytrees."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fdl import compare as compare
    from fdl import core as core
    from fdl import data as data
    from fdl import losses as losses
    from fdl import metrics as metrics
    from fdl import models as models
    from fdl import nn as nn
    from fdl import ops as ops
    from fdl import optim as optim
    from fdl import report as report
    from fdl import tasks as tasks
    from fdl import testing as testing
    from fdl import train as train
    from fdl.core import FdlError as FdlError
    from fdl.core import jit as jit

_MODULES = {"compare", "core", "data", "losses", "metrics", "models", "nn", "ops", "optim", "report", "tasks", "testing", "train"}
__all__ = [*sorted(_MODULES), "FdlError", "jit"]


def __getattr__(name: str) -> Any:  # floors are loaded when they are first used: `import fdl` costs next to nothing
    if name in _MODULES:
        return importlib.import_module(f"fdl.{name}")
    if name in ("FdlError", "jit"):
        return getattr(importlib.import_module("fdl.core"), name)
    raise AttributeError(f"module 'fdl' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
