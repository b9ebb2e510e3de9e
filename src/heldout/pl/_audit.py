"""Plot the report of an audit."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from heldout.auditing._finding import conclusion
from heldout.get import audit as stored_audit
from heldout.pl._layout import SMALLEST, new_axes, panel_of, room_of, sizes_of
from heldout.pl._style import FAINT, ink, text_on
from heldout.pl._words import shortened, width_of, wrapped

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes

STATUS_COLORS = {"fail": "#B8174A", "warn": "#E0A820", "unidentifiable": "#8E7CC3", "pass": "#6DAE81"}
"""One colour per status. The status is also written, so that it can be read without colour."""

_LINE = 1.3
"""Height of a line, in font sizes."""

_GAP = 0.55
"""Space between two findings, in lines."""

_PAD = 3.0
"""Space at the edges, in points."""

_BELOW = 0.25
"""Room under the page in inches, for the title of a panel below."""

_BESIDE = 0.25
"""Room at the sides of the page in inches, for the label of the next panel."""

_FEWEST = 3
"""Lines of a finding, at least, as long as the text can become smaller."""


@dataclass(frozen=True)
class _Entry:
    """A status with a name and a text: a finding, or all items of a status."""

    status: str
    name: str
    subject: str
    text: str


@dataclass(frozen=True)
class _Page:
    """Text size in points, width of the page in inches, and the lines of each entry."""

    points: float
    width: float
    blocks: list[list[str]]
    head: list[str]
    foot: list[str]

    @property
    def height(self) -> float:
        """Height in inches."""
        lines = sum(1 + len(block) + _GAP for block in self.blocks) + len(self.head) + len(self.foot) + 2 * _GAP
        return lines * _LINE * self.points / 72


def audit(
    adata: AnnData,
    key: str = "audit",
    *,
    statuses: Sequence[str] = ("fail", "warn", "unidentifiable", "pass"),
    ax: Axes | None = None,
    figsize: tuple[float, float] | None = None,
) -> Axes:
    """Plot a stored audit: the status, the item and the text of each finding, the most serious finding first.

    Items that passed are only named, because their numbers are no sign of a leak. Items that did not run are named at
    the bottom. Texts that do not fit into the axes are written smaller, then shortened; a line says how many findings
    are not shown. :func:`heldout.get.audit` has every text and number.

    Parameters
    ----------
    adata
        AnnData that was audited, (n_obs × n_vars).
    key
        Name of the audit.
    statuses
        Statuses of the findings to show.
    ax
        Axes to draw into. If None, a new figure is made.
    figsize
        Width and height of a new figure in inches. If None, ``figure.figsize`` of the rcParams.

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
    for status in statuses:
        if status not in STATUS_COLORS:
            msg = (
                f"statuses has {status!r}. It must be one of {', '.join(STATUS_COLORS)}. Items that did not run are "
                "always named."
            )
            raise ValueError(msg)
    table = stored_audit(adata, key)
    ax = new_axes(ax, figsize)
    ax.axis("off")
    ax.set(xlim=(0, 1), ylim=(0, 1))
    title, _, numbers = table.attrs["title"].partition(": ")
    entries = _entries(table, statuses)
    page, n_left = _page(ax, entries, [title, numbers], _foot(table))
    at = 0.0
    for number, line in enumerate(page.head):
        _write(ax, page, 0, at, line, **({"weight": "bold"} if not number else {"color": FAINT}))
        at += 1
    at += _GAP
    column = max((width_of(entry.status, page.points) for entry in entries), default=0.0) + 1.2 * page.points / 72
    for entry, block in zip(entries, page.blocks, strict=False):
        _draw(ax, page, at, entry, block, column)
        at += 1 + len(block) + _GAP
    if n_left:
        _write(ax, page, 0, at, f"{n_left} more: heldout.get.audit(adata, {key!r})", color=FAINT)
        at += 1 + _GAP
    for line in page.foot:
        _write(ax, page, 0, at, line, color=FAINT)
        at += 1
    return ax


def _entries(table: pd.DataFrame, statuses: Sequence[str]) -> list[_Entry]:
    """The findings, the most serious first, and one entry for all items that passed."""
    rows = table[table["status"].isin(statuses)].sort_values("status", kind="stable")
    entries = [
        _Entry(row.status, row.item, row.subject, row.finding) for row in rows.itertuples() if row.status != "pass"
    ]
    worse = set(table.loc[table["status"].isin(("fail", "warn", "unidentifiable")), "item"])
    passed = [name for name in dict.fromkeys(rows.loc[rows["status"] == "pass", "item"]) if name not in worse]
    if passed:
        entries.append(_Entry("pass", f"{len(passed)} items", "", ", ".join(passed)))
    return entries


def _foot(table: pd.DataFrame) -> list[str]:
    """The conclusion without the items that are drawn anyway, and the items that did not run."""
    ran = set(table.loc[table["status"] != "not run", "item"])
    missing = [item for item in dict.fromkeys(table["item"]) if item not in ran]
    short = re.split(r" (?:Failed|Warned|Cannot decide):", conclusion(table))[0]
    return [short, *([f"Not run: {', '.join(missing)}."] if missing else [])]


def _page(ax: Axes, entries: list[_Entry], head: list[str], foot: list[str]) -> tuple[_Page, int]:
    """The page with the largest text that fits, and the number of entries that are left out."""
    room, most = room_of(ax), sizes_of(ax).text
    width, height = room.width - _BESIDE, room.height - 0.12 - _BELOW
    small = min(SMALLEST, most)
    steps = [small + (most - small) * step / 6 for step in range(6, -1, -1)]
    tries = [(points, lines) for lines in (99, 6, _FEWEST) for points in steps] + [(small, 2), (small, 1)]
    for points, lines in tries:
        page = _set(entries, head, foot, points, lines, width)
        if page.height <= height:
            return page, 0
    for n in range(len(entries) - 1, -1, -1):
        page = _set(entries[:n], head, foot, small, 1, width)
        if page.height + (1 + _GAP) * _LINE * small / 72 <= height:
            return page, len(entries) - n
    return _set([], head[:1], [], small, 1, width), len(entries)


def _set(entries: list[_Entry], head: list[str], foot: list[str], points: float, lines: int, width: float) -> _Page:
    """Break every text into at most so many lines."""
    blocks = []
    for entry in entries:
        block = wrapped(entry.text, width, points).split("\n")
        if len(block) > lines:
            block = [*block[: lines - 1], shortened(f"{block[lines - 1]} …", width, points)]
        blocks.append(block)
    title = shortened(head[0], 0.92 * width, points)
    set_head = [title, *(wrapped(head[1], width, points).split("\n") if head[1:] and head[1] else [])]
    return _Page(
        points, width, blocks, set_head, [line for text in foot for line in wrapped(text, width, points).split("\n")]
    )


def _draw(ax: Axes, page: _Page, at: float, entry: _Entry, block: list[str], column: float) -> None:
    colour = STATUS_COLORS[entry.status]
    box = {"boxstyle": "round,pad=0.12", "facecolor": colour, "edgecolor": "none"}
    _write(ax, page, 0.3 * page.points / 72, at, entry.status, color=text_on(colour), bbox=box)
    _write(ax, page, column, at, entry.name, weight="bold")
    left = column + 1.08 * width_of(entry.name, page.points, weight="bold") + 0.6 * page.points / 72
    if entry.subject and page.width - left > 4 * page.points / 72:
        _write(ax, page, left, at, shortened(entry.subject, page.width - left, page.points), color=FAINT)
    for number, line in enumerate(block, start=1):
        _write(ax, page, 0, at + number, line)


def _write(ax: Axes, page: _Page, x: float, line: float, text: str, **options: Any) -> None:
    """Write text at a distance in inches from the left and in lines from the top; the layout does not depend on it."""
    style: dict[str, Any] = {"va": "top", "color": ink(), "fontsize": page.points, **options}
    offset = (72 * x + _PAD, -_LINE * page.points * line - _PAD)
    place: dict[str, Any] = {"xycoords": panel_of(ax), "textcoords": "offset points", "annotation_clip": False}
    ax.annotate(text, (0, 1), xytext=offset, in_layout=False, **place, **style)
