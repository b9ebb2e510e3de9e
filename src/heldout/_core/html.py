"""HTML from templates in which every value is escaped. Results in notebooks and the report share their pieces."""

from __future__ import annotations

from dataclasses import fields
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    from jinja2 import Environment

PIECES = Path(__file__).with_name("templates")
"""Folder of the templates that all pages share."""


def render(template: str, *folders: Path, **values: Any) -> str:
    """Fill a template.

    Parameters
    ----------
    template
        Name of the file.
    folders
        Folders to search before the one of the shared pieces.
    values
        Values by their name in the template. Text is escaped; a name that is missing is an error.
    """
    return _environment(*folders).get_template(template).render(**values).strip()


@lru_cache(maxsize=4)
def _environment(*folders: Path) -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader([*folders, PIECES], encoding="utf-8"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def rows_of(frame: pd.DataFrame, *, index: bool = False) -> tuple[list[str], list[list[str]]]:
    """Head and rows of a table as text. With ``index``, its names are the first column."""
    values = frame.to_numpy(dtype=object).tolist()
    head = [*([str(frame.index.name or "")] if index else []), *map(str, frame.columns)]
    names: list[list[str]] = [[str(name)] if index else [] for name in frame.index]
    return head, [[*name, *map(str, row)] for name, row in zip(names, values, strict=True)]


def fields_html(result: Any) -> str:
    """Named tuples and dataclasses as a table for notebooks: one row for each field. Use it as ``_repr_html_``."""
    names = getattr(result, "_fields", None) or [field.name for field in fields(result)]
    rows = [[name, _value(getattr(result, name))] for name in names]
    return render("board.html", lead=type(result).__name__, head=["field", "value"], rows=rows)


def _value(value: Any) -> str:
    """A number with four digits, or the size and range of an array."""
    if isinstance(value, bool | np.bool_):
        return str(bool(value))
    if isinstance(value, float | np.floating):
        return f"{value:.4g}"
    if not isinstance(value, np.ndarray):
        return str(value)
    shape = " × ".join(map(str, value.shape))
    if value.dtype.kind not in "iuf" or not np.isfinite(value).any():
        return f"array ({shape}) of {value.dtype}"
    finite = value[np.isfinite(value)]
    missing = f", {value.size - finite.size} missing" if finite.size < value.size else ""
    return f"array ({shape}), {finite.min():.4g} to {finite.max():.4g}{missing}"
