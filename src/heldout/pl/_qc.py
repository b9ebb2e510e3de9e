"""Plot how many cells of each library passed quality control."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from heldout.get._libraries import libraries
from heldout.pl._layout import finish, new_axes, room_of, sizes_of
from heldout.pl._style import FAINT, class_color, despine, ink, paper, partition_color
from heldout.pl._words import width_of

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes

_MANY = 100
"""From this number of libraries, bars have no gaps."""


def qc(adata: AnnData, *, ax: Axes | None = None, figsize: tuple[float, float] | None = None) -> Axes:
    """Plot how many cells of each library were kept at reading, and why the other cells were dropped.

    Parameters
    ----------
    adata
        AnnData of :func:`heldout.pp.read_libraries`, (n_obs × n_vars).
    ax
        Axes to draw into. If None, a new figure is made.
    figsize
        Width and height of a new figure in inches. If None, ``figure.figsize`` of the rcParams.

    Returns
    -------
    The axes. There is one bar per library, in the order of the sheet. Reasons without cells are not shown. Names
    and numbers of many libraries are left out where they do not fit.

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
    ax = new_axes(ax, figsize)
    n = len(table)
    sizes, room, parts = sizes_of(ax, crowd=n), room_of(ax), []
    at, left = np.arange(n), np.zeros(n)
    for name, (label, color, hatch) in _parts().items():
        width = table[name].to_numpy(dtype=float)
        if width.any():
            look: dict[str, Any] = {
                "color": color,
                "edgecolor": paper(ax),
                "linewidth": 0.3 * sizes.line,
                "hatch": hatch,
            }
            parts.append(ax.barh(at, width, left=left, height=0.72 if n < _MANY else 1.0, label=label, **look))
        left += width
    fits = 0.7 * 72 * room.height / n > 1.1 * sizes.tick
    numbers = [(f"{kept:,}" if kept == found else f"{kept:,} of {found:,}", found, kept == found)
               for kept, found in zip(table["kept"], table["n_found"], strict=True)]  # fmt: skip
    share = max(width_of(text, sizes.small) for text, _, _ in numbers) / (0.6 * room.width) if fits else 0.0
    for y, (text, end, complete) in enumerate(numbers if fits else []):
        place: dict[str, Any] = {"xytext": (0.4 * sizes.text, 0), "textcoords": "offset points", "va": "center"}
        ax.annotate(text, (end, y), fontsize=sizes.small, color=FAINT if complete else ink(), **place)
    ax.set_yticks(at if fits else [], labels=table["library"].astype(str) if fits else [])
    if not fits:
        ax.set_ylabel(f"{n} libraries")
    ax.set_ylim(n - 0.4, -0.6)
    ax.set_xlim(0, left.max() * (1.04 + min(share / (1 - min(share, 0.6)), 1.5)))
    ax.set_xlabel("cells")
    despine(ax, "bottom")
    ax.tick_params(axis="y", length=0)
    title = f"{int(table['kept'].sum()):,} of {int(table['n_found'].sum()):,} cells kept"
    finish(ax, title, key=parts, sizes=sizes)
    return ax


def _parts() -> dict[str, tuple[str, str, str]]:
    """Label, colour and hatch of each part of a bar."""
    return {
        "kept": ("kept", partition_color("train"), ""),
        "not_drawn": ("passed, not sampled", partition_color("unused"), ""),
        "few_genes": ("too few genes", class_color(3), "////"),
        "many_genes": ("too many genes", class_color(5), "...."),
        "high_mito": ("high mitochondrial share", class_color(1), "xxxx"),
    }
