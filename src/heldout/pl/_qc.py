"""Plot how many cells of each library passed quality control."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from heldout.get._libraries import libraries
from heldout.pl._layout import new_axes
from heldout.pl._style import CLASS_COLORS, FAINT, INK, PARTITION_COLORS, despine, legend_beside

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes

_PARTS = {
    "kept": ("kept", PARTITION_COLORS["train"]),
    "not_drawn": ("passed, not sampled", PARTITION_COLORS["unused"]),
    "few_genes": ("too few genes", CLASS_COLORS[3]),
    "many_genes": ("too many genes", CLASS_COLORS[5]),
    "high_mito": ("high mitochondrial share", CLASS_COLORS[1]),
}


def qc(adata: AnnData, *, ax: Axes | None = None) -> Axes:
    """Plot how many cells of each library were kept at reading, and why the other cells were dropped.

    Parameters
    ----------
    adata
        AnnData of :func:`heldout.pp.read_libraries`, (n_obs × n_vars).
    ax
        Axes to draw into. If None, a new figure is made.

    Returns
    -------
    The axes. There is one bar per library, in the order of the sheet. Reasons without cells are not shown.

    Raises
    ------
    ValueError
        If the AnnData does not come from :func:`heldout.pp.read_libraries`.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> import heldout as ho
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> cells = ho.datasets.lmna_simulated(n_cells=30, n_genes=400)
    >>> cells[cells.obs["library"] == "GSM8325046"].write_h5ad(folder / "GSM8325046.h5ad")
    >>> sheet = {"GSM8325046": folder / "GSM8325046.h5ad"}
    >>> adata = ho.pp.read_libraries(sheet, folder / "lmna.zarr", min_genes=20, max_pct_mito=None, n_cells=20)
    >>> ho.pl.qc(adata).get_title(loc="left")
    '20 of 30 cells kept'
    """
    table = libraries(adata)
    ax = new_axes(ax, None if ax is not None else (6.6, 0.9 + 0.26 * len(table)))
    at, left = np.arange(len(table)), np.zeros(len(table))
    for name, (label, color) in _PARTS.items():
        width = table[name].to_numpy(dtype=float)
        if width.any():
            ax.barh(at, width, left=left, height=0.72, color=color, label=label, edgecolor="white", linewidth=0.6)
        left += width
    for y, (kept, found) in enumerate(zip(table["kept"], table["n_found"], strict=True)):
        ax.annotate(
            f"{kept:,}" if kept == found else f"{kept:,} of {found:,}",
            (found, y),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize="small",
            color=FAINT if kept == found else INK,
        )
    ax.set_yticks(at, labels=table["library"].astype(str))
    ax.set_ylim(len(table) - 0.4, -0.6)
    ax.set_xlim(0, left.max() * 1.38)
    ax.set_xlabel("cells")
    ax.set_title(
        f"{int(table['kept'].sum()):,} of {int(table['n_found'].sum()):,} cells kept",
        loc="left",
        fontsize="medium",
        color=INK,
    )
    despine(ax, "bottom")
    ax.tick_params(axis="y", length=0)
    legend_beside(ax)
    return ax
