"""What the commands print: text or JSON on stdout, problems on stderr, and the exit code."""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import typer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Code(IntEnum):
    """Exit codes."""

    DONE = 0
    BAD_INPUT = 1
    BAD_USAGE = 2
    AUDIT_FAILED = 3
    LEAKS = 4


@contextmanager
def problems_shown() -> Iterator[None]:
    """Print an expected error in one line and exit. Other errors are bugs, and show where they happened."""
    try:
        yield
    except (ValueError, TypeError, KeyError, ImportError, OSError, MemoryError) as error:
        text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
        print(f"heldout: error: {text or type(error).__name__}", file=sys.stderr)
        raise typer.Exit(Code.BAD_INPUT) from None


def show(answer: dict[str, Any], text: str, *, as_json: bool) -> None:
    """Print the answer of a command on stdout."""
    print(json.dumps(plain(answer), indent=2, ensure_ascii=False, allow_nan=False) if as_json else text)


def written(target: Path | None) -> str | None:
    """The path of the file that was written; tell on stderr where none was."""
    if target is None:
        print("heldout: nothing was written. Pass --out FILE or --in-place to keep the result.", file=sys.stderr)
        return None
    return str(target)


def plain(value: Any) -> Any:
    """A value for JSON: tables as lists of rows, and null for what is missing or not finite."""
    if isinstance(value, pd.DataFrame):
        return [plain(row) for row in value.to_dict("records")]
    if isinstance(value, dict):
        return {str(name): plain(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [plain(entry) for entry in value]
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return float(value) if np.isfinite(value) else None
    return None if value is None or value is pd.NA else str(value)
