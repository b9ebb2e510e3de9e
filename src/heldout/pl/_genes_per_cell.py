"""Plot the number of genes per cell at each time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from heldout._core import store
from heldout._core.arrays import describe, get_matrix, row_blocks
from heldout.pl._layout import new_axes
from heldout.pl._style import CLASS_COLORS, FAINT, INK, PARTITION_COLORS, despine

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes

_FEWEST = 5  # cells of a violin. Fewer cells are drawn as points.
_WIDTH = 0.8


def genes_per_cell(
    adata: AnnData, time_key: str, *, threshold: int | None = 500, layer: str | None = None, ax: Axes | None = None
) -> Axes:
    """Plot the number of detected genes per cell at each time as violins, with a quality threshold.

    The number above each violin is the number of its cells that reach the threshold. No cell is removed.

    Parameters
    ----------
    adata
        Annotated data, (n_obs × n_vars), with all genes. A zero is a gene that is not detected.
    time_key
        Column of ``obs``. Numbers are sorted by size. Categories stay in their order.
    threshold
        Minimum number of genes per cell, an integer >= 1. If None, no line is drawn.
    layer
        Layer to use instead of ``X``. If None, ``X`` is used.
    ax
        Axes to draw into. If None, a new figure is made.

    Returns
    -------
    The axes.

    Raises
    ------
    ValueError
        If the column does not exist or has missing values, if ``threshold`` is not > 0, or if the matrix is centred, so
        that zeros do not mean that a gene is not detected.

    Examples
    --------
    >>> import heldout as ho
    >>> adata = ho.datasets.branching_simulated(n_cells=50, n_genes=1000)
    >>> ax = ho.pl.genes_per_cell(adata, "time")
    >>> ax.get_ylabel()
    'genes per cell'
    """
    store.check_adata(adata)
    column = store.column(adata, time_key, argument="time_key")
    if threshold is not None and (isinstance(threshold, bool) or not threshold > 0):
        msg = f"threshold={threshold!r} must be a number > 0, or None for no line."
        raise ValueError(msg)
    X = get_matrix(adata, layer, dask=True)
    if describe(X).kind == "centred":
        where = "adata.X" if layer is None else f"adata.layers[{layer!r}]"
        msg = (
            f"layer={layer!r}: {where} has values below zero, so a zero does not mean that a gene is not detected. "
            "Pass the layer with counts."
        )
        raise ValueError(msg)
    detected, names = _detected(X), store.as_names(column)
    times = store.ordered_names(column)
    groups = [detected[names == time] for time in times]
    ax = new_axes(ax, None if ax is not None else (1.6 + 0.72 * len(times), 3.2))
    for at, group in enumerate(groups):
        _violin(ax, at, group)
    top = max(max(group.max() for group in groups), threshold or 0)
    ax.set_ylim(0, top * 1.16)
    for at, group in enumerate(groups):
        _count(ax, at, group, threshold, height=top * 1.04)
    if threshold is not None:
        kept = int((detected >= threshold).sum())
        ax.axhline(threshold, color=PARTITION_COLORS["test"], linewidth=1.0, linestyle="--", zorder=3)
        ax.set_title(
            f"{kept:,} of {len(detected):,} cells have {threshold:g} genes or more",
            loc="left",
            fontsize="medium",
            color=INK,
        )
    ax.set_xticks(range(len(times)), labels=times)
    ax.set_xlim(-0.6, len(times) - 0.4)
    ax.set_xlabel(time_key)
    ax.set_ylabel("genes per cell")
    despine(ax, "left", "bottom")
    return ax


def _detected(X: Any) -> np.ndarray:
    """Number of entries > 0 in each row, (n,)."""
    found = np.zeros(X.shape[0], dtype=np.int64)
    if hasattr(X, "format") and X.format == "csc":
        rows = X.indices[X.data > 0]
        return np.bincount(rows, minlength=X.shape[0])
    for rows, block in row_blocks(X):
        found[rows] = np.asarray((block > 0).sum(axis=1)).ravel()
    return found


def _violin(ax: Axes, at: int, group: np.ndarray) -> None:
    if len(group) < _FEWEST or np.ptp(group) == 0:
        ax.plot(np.full(len(group), at), group, "o", markersize=3, color=CLASS_COLORS[0])
        return
    bodies: Any = ax.violinplot(group, positions=[at], widths=_WIDTH, showextrema=False)["bodies"]
    bodies[0].set(facecolor=CLASS_COLORS[0], edgecolor=CLASS_COLORS[0], alpha=0.55, linewidth=0.8)
    low, middle, high = np.percentile(group, [25, 50, 75])
    ax.plot([at, at], [low, high], color=INK, linewidth=2.4, solid_capstyle="butt")
    ax.plot(at, middle, "o", markersize=4, markerfacecolor="white", markeredgecolor=INK, markeredgewidth=0.9)


def _count(ax: Axes, at: int, group: np.ndarray, threshold: float | None, *, height: float) -> None:
    """Write the number of cells that reach the threshold, and the number of all cells."""
    if threshold is None:
        text, color = f"{len(group):,}", FAINT
    else:
        kept = int((group >= threshold).sum())
        text = f"{kept:,}" if kept == len(group) else f"{kept:,}\nof {len(group):,}"
        color = INK if kept < len(group) else FAINT
    ax.text(at, height, text, ha="center", va="bottom", fontsize="small", color=color, linespacing=0.95)
