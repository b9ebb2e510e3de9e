"""The finding of one audit item, and the table of all findings."""

from __future__ import annotations

import textwrap
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from heldout._core.html import render
from heldout._core.tables import storable
from heldout._core.words import counted

if TYPE_CHECKING:
    from collections.abc import Iterable

Status = Literal["fail", "warn", "unidentifiable", "pass", "not run"]

STATUSES: tuple[Status, ...] = ("fail", "warn", "unidentifiable", "pass", "not run")
"""All statuses, the most serious first."""

_WIDTH = 110
HTML_COLORS = {
    "fail": "#A50F3C",
    "warn": "#B07A00",
    "unidentifiable": "#6B5B95",
    "pass": "#2E7D4F",
    "not run": "#8A8A8A",
}
"""Colour of each status in a notebook. The status is also written."""


@dataclass(frozen=True)
class Finding:
    """One row of the audit.

    Parameters
    ----------
    status
        ``"fail"`` is a leak, or a design that cannot answer the question. ``"warn"`` needs an explanation.
        ``"unidentifiable"`` means that no result could decide. ``"pass"`` means that this check found nothing.
        ``"not run"`` means that the check could not be computed.
    finding
        What was found, in one or a few sentences. For ``"not run"``, the reason.
    subject
        The column, gene or fit that the finding is about.
    measure, value, threshold
        What was measured, its value, and the value at which the status changes.
    advice
        What to do next. Empty if nothing needs to be done.
    """

    status: Status
    finding: str
    subject: str = ""
    measure: str = ""
    value: float = np.nan
    threshold: float = np.nan
    advice: str = ""

    @classmethod
    def about(cls, subject: str, measure: str = "", value: float = np.nan, threshold: float = np.nan) -> Finding:
        """Build a finding that has a measure but no text yet."""
        return cls("pass", "", subject, measure, float(value), float(threshold))

    def says(self, status: Status, finding: str, advice: str = "") -> Finding:
        """Return the same measure with a status and a text."""
        return replace(self, status=status, finding=finding, advice=advice)


class NotRun(Exception):
    """An item cannot be computed on these data. The text is the reason."""


@storable
class AuditTable(pd.DataFrame):
    """The table of an audit. It prints as a report; every selection from it is a plain DataFrame."""

    @property
    def _constructor(self) -> type[pd.DataFrame]:
        return pd.DataFrame

    @classmethod
    def of(cls, findings: Iterable[tuple[str, str, Finding]], title: str) -> AuditTable:
        """Build the table from tuples of item, kind of leak and finding."""
        rows = [{"item": item, "leak": leak, **asdict(finding)} for item, leak, finding in findings]
        columns = ["item", "subject", "status", "measure", "value", "threshold", "leak", "finding", "advice"]
        return cls.load(pd.DataFrame(rows, columns=columns), title)

    @classmethod
    def load(cls, table: pd.DataFrame, title: str) -> AuditTable:
        """Build the table from the stored table."""
        loaded = cls(table.reset_index(drop=True).assign(status=pd.Categorical(table["status"], categories=STATUSES)))
        loaded.attrs["title"] = title
        return loaded

    def __str__(self) -> str:
        title, end = (textwrap.wrap(text, _WIDTH) for text in (self.attrs.get("title", "Audit"), conclusion(self)))
        return "\n".join([*title, *_lines(self), "", *end])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        rows = list(self.itertuples())
        title = self.attrs.get("title", "Audit")
        return render("audit.html", title=title, rows=rows, colors=HTML_COLORS, end=conclusion(self))


def conclusion(table: pd.DataFrame) -> str:
    """Summarise the audit in a few sentences. They never claim that there is no leak."""
    n_ran = table.loc[table["status"] != "not run", "item"].nunique()
    named = {s: table.loc[table["status"] == s, "item"].drop_duplicates().tolist() for s in STATUSES}
    parts = [f"{n_ran} of {table['item'].nunique()} items ran."]
    if not named["fail"] and not named["warn"]:
        parts = [f"No leak found by the {counted(n_ran, 'item')} that ran. This does not prove that there is no leak."]
    words: dict[Status, str] = {"fail": "Failed", "warn": "Warned", "unidentifiable": "Cannot decide"}
    parts += [f"{word}: {', '.join(named[status])}." for status, word in words.items() if named[status]]
    return " ".join(parts)


def _lines(table: pd.DataFrame) -> list[str]:
    lines: list[str] = []
    for status in ("fail", "warn", "unidentifiable"):
        for row in table[table["status"] == status].itertuples():
            lines += ["", *_wrapped(f"{status.upper():<15}{row.item}{_about(row)}: {row.finding}")]
            if row.advice:
                lines += _wrapped(f"{'':<15}-> {row.advice}")
    lines.append("")
    for row in table[table["status"] == "pass"].itertuples():
        lines += _wrapped(f"{'pass':<15}{row.item}{_about(row)}: {row.finding}")
    lines.append("")
    for reason, rows in table[table["status"] == "not run"].groupby("finding", sort=False):
        names = ", ".join(f"{row.item}{_about(row)}" for row in rows.itertuples())
        lines += _wrapped(f"{'not run':<15}{names}: {reason}")
    return lines


def _about(row: Any) -> str:
    return f" ({row.subject})" if row.subject else ""


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, subsequent_indent=" " * 15, drop_whitespace=True, break_on_hyphens=False) or [""]
