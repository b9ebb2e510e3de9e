"""Tables that print all their columns. pandas alone replaces columns and long texts by dots."""

from __future__ import annotations

import shutil
import sys
import textwrap
from contextlib import suppress
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Callable

F = TypeVar("F", bound="Callable[..., Any]")
D = TypeVar("D", bound=pd.DataFrame)

_WIDTH = 100
_LONGEST = 100
"""Characters of a text in a table of many rows."""

_FEW = 3
"""Tables of at most so many rows show each row as a list if they are wider than the screen."""


def storable(table: type[D]) -> type[D]:
    """Decorate a class of tables so that anndata writes it in ``uns`` as a plain DataFrame.

    anndata looks up the exact class and has no public way to add one. If its registry changes, such a table is refused
    when the file is written, and the error names the class.
    """
    with suppress(ImportError, AttributeError):
        from anndata._io.specs.registry import _REGISTRY as REGISTRY

        for destination, source, modifiers in list(REGISTRY.write):
            if source is pd.DataFrame:
                REGISTRY.write[destination, table, modifiers] = REGISTRY.write[destination, source, modifiers]
                REGISTRY.write_specs[table] = REGISTRY.write_specs[source]
    return table


@storable
class WholeTable(pd.DataFrame):
    """A table that prints all columns, in blocks where they are too wide. A selection from it prints so too."""

    @property
    def _constructor(self) -> type[WholeTable]:
        return WholeTable

    def __str__(self) -> str:
        width = max(shutil.get_terminal_size().columns, 80) if sys.stdout.isatty() else _WIDTH
        return as_text(pd.DataFrame(self, copy=False), width)

    __repr__ = __str__

    def _repr_html_(self) -> str | None:
        longest = None if len(self) <= _FEW else _LONGEST
        with pd.option_context("display.max_columns", None, "display.max_colwidth", longest):
            shown: Any = pd.DataFrame(self, copy=False)._repr_html_()
        return None if shown is None else str(shown)


def as_text(frame: pd.DataFrame, width: int) -> str:
    """Text of a table with all columns, in lines of at most ``width`` characters.

    Parameters
    ----------
    frame
        Any table.
    width
        Characters of a line. One column that is wider than this has longer lines.
    """
    if not len(frame.columns) or not len(frame):
        return repr(frame)
    rows = {"max_rows": pd.get_option("display.max_rows"), "min_rows": pd.get_option("display.min_rows")}
    whole = frame.to_string(line_width=None, max_colwidth=_LONGEST, **rows)
    dots = len(frame) <= _FEW and bool(frame.map(lambda value: len(str(value)) > _LONGEST).to_numpy().any())
    if max(map(len, whole.split("\n"))) <= width and not dots:
        text = whole
    elif len(frame) <= _FEW:
        return "\n\n".join(_listed(name, row, width) for name, row in frame.iterrows())
    else:
        text = frame.to_string(line_width=width, max_colwidth=_LONGEST, **rows)
    cut = rows["max_rows"] is not None and len(frame) > rows["max_rows"]
    return f"{text}\n\n[{len(frame)} rows x {len(frame.columns)} columns]" if cut else text


def _listed(name: Any, row: pd.Series, width: int) -> str:
    """One row as a list of its columns, long values in several lines."""
    side = max(len(str(column)) for column in row.index) + 2
    lines = [f"[{name}]"]
    for column, value in row.items():
        words = textwrap.wrap(str(value), max(width - side, 40)) or [""]
        lines += [f"{str(column) if not number else '':<{side}}{line}".rstrip() for number, line in enumerate(words)]
    return "\n".join(lines)


def prints_whole(function: F) -> F:
    """Decorate a function so that a plain table that it returns is a :class:`WholeTable`."""

    @wraps(function)
    def shown(*args: Any, **kwargs: Any) -> Any:
        result = function(*args, **kwargs)
        if type(result) is not pd.DataFrame:
            return result
        table = WholeTable(result)
        table.attrs = result.attrs
        return table

    return shown  # type: ignore[return-value]
