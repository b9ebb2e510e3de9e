"""Read a pickle that holds nothing but a dict of text, numbers and sets of text, without unpickling it.

Geneformer and GEARS publish their dictionaries as pickles, and unpickling can run code. This reader walks through the
instructions of the file with :func:`pickletools.genops`, which executes none of them, and follows a closed list of those
that build dicts, lists, sets, text and integers. Anything else, such as the name of a class or function, is refused.
"""

from __future__ import annotations

import pickletools
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

_MARK = object()
_SET = object()
"""Stands for the name ``builtins.set`` in older protocols. It is not looked up, only compared."""

_VALUES = {
    *("BININT", "BININT1", "BININT2", "INT", "LONG", "LONG1", "LONG4"),
    *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "STRING", "BINSTRING", "SHORT_BINSTRING"),
}
_EMPTY = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_SET": set, "EMPTY_TUPLE": tuple}
_SETS = {"builtins set", "__builtin__ set", "builtins frozenset", "__builtin__ frozenset"}


class _Refused(Exception):
    """The file holds an instruction that is not followed."""


class _Machine:
    """Stack and memo of the instructions that are followed."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def since_mark(self) -> list[Any]:
        at = max(i for i, item in enumerate(self.stack) if item is _MARK)
        items = self.stack[at + 1 :]
        del self.stack[at:]
        return items

    def step(self, name: str, argument: Any) -> None:
        """Follow one instruction."""
        stack = self.stack
        match name:
            case "PROTO" | "FRAME":
                pass
            case "MARK":
                stack.append(_MARK)
            case "MEMOIZE":
                self.memo[len(self.memo)] = stack[-1]
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                self.memo[int(argument)] = stack[-1]
            case "GET" | "BINGET" | "LONG_BINGET":
                stack.append(self.memo[int(argument)])
            case "GLOBAL" if argument in _SETS:
                stack.append(_SET)
            case "STACK_GLOBAL" if f"{stack[-2]} {stack[-1]}" in _SETS:
                stack[-2:] = [_SET]
            case "REDUCE" if stack[-2] is _SET:
                stack[-2:] = [set(*stack[-1])]
            case _ if name in _VALUES:
                stack.append(argument)
            case _ if name in _EMPTY:
                stack.append(_EMPTY[name]())
            case _:
                self.build(name)

    def build(self, name: str) -> None:
        """Follow an instruction that fills a container."""
        stack = self.stack
        match name:
            case "TUPLE1":
                stack[-1:] = [(stack[-1],)]
            case "DICT":
                items = self.since_mark()
                stack.append(dict(zip(items[::2], items[1::2], strict=True)))
            case "LIST":
                stack.append(self.since_mark())
            case "FROZENSET":
                stack.append(set(self.since_mark()))
            case "SETITEM":
                key, value = stack[-2:]
                del stack[-2:]
                _of(dict, stack[-1])[key] = value
            case "SETITEMS":
                items = self.since_mark()
                _of(dict, stack[-1]).update(zip(items[::2], items[1::2], strict=True))
            case "APPEND":
                item = stack.pop()
                _of(list, stack[-1]).append(item)
            case "APPENDS":
                items = self.since_mark()
                _of(list, stack[-1]).extend(items)
            case "ADDITEMS":
                items = self.since_mark()
                _of(set, stack[-1]).update(items)
            case _:
                raise _Refused(name)


def read_plain_pickle(path: Path) -> dict[str, Any]:
    """Dict of text to an integer, to text, or to a set of text.

    Raises
    ------
    ValueError
        If the file holds anything else; nothing of it was run.
    """
    machine = _Machine()
    try:
        with path.open("rb") as file:
            for instruction, argument, _ in pickletools.genops(file):
                if instruction.name == "STOP":
                    break
                if instruction.name in {"GLOBAL", "STACK_GLOBAL", "INST"}:
                    _refuse_global(instruction.name, argument, machine.stack)
                machine.step(instruction.name, argument)
        (found,) = machine.stack
    except _Refused as error:
        msg = (
            f"{path} is a pickle with the instruction {error}, which is not needed for a dictionary of text and numbers. "
            "Nothing of it was run. Where you trust the file, export the dictionary as JSON and pass that."
        )
        raise ValueError(msg) from error
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError) as error:
        msg = f"{path} is not a whole pickle of a dictionary ({error}). Download it again, or pass the dictionary as JSON."
        raise ValueError(msg) from error
    return _checked(found, path)


def _refuse_global(instruction: str, argument: Any, stack: list[Any]) -> None:
    named = argument if instruction != "STACK_GLOBAL" else f"{stack[-2]} {stack[-1]}"
    if instruction == "INST" or named not in _SETS:
        msg = f"{instruction} {named}"
        raise _Refused(msg)


def _of(kind: type, container: Any) -> Any:
    if type(container) is not kind:
        msg = f"a {type(container).__name__} where a {kind.__name__} is expected"
        raise ValueError(msg)
    return container


def _checked(found: Any, path: Path) -> dict[str, Any]:
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
        msg = f"{path} holds a {type(found).__name__}, not a dict whose keys are text."
        raise ValueError(msg)
    for key, value in found.items():
        several = isinstance(value, set | list) and all(isinstance(item, str) for item in value)
        if not (several or (isinstance(value, int | str) and not isinstance(value, bool))):
            msg = f"{path} holds a {type(value).__name__} under {key!r}; expected are numbers, text and sets of text."
            raise ValueError(msg)
    return found
