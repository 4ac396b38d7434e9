"""The one exception that a user's mistake raises."""

import difflib
import math
import numbers
from collections.abc import Mapping
from typing import Any, TypeVar

T = TypeVar("T")


class FdlError(Exception):
    """A mistake that the user can mend, told in one message.

    Args:
        where: the place: an option, a layer's path, a file and row.
        found: what stands there.
        expected: what should stand there.
        fix: what to do about it; may be empty.
    """

    def __init__(self, where: str, found: str, expected: str, fix: str = "") -> None:
        self.where, self.found, self.expected, self.fix = where, found, expected, fix
        super().__init__(f"{where}: found {found}; expected {expected}." + (f"\n  {fix}" if fix else ""))

    def __reduce__(self) -> tuple[Any, ...]:  # Exception's own would call __init__ with the message alone
        return type(self), (self.where, self.found, self.expected, self.fix)


def choose(where: str, name: str, options: Mapping[str, T]) -> T:
    """`options[name]`; raises `FdlError` naming the nearest spelling and every option there is."""
    if isinstance(name, str) and name in options:
        return options[name]
    near = difflib.get_close_matches(str(name), options, n=1)
    raise FdlError(where, repr(name), "one of " + ", ".join(options), f"Did you mean {near[0]!r}?" if near else "")


def check_positive(where: str, value: Any, kind: type = float, fix: str = "") -> None:
    """Raises `FdlError` unless `value` is a positive, finite number (an integer, where `kind` is `int`)."""
    number = isinstance(value, numbers.Integral if kind is int else numbers.Real) and not isinstance(value, bool)
    if not number or not 0 < value < math.inf:
        raise FdlError(where, repr(value), "a positive whole number" if kind is int else "a positive, finite number", fix)
