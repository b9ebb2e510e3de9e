"""How many genes the cells of each time detect: the first look at a time course."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from heldout._core import store
from heldout._core.arrays import describe, get_matrix, row_blocks
from heldout.pl._style import CLASS_COLORS, FAINT, INK, PARTITION_COLORS, despine, new_axes

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes

_FEWEST = 5  # cells of a violin; fewer are drawn as dots
_WIDTH = 0.8


def genes_per_cell(
    adata: AnnData, time_key: str, *, threshold: int | None = 500, layer: str | None = None, ax: Axes | None = None
) -> Axes:
    """Draw the number of genes that the cells detect at each time, as violins, with the threshold of quality.

    Above each violin stands how many of its cells reach the threshold. Nothing is filtered.

    Parameters
    ----------
    adata
        Annotated data, (n_obs × n_vars), with all genes; zeros are genes that are not detected.
    time_key
        Column of ``obs``: numbers are sorted by size, categories stay in their order.
    threshold
        Least number of genes of a cell that is kept; None draws no line.
    layer
        Layer to count in instead of ``X``.
    ax
        Axes to draw into; a new figure is made if not given.

    Returns
    -------
    The axes.

    Raises
    ------
    ValueError
        If the column is missing or has missing values, the threshold is not a number of genes, or the matrix is centred,
        so that zeros say nothing.

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
        msg = f"threshold={threshold!r} must be a number of genes above 0, or None for no line."
        raise ValueError(msg)
    X = get_matrix(adata, layer, dask=True)
    if describe(X).kind == "centred":
        where = "adata.X" if layer is None else f"adata.layers[{layer!r}]"
        msg = f"{where} has values below zero, so zeros do not mark genes that are not detected. Pass the layer with counts."
        raise ValueError(msg)
    detected, names = _detected(X), store.as_names(column)
    times = store.ordered_names(column)
    groups = [detected[names == time] for time in times]
    ax = new_axes(ax, (1.6 + 0.72 * len(times), 3.2))
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
    """Number of entries above zero in each row, (n,)."""
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
    """Cells that are kept, of how many."""
    if threshold is None:
        text, color = f"{len(group):,}", FAINT
    else:
        kept = int((group >= threshold).sum())
        text = f"{kept:,}" if kept == len(group) else f"{kept:,}\nof {len(group):,}"
        color = INK if kept < len(group) else FAINT
    ax.text(at, height, text, ha="center", va="bottom", fontsize="small", color=color, linespacing=0.95)
