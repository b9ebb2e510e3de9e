"""Read a pickle that holds only a dict of text, integers and sets of text, without unpickling it.

Geneformer and GEARS publish their dictionaries as pickles, and unpickling can run code. This reader goes through the
instructions of the file with :func:`pickletools.genops`, which does not execute them. It follows a closed list of
instructions that build dicts, lists, sets, text and integers of Python or numpy. All other instructions, such as the
name of another class or function, are refused. The few allowed names are compared as text and never imported.

The work is bounded by the size of the file. Containers hold only plain values, so nothing is nested deeply. All
containers together hold at most as many values as the file has bytes, also if one container is used many times.
"""

from __future__ import annotations

import pickletools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

_SET, _DTYPE, _SCALAR = object(), object(), object()

_NAMES = {
    **dict.fromkeys(["builtins set", "__builtin__ set", "builtins frozenset", "__builtin__ frozenset"], _SET),
    **dict.fromkeys(["numpy.core.multiarray scalar", "numpy._core.multiarray scalar"], _SCALAR),
    "numpy dtype": _DTYPE,
}
_VALUES = {
    *("BININT", "BININT1", "BININT2", "INT", "LONG", "LONG1", "LONG4"),
    *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "STRING", "BINSTRING", "SHORT_BINSTRING"),
    *("SHORT_BINBYTES", "BINBYTES"),
}
_CODES = {kind + size for kind in "iu" for size in "1248"}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_SET": set, "EMPTY_TUPLE": tuple}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class _Refused(Exception):
    """The file holds an instruction that is not followed."""


@dataclass
class _Integers:
    """A kind of numpy integer: signed or not, its bytes and their order."""

    signed: bool
    size: int
    order: str = "<"

    def read(self, raw: bytes) -> int:
        """Return the number in these bytes."""
        if len(raw) != self.size or self.order not in "<>|":
            msg = f"{len(raw)} bytes for a number of {self.size}"
            raise ValueError(msg)
        return int.from_bytes(raw, "big" if self.order == ">" else "little", signed=self.signed)


class _Machine:
    """Stack and memo of the instructions that are followed.

    Parameters
    ----------
    room
        Number of values that all containers together can hold. It is the number of bytes of the file.
    """

    def __init__(self, room: int) -> None:
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.room = room

    def since_mark(self) -> list[Any]:
        """Remove the values since the last mark and return them."""
        if not self.below:
            msg = "no mark"
            raise ValueError(msg)
        items, self.stack = self.stack, self.below.pop()
        return items

    def plain(self, items: list[Any], *allowed: type) -> list[Any]:
        """Return items for a container. Refuse nested containers, and more values than the file has bytes."""
        for item in items:
            if isinstance(item, tuple | list | set | dict) and not isinstance(item, allowed):
                msg = f"a {type(item).__name__} inside another container"
                raise ValueError(msg)
        self.room -= len(items)
        if self.room < 0:
            msg = "more values than bytes"
            raise ValueError(msg)
        return items

    def called(self, function: Any, arguments: Any) -> Any:
        """Return the result of one of the allowed functions."""
        match arguments:
            case ([*items],) if function is _SET:
                return set(self.plain(items))
            case (str(code), _, _) if function is _DTYPE and code in _CODES:
                return _Integers(signed=code[0] == "i", size=int(code[1:]))
            case (_Integers() as kind, bytes(raw)) if function is _SCALAR:
                return kind.read(raw)
        msg = "REDUCE"
        raise _Refused(msg)

    def fill(self, items: list[Any]) -> None:
        """Put keys and values into the dict on the stack. Keys must be text."""
        names, values = items[::2], self.plain(items[1::2], list, set)
        for name in names:
            _of(str, name)
        _of(dict, self.stack[-1]).update(zip(names, values, strict=True))

    def last(self, n: int) -> list[Any]:
        """Remove the last ``n`` values from the stack and return them."""
        if len(self.stack) < n:
            msg = "too few values"
            raise ValueError(msg)
        items = self.stack[-n:]
        del self.stack[-n:]
        return items

    def step(self, name: str, argument: Any) -> None:
        """Follow one instruction."""
        stack = self.stack
        match name:
            case "PROTO" | "FRAME":
                pass
            case "MARK":
                self.below.append(stack)
                self.stack = []
            case "MEMOIZE":
                self.memo[len(self.memo)] = stack[-1]
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                self.memo[int(argument)] = stack[-1]
            case "GET" | "BINGET" | "LONG_BINGET":
                stack.append(self.memo[int(argument)])
            case "GLOBAL" | "STACK_GLOBAL":
                named = argument if name == "GLOBAL" else " ".join(_of(str, part) for part in self.last(2))
                if named not in _NAMES:
                    msg = f"{name} {named[:80]}"
                    raise _Refused(msg)
                stack.append(_NAMES[named])
            case "REDUCE":
                stack.append(self.called(*self.last(2)))
            case _ if name in _VALUES:
                stack.append(argument)
            case _ if name in _CONSTANTS:
                stack.append(_CONSTANTS[name])
            case _ if name in _EMPTY:
                stack.append(_EMPTY[name]())
            case _ if name in _TUPLES:
                stack.append(tuple(self.plain(self.last(_TUPLES[name]), list)))
            case _:
                self.build(name)

    def build(self, name: str) -> None:
        """Follow an instruction that fills a container."""
        match name:
            case "TUPLE":
                items = self.since_mark()
                self.stack.append(tuple(self.plain(items, list)))
            case "BUILD":
                (state,) = self.last(1)
                _of(_Integers, self.stack[-1]).order = _of(str, _of(tuple, state)[1])
            case "DICT":
                items = self.since_mark()
                self.stack.append({})
                self.fill(items)
            case "LIST":
                items = self.since_mark()
                self.stack.append(self.plain(items))
            case "FROZENSET":
                items = self.since_mark()
                self.stack.append(set(self.plain(items)))
            case "SETITEM":
                self.fill(self.last(2))
            case "SETITEMS":
                self.fill(self.since_mark())
            case "APPEND":
                item = self.last(1)
                _of(list, self.stack[-1]).extend(self.plain(item))
            case "APPENDS":
                items = self.since_mark()
                _of(list, self.stack[-1]).extend(self.plain(items))
            case "ADDITEMS":
                items = self.since_mark()
                _of(set, self.stack[-1]).update(self.plain(items))
            case _:
                raise _Refused(name)


def read_plain_pickle(path: Path) -> dict[str, Any]:
    """Read a dict of text to an integer, to text, or to a set of text.

    Raises
    ------
    ValueError
        If the file holds other content. Nothing of it was run.
    """
    machine = _Machine(path.stat().st_size)
    try:
        with path.open("rb") as file:
            for instruction, argument, _ in pickletools.genops(file):
                if instruction.name == "STOP":
                    break
                machine.step(instruction.name, argument)
        (found,) = machine.stack if not machine.below else []
    except _Refused as error:
        msg = (
            f"{path} is a pickle with the instruction {error}, which is not needed for a dictionary of text and "
            "integers. Nothing of it was run. If you trust the file, export the dictionary as JSON and pass the JSON "
            "file."
        )
        raise ValueError(msg) from error
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError, MemoryError) as error:
        msg = (
            f"{path} is not a complete pickle of a dictionary ({error}). Download it again, or pass the dictionary as "
            "JSON."
        )
        raise ValueError(msg) from error
    return _checked(found, path, room=path.stat().st_size)


def _of(kind: type, container: Any) -> Any:
    if type(container) is not kind:
        msg = f"a {type(container).__name__} where a {kind.__name__} is expected"
        raise ValueError(msg)
    return container


def _checked(found: Any, path: Path, *, room: int) -> dict[str, Any]:
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
        msg = f"{path} holds a {type(found).__name__}, not a dict whose keys are text."
        raise ValueError(msg)
    if sum(len(value) for value in found.values() if isinstance(value, set | list)) > room:
        msg = f"{path} holds more values than it has bytes, because keys share sets. Pass the dictionary as JSON."
        raise ValueError(msg)
    for key, value in found.items():
        several = isinstance(value, set | list) and all(isinstance(item, str) for item in value)
        if not (several or (isinstance(value, int | str) and not isinstance(value, bool))):
            msg = f"{path} holds a {type(value).__name__} under {key!r}. Allowed are integers, text and sets of text."
            raise ValueError(msg)
    return found
