"""Plot the number of genes per cell at each time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from heldout._core import store
from heldout._core.arrays import describe, get_matrix, row_blocks
from heldout.pl._layout import finish, new_axes, room_of, sizes_of
from heldout.pl._style import FAINT, class_color, despine, ink, paper, partition_color
from heldout.pl._words import width_of

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes

    from heldout.pl._layout import Sizes

_FEWEST = 5  # cells of a violin. Fewer cells are drawn as points.
_WIDTH = 0.8
_MOST = 40  # violins. More times are drawn as medians and quartiles.


def genes_per_cell(
    adata: AnnData,
    time_key: str,
    *,
    threshold: int | None = 500,
    layer: str | None = None,
    ax: Axes | None = None,
    figsize: tuple[float, float] | None = None,
) -> Axes:
    """Plot the number of detected genes per cell at each time as violins, with a quality threshold.

    The number above each violin is the number of its cells that reach the threshold. Dots are medians and bars are
    quartiles. More than 40 times are drawn without violins, and numbers that do not fit are left out. No cell is
    removed.

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
    figsize
        Width and height of a new figure in inches. If None, ``figure.figsize`` of the rcParams.

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
    ax = new_axes(ax, figsize)
    sizes = sizes_of(ax)
    for at, group in enumerate(groups):
        _violin(ax, at, group, sizes, plain=len(groups) > _MOST)
    top = max(max(group.max() for group in groups), threshold or 0)
    texts = _counts(groups, threshold)
    place = 0.8 * room_of(ax).width / len(groups)
    fits = max(width_of(text, sizes.small) for text, _ in texts) < place
    ax.set_ylim(0, top * 1.06)
    if fits:
        lines = max(text.count("\n") + 1 for text, _ in texts)
        ax.set_ylim(0, top * (1.06 + 1.3 * lines * sizes.small / 72 / (0.7 * room_of(ax).height)))
        for at, (text, color) in enumerate(texts):
            style: dict[str, Any] = {"ha": "center", "va": "bottom", "fontsize": sizes.small, "linespacing": 0.95}
            ax.text(at, top * 1.04, text, color=color, **style)
    title = ""
    if threshold is not None:
        kept = int((detected >= threshold).sum())
        line: dict[str, Any] = {
            "color": partition_color("test"),
            "linewidth": 0.7 * sizes.line,
            "linestyle": "--",
            "zorder": 3,
        }
        ax.axhline(threshold, **line)
        title = f"{kept:,} of {len(detected):,} cells have {threshold:g} genes or more"
    widest = max(width_of(time, sizes.tick) for time in times)
    step = max(1, int(np.ceil((min(widest, 1.3 * sizes.tick / 72) + 0.02) / place)))
    turned = widest > place * step
    ax.set_xticks(range(0, len(times), step), labels=times[::step], rotation=90 if turned else 0)
    ax.set_xlim(-0.6, len(times) - 0.4)
    ax.set_xlabel(time_key)
    ax.set_ylabel("genes per cell")
    despine(ax, "left", "bottom")
    finish(ax, title, sizes=sizes)
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


def _violin(ax: Axes, at: int, group: np.ndarray, sizes: Sizes, *, plain: bool) -> None:
    colour = class_color(0)
    if not plain and (len(group) < _FEWEST or np.ptp(group) == 0):
        ax.plot(np.full(len(group), at), group, "o", markersize=0.5 * sizes.mark, color=colour)
        return
    if not plain:
        bodies: Any = ax.violinplot(group, positions=[at], widths=_WIDTH, showextrema=False)["bodies"]
        bodies[0].set(facecolor=colour, edgecolor=colour, alpha=0.55, linewidth=0.5 * sizes.line)
    low, middle, high = np.percentile(group, [25, 50, 75])
    width, mark = (0.5, 0.3) if plain else (1.4, 0.6)
    ax.plot([at, at], [low, high], color=ink(), linewidth=width * sizes.line, solid_capstyle="butt")
    edge: dict[str, Any] = {"markerfacecolor": paper(ax), "markeredgecolor": ink(), "markeredgewidth": 0.5 * sizes.line}
    ax.plot(at, middle, "o", markersize=mark * sizes.mark, **edge)


def _counts(groups: list[np.ndarray], threshold: float | None) -> list[tuple[str, str]]:
    """Number of cells that reach the threshold, and of all cells, with the colour of the text."""
    texts = []
    for group in groups:
        kept = len(group) if threshold is None else int((group >= threshold).sum())
        less = kept < len(group)
        texts.append((f"{kept:,}\nof {len(group):,}" if less else f"{kept:,}", ink() if less else FAINT))
    return texts
