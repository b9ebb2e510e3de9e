"""Read JSON that somebody else can have altered."""

from __future__ import annotations

import json
from typing import Any

DAMAGED = (LookupError, ValueError, TypeError, AttributeError, OverflowError, MemoryError, RecursionError)
"""Errors that reading an altered record can raise. Catch them where a record is read, and say that it was altered."""


class Recorded(dict[str, Any]):
    """Values of a record. A missing name is an error that says that the record was altered."""

    def __init__(self, values: dict[str, Any], problem: str) -> None:
        super().__init__(values)
        self.problem = problem

    def __missing__(self, name: str) -> Any:
        msg = f"{self.problem} It has no {name!r}."
        raise ValueError(msg)


def read_json(text: str | bytes) -> Any:
    """Return the value of a JSON text.

    Raises
    ------
    ValueError
        If it is not JSON, or is nested too deeply to be read.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        msg = "it is nested too deeply"
        raise ValueError(msg) from error
