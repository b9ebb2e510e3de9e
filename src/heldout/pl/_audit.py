"""Plot the report of an audit."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from heldout.auditing._finding import conclusion
from heldout.get import audit as stored_audit
from heldout.pl._layout import new_axes
from heldout.pl._style import FAINT, INK, text_on

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes

STATUS_COLORS = {"fail": "#A50F3C", "warn": "#E0A820", "unidentifiable": "#8E7CC3", "pass": "#6DAE81"}
"""One colour per status. The status is also written, so that it can be read without colour."""

_WIDTH = 9.0
"""Width of a new figure in inches."""

_CHARACTER, _LINE = 0.56, 1.75
"""Mean width of a character and height of a line, in font sizes."""

_STATUS, _ITEM = 15, 24
"""Width of the columns with the status and the item, in characters."""

_NARROWEST, _WIDEST = 55, 96
"""Characters per line of a finding. If there is less room, the finding is written below its item."""

_GAP = 0.6
"""Space between two findings, in lines."""


@dataclass(frozen=True)
class _Page:
    """Width of the axes and of a finding, in characters, and whether findings are written below their items."""

    width: int
    finding: int
    below: bool

    @classmethod
    def of(cls, inches: float, points: float) -> _Page:
        """Build the page for a width in inches and a font size in points."""
        width = max(int(72 * inches / (_CHARACTER * points)), 30)
        room = width - _STATUS - _ITEM - 2
        return cls(width, width if room < _NARROWEST else min(room, _WIDEST), room < _NARROWEST)


def audit(
    adata: AnnData,
    key: str = "audit",
    *,
    statuses: Sequence[str] = ("fail", "warn", "unidentifiable", "pass"),
    ax: Axes | None = None,
) -> Axes:
    """Plot a stored audit: the status, the item and the text of each finding, the most serious finding first.

    A finding with status ``"pass"`` is shortened to one line. Other findings are shown completely. Items that did not
    run are named at the bottom.

    Parameters
    ----------
    adata
        AnnData that was audited, (n_obs × n_vars).
    key
        Name of the audit.
    statuses
        Statuses of the findings to show.
    ax
        Axes to draw into. They must be high enough for all findings. If None, a new figure of the right height is made.

    Returns
    -------
    The axes.

    Raises
    ------
    ValueError
        If there is no audit with this name, or a status does not exist.

    Examples
    --------
    >>> import heldout as ho
    >>> adata = ho.datasets.lmna_simulated(n_cells=50, n_genes=200)
    >>> ho.pp.split_cells(adata, test=0.5, val=0)
    >>> _ = ho.tl.audit(adata, "library", "genotype", items=["integrity", "group_overlap"])
    >>> ax = ho.pl.audit(adata)
    """
    from matplotlib.font_manager import FontProperties

    for status in statuses:
        if status not in STATUS_COLORS:
            msg = (
                f"statuses has {status!r}. It must be one of {', '.join(STATUS_COLORS)}. Items that did not run are "
                "always named."
            )
            raise ValueError(msg)
    table = stored_audit(adata, key)
    rows = table[table["status"].isin(statuses)].sort_values("status", kind="stable")
    points = FontProperties(size="small").get_size_in_points()
    page = _Page.of(_WIDTH if ax is None else _inches(ax), points)
    blocks = [_lines(row, page) for row in rows.itertuples()]
    title, _, numbers = table.attrs["title"].partition(": ")
    head, foot = textwrap.wrap(numbers, page.width), _foot(table, page.width)
    n_lines = sum(len(block) + _GAP for block in blocks) + len(head) + len(foot) + 2.6
    ax = new_axes(ax, None if ax is not None else (_WIDTH, _LINE * points / 72 * n_lines))
    ax.axis("off")
    ax.set(xlim=(0, page.width), ylim=(n_lines, 0))
    _write(ax, 0, 0.1, title, fontsize="medium", weight="bold")
    _write(ax, 0, 1.5, "\n".join(head), color=FAINT)
    at = 2.0 + len(head)
    for row, block in zip(rows.itertuples(), blocks, strict=True):
        _draw(ax, at, row, block, page)
        at += len(block) + _GAP
    _write(ax, 0, at + 0.2, "\n".join(foot), color=FAINT)
    return ax


def _inches(ax: Axes) -> float:
    """Width of given axes without ticks and labels. Axes in a constrained layout fill their place in the grid."""
    figure: Any = ax.figure
    ax.axis("off")
    figure.draw_without_rendering()
    return float(ax.get_window_extent().width / figure.dpi)


def _foot(table: pd.DataFrame, width: int) -> list[str]:
    """Lines with the conclusion and the items that did not run."""
    ran = set(table.loc[table["status"] != "not run", "item"])
    missing = [item for item in dict.fromkeys(table["item"]) if item not in ran]
    lines = textwrap.wrap(conclusion(table), width)
    return [*lines, *textwrap.wrap(f"Not run: {', '.join(missing)}.", width)] if missing else lines


def _lines(row: Any, page: _Page) -> list[str]:
    """Lines of a finding. The first line is empty if the finding is written below its item."""
    if row.status == "pass":
        lines = [textwrap.shorten(row.finding, page.finding, placeholder=" …")]
    else:
        lines = textwrap.wrap(row.finding, page.finding)
    if page.below:
        return ["", *lines]
    return [*lines, ""] if len(lines) == 1 and row.status != "pass" else lines  # room for the subject below the item


def _draw(ax: Axes, at: float, row: Any, block: list[str], page: _Page) -> None:
    from matplotlib.patches import Rectangle

    colour = STATUS_COLORS[row.status]
    ax.add_patch(Rectangle((0, at), _STATUS - 1, 0.96, facecolor=colour, edgecolor="none"))
    _write(ax, (_STATUS - 1) / 2, at + 0.48, row.status, ha="center", va="center_baseline", color=text_on(colour))
    if page.below:
        room = page.width - _STATUS - len(row.item) - 8
        item = _write(ax, _STATUS, at + 0.48, row.item, va="center", weight="bold")
        if row.subject and room > 4:
            subject = textwrap.shorten(row.subject, room, placeholder="…")
            item.axes.annotate(
                subject, (1, 0.5), xycoords=item, xytext=(5, 0), textcoords="offset points", va="center", color=FAINT
            ).set(fontsize="x-small", in_layout=False)
        _write(ax, 0, at + 1.1, "\n".join(block[1:]))
        return
    _write(ax, _STATUS, at + 0.05, row.item, weight="bold")
    if row.subject and len(block) > 1:
        subject = row.subject if len(row.subject) < _ITEM else f"{row.subject[: _ITEM - 2]}…"
        _write(ax, _STATUS, at + 1.05, subject, color=FAINT, fontsize="x-small")
    _write(ax, _STATUS + _ITEM, at + 0.05, "\n".join(block))


def _write(ax: Axes, x: float, y: float, text: str, **options: Any) -> Any:
    """Write text that does not change the layout of the figure."""
    style = {"va": "top", "color": INK, "fontsize": "small", "linespacing": 1.35, **options}
    return ax.text(x, y, text, in_layout=False, **style)
