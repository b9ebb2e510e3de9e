"""What a page consists of: sections of parts, with text, tables, figures and findings. The templates lay them out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from heldout._core.html import rows_of
from heldout._core.words import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

MOST_ROWS = 400
"""Rows of a table that the page shows."""


_PHONE = 48
"""Characters of a line on a phone."""


@dataclass(frozen=True)
class Figure:
    """An inline SVG with its caption; without a picture, the reason."""

    caption: str
    svg: str = ""
    problem: str = ""


@dataclass(frozen=True)
class Table:
    """A table of text. ``rest`` tells what was left out."""

    head: list[str]
    rows: list[list[str]]
    caption: str = ""
    rest: str = ""

    @property
    def wide(self) -> bool:
        """Whether a phone shows each row as a list."""
        lengths = [len(cell) + 2 for cell in self.head]
        return any(sum(map(max, lengths, (len(cell) + 2 for cell in row))) > _PHONE for row in self.rows)


@dataclass(frozen=True)
class ReportPart:
    """A part of a section, about one split, audit, evaluation or other result.

    Parameters
    ----------
    title
        Heading.
    warning
        What makes the part doubtful, e.g. a leak. It is shown first.
    question, answer
        The question, and the result in one sentence.
    text
        Paragraphs.
    facts
        Names with values.
    tables, folded
        Tables that are shown, and tables that the reader opens.
    figures
        Pictures.
    findings
        Rows of an audit with ``status``, ``item``, ``subject``, ``finding`` and ``advice``.
    """

    title: str
    warning: str = ""
    question: str = ""
    answer: str = ""
    text: Sequence[str] = ()
    facts: Sequence[tuple[str, str]] = ()
    tables: Sequence[Table] = ()
    folded: Sequence[Table] = ()
    figures: Sequence[Figure] = ()
    findings: Sequence[Any] = ()


@dataclass(frozen=True)
class Section:
    """A section of the page; ``text`` is its first paragraph."""

    anchor: str
    title: str
    parts: list[ReportPart] = field(default_factory=list)
    text: str = ""


def table_of(frame: pd.DataFrame, caption: str = "", *, index: bool = False, call: str = "") -> Table:
    """Turn a table into text: numbers with three digits, missing values empty, columns without any value left out.

    Parameters
    ----------
    frame
        The table.
    caption
        Title of the table.
    index
        Whether the index is the first column.
    call
        The call that returns all rows, for tables that are longer than the page shows.
    """
    shown = frame.head(MOST_ROWS)
    columns = {str(name): [as_text(value) for value in shown[name]] for name in frame.columns}
    kept = {name: texts for name, texts in columns.items() if any(texts) or not len(frame)}
    text = pd.DataFrame(kept, index=shown.index, columns=list(kept), dtype=object)
    head, rows = rows_of(text, index=index)
    left = len(frame) - len(shown)
    rest = f"{counted(left, 'more row')}: {call}" if left else ""
    return Table(head, rows, caption, rest)


def as_text(value: Any) -> str:
    """A value as a reader sees it: three digits of a fraction, all digits of a count, nothing for a missing value."""
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, int | np.integer):
        return f"{value:,}"
    if isinstance(value, float | np.floating):
        return f"{value:.3g}" if np.isfinite(value) else ""
    return "" if value is None or value is pd.NA else str(value)


def shortened(text: str, most: int = 160) -> str:
    """The start of a long text."""
    return text if len(text) <= most else f"{text[: most - 2].rstrip()} …"
