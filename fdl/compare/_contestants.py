"""Contestants: optimizers with their search spaces, from Python, by name, or from a TOML file."""

import functools
import importlib
import inspect
import os
import re
import sys
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

from fdl import optim
from fdl.compare import space
from fdl.core import FdlError, choose
from fdl.optim import schedules
from fdl.train import Trainable

SPACES = {"sgd": space.log(1e-3, 10)}  # plain gradient descent wants more than its cautious default
CLASSICS = ("sgd", "momentum", "adagrad", "adadelta", "rmsprop", "adam")
WITHIN = {**optim.named, **optim.wrappers, **optim.stages}  # what a file may put together


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
    """A named optimizer with its learning rate to be searched over four decades, its default in their middle.

    Args:
        name: of `optim.named`; `WRAPPER(NAME)`, as in `lookahead(adam)`; `optax.NAME`; or `MODULE:NAME`, a contestant of the
            user's own, with what is searched.
        where: what an error calls the place.
    """
    return named(name, where, lambda optimizer, default: SPACES.get(optimizer) or space.log(default / 100, default * 100))


def named(name: str, where: str, rate: Callable[[str, float], Any]) -> Any:
    """An optimizer by name with its learning rate from `rate(name, default)`; see `by_name`."""
    if ":" in name:
        found = _imported(name)
        return found() if isinstance(found, type) or inspect.isroutine(found) else found
    if name.startswith("optax."):
        return _make(where, _maker(where, name), {"learning_rate": rate(name, 1e-3)})
    if wrapped := re.fullmatch(r"(\w+)\((.+)\)", name):
        return choose(where, wrapped[1], optim.wrappers)(named(wrapped[2], where, rate))
    if name in optim.wrappers:
        raise FdlError(where, repr(name), "an optimizer within it", f"As in '{name}(adam)', with quotes in a shell.")
    cls = choose(where, name, optim.named)
    default: Any = next((f.default for f in fields(cls) if f.name == "lr"), None)
    return cls() if default is None else cls(lr=rate(name, default))


classics: dict[str, Any] = {name: by_name(name) for name in CLASSICS}


def from_toml(path: str | os.PathLike[str], task: Trainable) -> dict[str, Contestant]:
    """The contestants of a TOML file, such as::

        [contestants.momentum]
        optimizer = "momentum"                                # or "optax.NAME", or "MODULE:NAME"; else the contestant's own name
        lr = { log = [1e-3, 1] }                              # or uniform = [low, high], or choice = [...]
        nesterov = { choice = [true, false] }

        [contestants."adam, cosine"]
        optimizer = "adam"
        lr = { schedule = "cosine", peak = { log = [1e-4, 0.1] } }  # steps: the task's, where not given
        task = { batch_size = 32, steps = 510 }               # where it differs from the study's

        [contestants."clipped, decayed"]                      # optimizers within others are tables too
        optimizer = "chain"
        stages = [
            { optimizer = "clipbyglobalnorm", limit = 1 },
            { optimizer = "groups", groups = { bias = { optimizer = "sgd" } }, rest = { optimizer = "adam" } },
        ]

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
        optimizer = table.get("optimizer", name) if isinstance(table, dict) else None
        if not isinstance(optimizer, str):
            raise FdlError(where, repr(table), 'a table with optimizer = "NAME", where that is not the contestant\'s own name')
        changes = table.get("task", {})
        known = ("batch_size", "steps", "evaluate_every")
        if not isinstance(changes, dict) or set(changes) - set(known):
            raise FdlError(f"{where}, task", str(changes), "a table of " + ", ".join(known))
        own = replace(task, **changes) if changes else None  # type: ignore[type-var]
        values = {k: _value(f"{where}, {k}", v, (own or task).steps) for k, v in table.items() if k not in ("optimizer", "task")}
        made[name] = Contestant(_make(where, _maker(where, optimizer), values), own)
    return made


def _maker(where: str, name: str) -> Any:
    if ":" in name:
        return _imported(name)
    if name.startswith("optax."):
        import optax

        factories = {n: f for n, f in vars(optax).items() if inspect.isfunction(f) and "learning_rate" in inspect.signature(f).parameters}
        return choose(where, name.removeprefix("optax."), factories)
    return choose(where, name, WITHIN)


def _make(where: str, maker: Any, values: dict[str, Any]) -> Any:
    """`maker(**values)`: an optimizer's class, or a function that returns optax's."""
    known = [f.name for f in fields(maker)] if is_dataclass(maker) else inspect.signature(maker).parameters
    for name in values:
        choose(where, name, dict.fromkeys(known))
    if is_dataclass(maker):
        lacking = [f.name for f in fields(maker) if f.default is MISSING and f.name not in values]
        if lacking:
            raise FdlError(where, "no " + ", no ".join(lacking), f"{lacking[0]} = ...")
        return maker(**values)  # type: ignore[operator]
    options = {name: value for name, value in values.items() if isinstance(value, (bool, str))}
    numbers = {name: value for name, value in values.items() if name not in options}
    return optim.from_optax(functools.partial(maker, **options) if options else maker, **numbers)


def _value(where: str, value: Any, steps: int) -> Any:
    """A number, an option, a distribution, a schedule, an optimizer, or several of these."""
    of = lambda name, part: _value(f"{where}.{name}", part, steps)
    if isinstance(value, list):
        return tuple(of(i, part) for i, part in enumerate(value))
    if not isinstance(value, dict):
        return float(value) if isinstance(value, int) and not isinstance(value, bool) else value
    match list(value.items()):
        case [("log" | "uniform" as kind, [int() | float() as low, int() | float() as high])]:
            return getattr(space, kind)(low, high)
        case [("choice", list(options))]:
            return space.choice(*(_value(where, option, steps) for option in options))
        case _ if "schedule" in value:
            kind = choose(f"{where}, schedule", value["schedule"], schedules.named)
            given = {name: of(name, part) for name, part in value.items() if name != "schedule"}
            return _make(where, kind, ({"steps": steps} if "steps" in {f.name for f in fields(kind)} else {}) | given)
        case _ if "optimizer" in value:
            return _make(where, _maker(where, value["optimizer"]), {n: of(n, part) for n, part in value.items() if n != "optimizer"})
        case parts if parts and all(isinstance(part, dict) and "optimizer" in part for _, part in parts):
            return {name: of(name, part) for name, part in parts}
    known = "{ log = [low, high] }, { uniform = [low, high] }, { choice = [...] }, { schedule = ... } or { optimizer = ... }"
    raise FdlError(where, str(value), known)


def _imported(name: str) -> Any:
    module, _, attribute = name.partition(":")
    if "" not in sys.path:
        sys.path.insert(0, "")  # a module in the current folder, as `python -m` finds it
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise FdlError("contestant", repr(name), "MODULE:NAME that can be imported", str(error)) from error
