"""What an item of the audit says, and the table of all that was said."""

from __future__ import annotations

import textwrap
from dataclasses import asdict, dataclass, replace
from html import escape
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Iterable

Status = Literal["fail", "warn", "unidentifiable", "pass", "not run"]

STATUSES: tuple[Status, ...] = ("fail", "warn", "unidentifiable", "pass", "not run")
"""All statuses, the gravest first."""

_WIDTH = 110
_HTML_COLORS = {
    "fail": "#A50F3C",
    "warn": "#B07A00",
    "unidentifiable": "#6B5B95",
    "pass": "#2E7D4F",
    "not run": "#8A8A8A",
}


@dataclass(frozen=True)
class Finding:
    """One row of the audit.

    Parameters
    ----------
    status
        ``fail``: a leak, or a design that cannot answer the question; ``warn``: look at it; ``unidentifiable``: no result
        could decide; ``pass``; ``not run``: ``finding`` says why.
    finding
        What was found, one sentence.
    subject
        What it is about: a column, a gene, a fit.
    measure, value, threshold
        What was measured, its value, and the value at which the status changes.
    advice
        What to do, if there is something to do.
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
        """Build one that has measured something and says nothing yet."""
        return cls("pass", "", subject, measure, float(value), float(threshold))

    def says(self, status: Status, finding: str, advice: str = "") -> Finding:
        """The same measure with a status and a sentence."""
        return replace(self, status=status, finding=finding, advice=advice)


class NotRun(Exception):
    """An item cannot be computed on these data; the text says why."""


class AuditTable(pd.DataFrame):
    """The table of an audit, which prints as a report. Whatever is selected from it is a plain DataFrame."""

    @property
    def _constructor(self) -> type[pd.DataFrame]:
        return pd.DataFrame

    @classmethod
    def of(cls, findings: Iterable[tuple[str, str, Finding]], title: str) -> AuditTable:
        """Build from (item, kind of leak, finding)."""
        rows = [{"item": item, "leak": leak, **asdict(finding)} for item, leak, finding in findings]
        columns = ["item", "subject", "status", "measure", "value", "threshold", "leak", "finding", "advice"]
        return cls.load(pd.DataFrame(rows, columns=columns), title)

    @classmethod
    def load(cls, table: pd.DataFrame, title: str) -> AuditTable:
        """From the stored table."""
        loaded = cls(table.reset_index(drop=True).assign(status=pd.Categorical(table["status"], categories=STATUSES)))
        loaded.attrs["title"] = title
        return loaded

    def __str__(self) -> str:
        return "\n".join([self.attrs.get("title", "Audit"), *_lines(self), "", conclusion(self)])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        rows = "".join(_html_row(row) for row in self.itertuples())
        head = "".join(f"<th style='text-align:left'>{h}</th>" for h in ("status", "item", "finding", "what to do"))
        title, end = escape(self.attrs.get("title", "Audit")), escape(conclusion(self))
        return f"<p><b>{title}</b></p><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table><p>{end}</p>"


def conclusion(table: pd.DataFrame) -> str:
    """One sentence on the whole; it never says that there is no leak."""
    counts = table["status"].value_counts()
    ran = table.loc[table["status"] != "not run", "item"].nunique()
    if counts.get("fail", 0) or counts.get("warn", 0):
        named = {s: table.loc[table["status"] == s, "item"].drop_duplicates().tolist() for s in ("fail", "warn")}
        parts = [
            f"{', '.join(items)} {verb}"
            for (_, items), verb in zip(named.items(), ("failed", "to look at"), strict=True)
            if items
        ]
        return f"{ran} items ran: {'; '.join(parts)}."
    return f"No leak found by the {ran} items that ran."


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


def _html_row(row: Any) -> str:
    colour = _HTML_COLORS[row.status]
    cells = (
        f"<b style='color:{colour}'>{row.status}</b>",
        escape(f"{row.item}{_about(row)}"),
        escape(row.finding),
        escape(row.advice),
    )
    return "<tr>" + "".join(f"<td style='text-align:left;vertical-align:top'>{cell}</td>" for cell in cells) + "</tr>"
