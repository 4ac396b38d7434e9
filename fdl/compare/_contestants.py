"""Contestants: optimizers with their search spaces, from Python, by name, or from a TOML file."""

import functools
import importlib
import inspect
import os
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

from fdl import optim
from fdl.compare import space
from fdl.core import FdlError, choose
from fdl.train import Trainable

# Four decades each, around the rates that suit networks with standardised inputs.
classics: dict[str, Any] = {
    "sgd": optim.SGD(lr=space.log(1e-3, 10)),
    "momentum": optim.Momentum(lr=space.log(1e-4, 1)),
    "adagrad": optim.Adagrad(lr=space.log(1e-4, 1)),
    "adadelta": optim.Adadelta(lr=space.log(1e-2, 100)),
    "rmsprop": optim.RMSProp(lr=space.log(1e-5, 1e-1)),
    "adam": optim.Adam(lr=space.log(1e-5, 1e-1)),
}
SCHEDULES = {"cosine": optim.Cosine, "linear": optim.Linear}


@dataclass(frozen=True)
class Contestant:
    """An optimizer with `space` distributions among its hyperparameters, and what it trains.

    Args:
        optimizer: anything with `init` and `update`.
        task: the study's task in another form, with another batch size, width or depth; the study's own where not given.
    """

    optimizer: Any
    task: Trainable | None = None


def name_contestants(contestants: Sequence[Any] | Mapping[str, Any]) -> dict[str, Contestant]:
    """Contestants by name: those given, or each optimizer's own."""
    if isinstance(contestants, Mapping):
        return {name: _contestant(given) for name, given in contestants.items()}
    made = [_contestant(given) for given in contestants]
    names = [contestant.optimizer.name for contestant in made]
    double = sorted({name for name in names if names.count(name) > 1})
    if double:
        fix = 'Name them: {"adam": optim.Adam(...), "adam, b2 = 0.99": optim.Adam(b2=0.99, ...)}.'
        raise FdlError("contestants", "two called " + ", ".join(double), "a name of its own for each", fix)
    return dict(zip(names, made))


def _contestant(given: Any) -> Contestant:
    given = given if isinstance(given, Contestant) else Contestant(given)
    return Contestant(optim.as_pytree(given.optimizer), given.task)


def by_name(name: str, where: str = "contestant") -> Any:
    """A classic; `optax.NAME` with four decades of its `learning_rate`; `MODULE:NAME`, a contestant of the user's own."""
    if ":" in name:
        found = _imported(name)
        return found() if isinstance(found, type) or inspect.isroutine(found) else found
    if name.startswith("optax."):
        return _make(where, _maker(where, name), {"learning_rate": space.log(1e-5, 1e-1)})
    return choose(where, name, classics)


def from_toml(path: str | os.PathLike[str], task: Trainable) -> dict[str, Contestant]:
    """The contestants of a TOML file.

        [contestants.momentum]
        optimizer = "momentum"                                # or "optax.NAME", or "MODULE:NAME"
        lr = { log = [1e-3, 1] }                              # or uniform = [low, high], or choice = [...]
        nesterov = { choice = [true, false] }

        [contestants."adam, cosine"]
        optimizer = "adam"
        lr = { schedule = "cosine", peak = { log = [1e-4, 0.1] } }  # steps: the task's, where not given
        task = { batch_size = 32, steps = 510 }               # where it differs from the study's

    Args:
        path: of the file.
        task: what the contestants train, by default.

    Raises:
        FdlError: naming the place in the file.
    """
    from dataclasses import replace

    try:
        content = tomllib.loads(Path(path).read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise FdlError(str(path), str(error), "a TOML file") from error
    tables = content.get("contestants")
    if not isinstance(tables, dict) or set(content) != {"contestants"}:
        raise FdlError(str(path), "the tables " + (", ".join(content) or "none"), "[contestants.NAME] tables alone")
    made = {}
    for name, table in tables.items():
        where = f"{path}, contestant {name}"
        if not isinstance(table, dict) or not isinstance(table.get("optimizer"), str):
            raise FdlError(where, "no optimizer", 'optimizer = "NAME"')
        changes = table.get("task", {})
        known = ("batch_size", "steps", "evaluate_every")
        if not isinstance(changes, dict) or set(changes) - set(known):
            raise FdlError(f"{where}, task", str(changes), "a table of " + ", ".join(known))
        own = replace(task, **changes) if changes else None  # type: ignore[type-var]
        values = {k: _value(f"{where}, {k}", v, (own or task).steps) for k, v in table.items() if k not in ("optimizer", "task")}
        made[name] = Contestant(_make(where, _maker(where, table["optimizer"]), values), own)
    return made


def _maker(where: str, name: str) -> Any:
    if ":" in name:
        return _imported(name)
    if name.startswith("optax."):
        import optax

        factories = {n: f for n, f in vars(optax).items() if inspect.isfunction(f) and "learning_rate" in inspect.signature(f).parameters}
        return choose(where, name.removeprefix("optax."), factories)
    return choose(where, name, optim.named)


def _make(where: str, maker: Any, values: dict[str, Any]) -> Any:
    """`maker(**values)`: an optimizer's class, or a function that returns optax's."""
    known = {f.name for f in fields(maker)} if is_dataclass(maker) else set(inspect.signature(maker).parameters)
    for name in values:
        choose(where, name, dict.fromkeys(known))
    if is_dataclass(maker):
        return maker(**values)  # type: ignore[operator]
    options = {name: value for name, value in values.items() if isinstance(value, (bool, str))}
    numbers = {name: value for name, value in values.items() if name not in options}
    return optim.from_optax(functools.partial(maker, **options) if options else maker, **numbers)


def _value(where: str, value: Any, steps: int) -> Any:
    """A number, an option, a distribution or a schedule."""
    if not isinstance(value, dict):
        return float(value) if isinstance(value, int) and not isinstance(value, bool) else value
    match list(value.items()):
        case [("log" | "uniform" as kind, [int() | float() as low, int() | float() as high])]:
            return getattr(space, kind)(low, high)
        case [("choice", list(options))]:
            return space.choice(*(_value(where, option, steps) for option in options))
        case _ if "schedule" in value:
            kind = choose(f"{where}, schedule", value["schedule"], SCHEDULES)
            return _make(where, kind, {"steps": steps} | {k: _value(f"{where}.{k}", v, steps) for k, v in value.items() if k != "schedule"})
    raise FdlError(where, str(value), "{ log = [low, high] }, { uniform = [low, high] }, { choice = [...] } or { schedule = ... }")


def _imported(name: str) -> Any:
    module, _, attribute = name.partition(":")
    if "" not in sys.path:
        sys.path.insert(0, "")  # a module in the current folder, as `python -m` finds it
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise FdlError("contestant", repr(name), "MODULE:NAME that can be imported", str(error)) from error
