"""Options of methods: every option declares its type and its range, and one check serves all option classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from types import UnionType
from typing import Any, ClassVar, Literal, Self, Union, get_args, get_origin, get_type_hints

import numpy as np

from heldout._core.checks import Rule

_RULE = "heldout"


def option(
    default: Any = MISSING,
    *,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
    hint: str = "",
) -> Any:
    """Declare an option with limits, as a field of a :class:`Config`; see :class:`Rule` for the arguments."""
    return field(default=default, metadata={_RULE: Rule(at_least, above, at_most, below, hint)})


@dataclass(frozen=True)
class Config:
    """Base of all option classes. It checks the type and the range of every field.

    The type is the annotation of the field: ``int``, ``float``, ``bool``, ``str``, a ``Literal``, ``tuple[int, ...]``,
    ``tuple[float, ...]`` or ``dict[str, tuple[str, ...]]``, each also with ``| None``, or a number with ``| Literal``.
    The range is declared with :func:`option`. A bool is not a number, and numpy numbers become numbers of Python.

    A subclass may map old names of options to new ones in ``renamed``, so that stored fits with the old names can be
    read.

    Raises
    ------
    ValueError
        Names the class, the option, its value and what is allowed.
    """

    renamed: ClassVar[Mapping[str, str]] = {}

    def __post_init__(self) -> None:
        types = _types(type(self))
        for entry in fields(self):
            value = getattr(self, entry.name)
            rule = entry.metadata.get(_RULE, Rule())
            try:
                checked = _checked(value, types[entry.name], rule)
            except (TypeError, ValueError):
                hint = f": {rule.hint}" if rule.hint else ""
                allowed = _words(types[entry.name], rule)
                msg = f"{type(self).__name__}: {entry.name}={value!r} must be {allowed}{hint}."
                raise ValueError(msg) from None
            object.__setattr__(self, entry.name, checked)

    def stored(self) -> dict[str, Any]:
        """Return the options as values of JSON."""
        return asdict(self)

    def options(self) -> list[str]:
        """Return the names of the options."""
        return [entry.name for entry in fields(self)]

    def changed(self, **options: Any) -> Self:
        """Return the options with some of them changed."""
        return replace(self, **options)

    @classmethod
    def from_stored(cls, options: Mapping[str, Any]) -> Self:
        """Build the options from those of a stored fit; old names are mapped to new ones, and the seed is left out.

        Raises
        ------
        ValueError
            If an option is unknown, as in a fit of a newer version.
        """
        types, found = _types(cls), {}
        for stored_name, value in options.items():
            name = cls.renamed.get(stored_name, stored_name)
            if name == "seed":
                continue
            if name not in types:
                msg = (
                    f"The fit has the option {stored_name!r}, which {cls.__name__} does not know. It was made with "
                    "another version of heldout. Upgrade heldout, or fit again."
                )
                raise ValueError(msg)
            whole = types[name] is int and isinstance(value, float) and value.is_integer()
            found[name] = int(value) if whole else value
        return cls(**found)


@dataclass(frozen=True)
class NoConfig(Config):
    """A method without options."""


def _types(cls: type[Config]) -> dict[str, Any]:
    hints = get_type_hints(cls)
    return {entry.name: hints[entry.name] for entry in fields(cls)}


def _checked(value: Any, kind: Any, rule: Rule) -> Any:
    """The value as a plain value of Python; raises ValueError if it is not allowed."""
    if get_origin(kind) in (Union, UnionType):
        others = [part for part in get_args(kind) if part is not type(None)]
        if value is None and len(others) < len(get_args(kind)):
            return None
        named = [part for part in others if get_origin(part) is Literal and isinstance(value, str)]
        return _checked(value, (named or others)[0], rule)
    if get_origin(kind) is Literal:
        return _require(value, isinstance(value, str) and value in get_args(kind))
    if get_origin(kind) is tuple:
        _require(value, isinstance(value, Sequence | np.ndarray) and not isinstance(value, str) and len(value) > 0)
        return tuple(_checked(part, get_args(kind)[0], rule) for part in value)
    if get_origin(kind) is dict:
        _require(value, isinstance(value, Mapping))
        of_key, of_value = get_args(kind)
        return {_checked(name, of_key, rule): _checked(part, of_value, rule) for name, part in value.items()}
    if kind is bool:
        return bool(_require(value, isinstance(value, bool | np.bool_)))
    if kind is str:
        return str(_require(value, isinstance(value, str)))
    _require(value, not isinstance(value, bool | np.bool_))
    if kind is int:
        return int(_require(value, isinstance(value, int | np.integer) and rule.allows(int(value))))
    if kind is float:
        _require(value, isinstance(value, int | float | np.integer | np.floating) and rule.allows(float(value)))
        return value.item() if isinstance(value, np.generic) else value
    msg = f"an option cannot have the type {kind}"
    raise AssertionError(msg)


def _require(value: Any, allowed: bool) -> Any:  # noqa: FBT001
    if not allowed:
        raise ValueError
    return value


def _words(kind: Any, rule: Rule) -> str:
    """What is allowed, in words."""
    if get_origin(kind) in (Union, UnionType):
        others = [part for part in get_args(kind) if part is not type(None)]
        allowed = [_words(part, rule) for part in others]
        return " or ".join([*allowed, *(["None"] if len(others) < len(get_args(kind)) else [])])
    if get_origin(kind) is Literal:
        names = ", ".join(map(repr, get_args(kind)))
        return f"one of {names}" if len(get_args(kind)) > 1 else names
    if get_origin(kind) is tuple:
        plural = {int: "integers", str: "strings"}.get(get_args(kind)[0], "numbers")
        return f"a sequence of one or more {plural}{rule}"
    if get_origin(kind) is dict:
        return f"a mapping from names to {_words(get_args(kind)[1], rule)}"
    return {bool: "True or False", str: "a string", int: f"an integer{rule}", float: f"a number{rule}"}[kind]
