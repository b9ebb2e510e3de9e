"""The audit at a glance."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from heldout.auditing._finding import conclusion
from heldout.get import audit as stored_audit
from heldout.pl._style import FAINT, INK, new_axes, text_on

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes

STATUS_COLORS = {"fail": "#A50F3C", "warn": "#E0A820", "unidentifiable": "#8E7CC3", "pass": "#6DAE81"}
"""One colour a status; the word stands in it, so that colour is never needed to read it."""

_WIDTH, _LINE = 9.0, 0.2  # inches
_GAP = 0.6  # between two findings, in lines
_CHARACTERS, _SUBJECT = 92, 26  # of a finding in one line, of its subject


def audit(
    adata: AnnData,
    key: str = "audit",
    *,
    statuses: Sequence[str] = ("fail", "warn", "unidentifiable", "pass"),
    ax: Axes | None = None,
) -> Axes:
    """Draw a stored audit: one line a finding, the gravest first, with its status, its value and what was found.

    What passed is one line; what failed or is to be looked at says why. What did not run is named at the bottom.

    Parameters
    ----------
    adata
        AnnData that was audited, (n_obs × n_vars).
    key
        Name of the audit.
    statuses
        Which findings to show.
    ax
        Axes to draw into; a new figure, as high as the findings need, is made if not given.

    Returns
    -------
    The axes.

    Raises
    ------
    ValueError
        If there is no such audit, or a status is none.

    Examples
    --------
    >>> import heldout as ho
    >>> adata = ho.datasets.lmna_simulated(n_cells=50, n_genes=200)
    >>> ho.pp.split_cells(adata, test=0.5, val=0)
    >>> _ = ho.tl.audit(adata, "library", "genotype", items=["integrity", "group_overlap"])
    >>> ax = ho.pl.audit(adata)
    """
    for status in statuses:
        if status not in STATUS_COLORS:
            msg = f"statuses has {status!r}; allowed are {', '.join(STATUS_COLORS)}. What did not run is always named."
            raise ValueError(msg)
    table = stored_audit(adata, key)
    title, _, numbers = table.attrs["title"].partition(": ")
    shown = [status for status in STATUS_COLORS if status in statuses]
    rows = table[table["status"].isin(shown)].sort_values("status", kind="stable")
    blocks = [_text(row) for row in rows.itertuples()]
    missing = sorted(
        set(table["item"]) - set(table.loc[table["status"] != "not run", "item"]), key=list(table["item"]).index
    )
    foot = textwrap.wrap(f"Not run: {', '.join(missing)}." if missing else "", _CHARACTERS + 30)
    n_lines = sum(len(block) + _GAP for block in blocks) + len(foot) + 4.4
    ax = new_axes(ax, (_WIDTH, _LINE * n_lines))
    ax.set(xlim=(0, 1), ylim=(n_lines - 2.6, -2.8))
    ax.axis("off")
    ax.text(0, -2.7, title, va="top", color=INK, fontsize="medium", weight="bold")
    ax.text(0, -1.5, textwrap.shorten(numbers, _CHARACTERS + 36), va="top", color=FAINT, fontsize="small")
    at = 0.0
    for row, block in zip(rows.itertuples(), blocks, strict=True):
        _draw(ax, at, row, block)
        at += len(block) + _GAP
    at += 0.2
    ax.text(0, at, "\n".join([conclusion(table), *foot]), va="top", color=FAINT, fontsize="small", linespacing=1.35)
    return ax


def _text(row: pd.Series) -> list[str]:
    """Lines of a finding: the whole sentence where there is something to do, else its beginning."""
    if row.status == "pass":
        return [textwrap.shorten(row.finding, _CHARACTERS, placeholder=" …")]
    lines = textwrap.wrap(row.finding, _CHARACTERS)
    return lines if len(lines) > 1 else [*lines, ""]  # room for the subject below the item


def _draw(ax: Axes, at: float, row: pd.Series, block: list[str]) -> None:
    from matplotlib.patches import Rectangle

    colour = STATUS_COLORS[row.status]
    ax.add_patch(Rectangle((0, at - 0.08), 0.1, 1.06, facecolor=colour, edgecolor="none"))
    ax.text(0.05, at + 0.45, row.status, ha="center", va="center", color=text_on(colour), fontsize="small")
    ax.text(0.115, at, row.item, va="top", color=INK, fontsize="small", weight="bold")
    if row.subject and len(block) > 1:
        subject = row.subject if len(row.subject) <= _SUBJECT else f"{row.subject[: _SUBJECT - 1]}…"
        ax.text(0.115, at + 1.0, subject, va="top", color=FAINT, fontsize="x-small")
    ax.text(0.3, at, "\n".join(block), va="top", color=INK, fontsize="small", linespacing=1.3)
