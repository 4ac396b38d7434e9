"""Reads the few pickle opcodes that CIFAR's Python form is written in, as data: nothing is imported, called or built."""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from fdl.core import FdlError
from fdl.data._files import AGAIN


class _Global(NamedTuple):
    """A name that real unpickling would import. Here it only tells what kind of object is meant."""

    module: str
    name: str


_RECONSTRUCT, _ARRAY = _Global("numpy.core.multiarray", "_reconstruct"), _Global("numpy", "ndarray")
_DTYPE = _Global("numpy", "dtype")
OPCODES_AT_MOST = 1_000_000  # a published file has about 50,000


class _Mark: ...


@dataclass
class _Made:
    """What a call of `_RECONSTRUCT` or `_DTYPE` stands for; `array` is there once its state has been read."""

    kind: _Global
    array: np.ndarray | None = None


def parse_pickled(content: bytes, where: str) -> dict[Any, Any]:
    """A dictionary of byte strings, integers, lists and uint8 arrays, written by Python 2's pickle with protocol 2.

    Byte strings come back as `bytes`. Every other opcode, name to be imported or dtype is refused. Memory stays within the
    content's length and a hundred bytes an opcode: no length that it claims is believed, what is used twice is held once.

    Raises:
        FdlError: naming the file, the opcode and its place.
    """
    reader = _Reader(content)
    try:
        value = reader.run()
    except (ValueError, IndexError, KeyError, TypeError, struct.error) as error:
        raise FdlError(where, f"byte {reader.at - 1:,}: {error}", "CIFAR's Python form, a pickle of protocol 2", AGAIN) from error
    if not isinstance(value, dict):
        raise FdlError(where, f"a pickle of {type(value).__name__}", "one of a dictionary")
    return {key: item.array if isinstance(item, _Made) else item for key, item in value.items()}


class _Reader:
    """The stack machine; an error in it is a ValueError, IndexError, KeyError, TypeError or struct.error."""

    def __init__(self, content: bytes) -> None:
        self.content, self.at, self.stack, self.memo = content, 0, [], {}  # type: ignore[var-annotated]

    def run(self) -> Any:
        for _ in range(OPCODES_AT_MOST):
            opcode = self.take(1)
            if opcode == b".":
                break
            if opcode not in _OPCODES:
                raise ValueError(f"the opcode {opcode!r}")
            _OPCODES[opcode](self)
        else:
            raise ValueError(f"more than {OPCODES_AT_MOST:,} opcodes")
        if len(self.stack) != 1 or self.at != len(self.content):
            raise ValueError("an end in the middle")
        return self.stack.pop()

    def take(self, count: int) -> bytes:
        if not 0 <= count <= len(self.content) - self.at:
            raise ValueError(f"{count:,} bytes announced, {len(self.content) - self.at:,} left")
        self.at += count
        return self.content[self.at - count : self.at]

    def number(self, form: str) -> int:
        return struct.unpack("<" + form, self.take(struct.calcsize("<" + form)))[0]

    def line(self) -> str:
        end = self.content.index(b"\n", self.at, self.at + 100)
        return self.take(end + 1 - self.at)[:-1].decode("ascii")

    def since_mark(self) -> list[Any]:
        place = next(i for i in range(len(self.stack) - 1, -2, -1) if i < 0 or isinstance(self.stack[i], _Mark))
        if place < 0:
            raise ValueError("no mark before it")
        items = self.stack[place + 1 :]
        del self.stack[place:]
        return items

    def tuple_of(self, count: int) -> None:
        if len(self.stack) < count:
            raise ValueError("too few items before it")
        self.stack[-count:] = [tuple(self.stack[-count:])]

    def extend(self, items: list[Any], kind: Any) -> None:
        target = self.stack[-1]
        if type(target) is not kind:
            raise ValueError(f"items for {type(target).__name__}")
        if kind is list:
            target.extend(items)
        elif all(type(key) is bytes for key in items[::2]):
            target.update(zip(items[::2], items[1::2], strict=True))
        else:
            raise ValueError("a key that is no byte string")  # hashing tuples of tuples could take for ever

    def call(self) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, _Global) or not isinstance(arguments, tuple):
            raise ValueError("a call")
        expected = (_ARRAY, (0,), b"b") if function == _RECONSTRUCT else (b"u1", 0, 1)
        if function == _ARRAY or arguments != expected:
            raise ValueError(f"a call of {function.module}.{function.name} with other arguments")
        self.stack.append(_Made(function))

    def build(self) -> None:
        state, made = self.stack.pop(), self.stack[-1]
        if not isinstance(made, _Made) or not isinstance(state, tuple):
            raise ValueError("a state")
        if made.kind == _DTYPE:
            return  # byte order and alignment, which single bytes have none of
        _, shape, dtype, fortran, data = state
        if not isinstance(dtype, _Made) or dtype.kind != _DTYPE or not isinstance(fortran, bool) or not isinstance(data, bytes):
            raise ValueError("an array of another kind than uint8")
        if not isinstance(shape, tuple) or len(shape) != 2 or not all(type(n) is int and n > 0 for n in shape):
            raise ValueError("an array that is no matrix")
        if shape[0] * shape[1] != len(data):
            raise ValueError(f"an array of {shape[0]:,} x {shape[1]:,} in {len(data):,} bytes")
        made.array = np.frombuffer(data, np.uint8).reshape(shape, order="F" if fortran else "C")

    def find(self) -> None:
        name = _Global(self.line(), self.line())
        if name not in (_RECONSTRUCT, _ARRAY, _DTYPE):
            raise ValueError(f"the name {name.module}.{name.name}, which could be any code")
        self.stack.append(name)

    def protocol(self) -> None:
        if (found := self.number("B")) != 2:
            raise ValueError(f"protocol {found}")


def _push(value: Callable[[_Reader], Any]) -> Callable[[_Reader], None]:
    return lambda r: r.stack.append(value(r))


def _remember(form: str) -> Callable[[_Reader], None]:
    return lambda r: r.memo.__setitem__(r.number(form), r.stack[-1])


_OPCODES: dict[bytes, Callable[[_Reader], Any]] = {
    b"\x80": _Reader.protocol,
    b"(": _push(lambda r: _Mark()),
    b"}": _push(lambda r: {}),
    b"]": _push(lambda r: []),
    b")": _push(lambda r: ()),
    b"N": _push(lambda r: None),
    b"\x88": _push(lambda r: True),
    b"\x89": _push(lambda r: False),
    b"K": _push(lambda r: r.number("B")),
    b"M": _push(lambda r: r.number("H")),
    b"J": _push(lambda r: r.number("i")),
    b"U": _push(lambda r: r.take(r.number("B"))),
    b"T": _push(lambda r: r.take(r.number("i"))),
    b"q": _remember("B"),
    b"r": _remember("I"),
    b"h": _push(lambda r: r.memo[r.number("B")]),
    b"j": _push(lambda r: r.memo[r.number("I")]),
    b"t": _push(lambda r: tuple(r.since_mark())),
    b"\x85": lambda r: r.tuple_of(1),
    b"\x86": lambda r: r.tuple_of(2),
    b"\x87": lambda r: r.tuple_of(3),
    b"a": lambda r: r.extend([r.stack.pop()], list),
    b"e": lambda r: r.extend(r.since_mark(), list),
    b"s": lambda r: r.extend([*reversed([r.stack.pop(), r.stack.pop()])], dict),
    b"u": lambda r: r.extend(r.since_mark(), dict),
    b"c": _Reader.find,
    b"R": _Reader.call,
    b"b": _Reader.build,
}
"""What the published files consist of, by the names of Python's pickletools: PROTO, MARK, EMPTY_DICT, EMPTY_LIST,
EMPTY_TUPLE, NONE, NEWTRUE, NEWFALSE, BININT1, BININT2, BININT, SHORT_BINSTRING, BINSTRING, BINPUT, LONG_BINPUT, BINGET,
LONG_BINGET, TUPLE, TUPLE1 to TUPLE3, APPEND, APPENDS, SETITEM, SETITEMS, GLOBAL, REDUCE and BUILD."""
