"""Plot what several audits found, side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from heldout._core import keys as sections
from heldout._core import store
from heldout._core.words import counted
from heldout.get import audit as stored_audit
from heldout.pl._audit import STATUS_COLORS
from heldout.pl._layout import finish, new_axes, room_of, sizes_of
from heldout.pl._split_draw import name_ticks
from heldout.pl._style import FAINT, despine

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes

    from heldout.pl._layout import Sizes

MARKS = {"fail": "X", "warn": "^", "unidentifiable": "D", "pass": "o"}
"""One shape per status."""

_WORDS = {"fail": "fails", "warn": "warns", "unidentifiable": "cannot decide", "pass": "found no leak"}


def leak_map(
    adata: AnnData,
    keys: Sequence[str] | None = None,
    *,
    ax: Axes | None = None,
    figsize: tuple[float, float] | None = None,
) -> Axes:
    """Plot the status of each audit item for several partitions of the same cells.

    There is one column for each stored audit, for example of a split by cell, of a split by donor, or of each fold, and
    one row for each item, those with the most serious findings on top. A mark is the most serious finding of the item.
    A dot without a ring is an item that could not run; items that ran in no audit are left out.

    Parameters
    ----------
    adata
        AnnData that was audited, (n_obs × n_vars).
    keys
        Names of the audits, ``key_added`` of :func:`heldout.tl.audit`. If None, all of them.
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
        If there is no audit, or no audit with one of these names.

    Examples
    --------
    >>> import heldout as ho
    >>> adata = ho.datasets.lmna_simulated(n_cells=50, n_genes=200)
    >>> for name, split in {"cells": ho.pp.split_cells, "libraries": ho.pp.split_groups}.items():
    ...     split(adata, *(["library", "genotype"] if name == "libraries" else []), val=0, key_added=name)
    ...     _ = ho.tl.audit(adata, "library", "genotype", split_key=name, items=["group_overlap"], key_added=name)
    >>> ax = ho.pl.leak_map(adata)
    >>> [text.get_text() for text in ax.get_xticklabels()]
    ['cells', 'libraries']
    """
    there = store.section(adata, sections.AUDITS)
    chosen = list(there) if keys is None else [keys] if isinstance(keys, str) else list(keys)
    if not chosen:
        msg = "There is no audit in this AnnData to draw. Call heldout.tl.audit first."
        raise ValueError(msg)
    tables = {key: stored_audit(adata, key) for key in chosen}
    worst = {key: _worst(table) for key, table in tables.items()}
    items = _items(list(worst.values()))
    ax = new_axes(ax, figsize)
    sizes = sizes_of(ax, crowd=len(items) + 2.0)
    for column, key in enumerate(chosen):
        for row, item in enumerate(items):
            _mark(ax, column, row, worst[key].get(item, "not run"), sizes)
    ax.set(xlim=(-0.6, len(chosen) - 0.4), ylim=(len(items) - 0.4, -0.6))
    ax.set_yticks(range(len(items)), [item.replace("_", " ") for item in items])
    name_ticks(ax, list(range(len(chosen))), chosen, 0.55 * room_of(ax).width / len(chosen), sizes)
    ax.set_xlabel("audit")
    ax.grid(axis="y", color=FAINT, alpha=0.25, linewidth=0.4 * sizes.line)
    ax.set_axisbelow(True)
    ax.tick_params(length=0)
    despine(ax)
    finish(ax, _title(worst), key=_key(worst, sizes), sizes=sizes)
    return ax


def _worst(table: pd.DataFrame) -> dict[str, str]:
    """The most serious status of each item."""
    order = [*MARKS, "not run"]
    found: dict[str, str] = {}
    for item, status in zip(table["item"], table["status"].astype(str), strict=True):
        found[item] = min(found.get(item, status), status, key=order.index)
    return found


def _items(worst: list[dict[str, str]]) -> list[str]:
    """Items that ran in an audit, the most serious first."""
    order = list(MARKS)
    found = dict.fromkeys(item for statuses in worst for item in statuses)
    ran = {item: [order.index(s[item]) for s in worst if s.get(item) in order] for item in found}
    return sorted((item for item in found if ran[item]), key=lambda item: (min(ran[item]), -len(ran[item])))


def _mark(ax: Axes, x: float, y: float, status: str, sizes: Sizes) -> None:
    if status not in MARKS:
        ax.plot([x], [y], ".", color=FAINT, markersize=0.4 * sizes.mark)
        return
    look: dict[str, Any] = {"color": STATUS_COLORS[status], "markersize": 0.95 * sizes.mark, "markeredgewidth": 0}
    ax.plot([x], [y], MARKS[status], **look)


def _title(worst: dict[str, dict[str, str]]) -> str:
    n = {key: sum(status == "fail" for status in found.values()) for key, found in worst.items()}
    leaking = [f"{key} ({counted(number, 'item')})" for key, number in n.items() if number]
    if not leaking:
        return "no item fails; this does not prove that there is no leak"
    return f"fails: {', '.join(leaking[:4])}{f' and {len(leaking) - 4} more' if len(leaking) > 4 else ''}"


def _key(worst: dict[str, dict[str, str]], sizes: Sizes) -> list[Any]:
    from matplotlib.lines import Line2D

    seen = {status for found in worst.values() for status in found.values()}
    size = 0.95 * sizes.mark
    entries = [
        Line2D([], [], color=STATUS_COLORS[name], marker=mark, markersize=size, linestyle="none", label=_WORDS[name])
        for name, mark in MARKS.items()
        if name in seen
    ]
    if "not run" in seen:
        look: dict[str, Any] = {"marker": ".", "markersize": 0.4 * sizes.mark, "linestyle": "none"}
        entries.append(Line2D([], [], color=FAINT, label="could not run", **look))
    return entries
