"""Plot which libraries or donors are in which partition."""

from __future__ import annotations

from typing import TYPE_CHECKING

from heldout._core import store
from heldout._core.partition import read_partition
from heldout.pl._layout import new_axes
from heldout.pl._split_draw import draw_bars, draw_tiles
from heldout.pl._split_layout import gene_layout, split_layout, test_title

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes


def split(
    adata: AnnData,
    split_key: str = "split",
    *,
    group_key: str | Sequence[str] | None = None,
    match_key: str | None = None,
    label_key: str | None = None,
    ax: Axes | None = None,
    figsize: tuple[float, float] | None = None,
) -> Axes:
    """Plot which groups (libraries, donors, time points, perturbations) are in train, val and test.

    With a match column, each group is a tile at its match value (x) and label (y), with its name and its number of
    cells. The title lists the classes of the test set at each match value. Without a match column, each group is a bar.
    Its height is its number of cells, and bars are sorted by partition within each label; time points stay in their
    order. A group with cells in several partitions has several colours. Such a group leaks. The control of a screen is
    named; its cells can be in every partition. Names and numbers that do not fit are left out. A split of genes has a
    bar for each module of :func:`heldout.pp.split_genes`, or for each partition.

    Parameters
    ----------
    adata
        AnnData with the split, (n_obs × n_vars).
    split_key
        Column of ``obs`` with the split, or of ``var`` with a split of genes.
    group_key
        Column(s) of ``obs`` with the independent unit. If None, the record of the split is used: its groups, its time
        points or its perturbations.
    match_key
        Column of ``obs`` for the x axis, e.g. the day. If None, the record of the split is used.
    label_key
        Column of ``obs`` that is predicted. If None, the record of the split is used.
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
        If the split or a column does not exist, or no group is known.

    Examples
    --------
    >>> import heldout as ho
    >>> adata = ho.datasets.lmna_simulated(n_cells=20, n_genes=100)
    >>> ho.pp.split_matched(adata, "library", "day", label_key="genotype", test=19, val=0)
    >>> ho.pl.split(adata).get_title(loc="left")
    'test: day 19 (control, patient)'
    """
    store.check_adata(adata)
    if split_key not in adata.obs.columns and split_key in adata.var.columns:
        return _of_genes(adata, split_key, (group_key, match_key, label_key), new_axes(ax, figsize))
    partition = read_partition(adata, split_key)
    layout = split_layout(adata, partition, group_key=group_key, match_key=match_key, label_key=label_key)
    ax = new_axes(ax, figsize)
    if layout.match is None:
        draw_bars(layout, ax)
    else:
        draw_tiles(layout, test_title(layout), ax)
    return ax


def _of_genes(adata: AnnData, split_key: str, columns: tuple[object, ...], ax: Axes) -> Axes:
    """Draw a split of genes: one bar per module, or one per partition."""
    if any(column is not None for column in columns):
        msg = f"group_key, match_key and label_key are columns of obs, but {split_key!r} is a split of genes."
        raise ValueError(msg)
    partition = read_partition(adata, split_key, axis="var")
    column = f"{split_key}_module"
    by_module = partition.params.get("by") == "module" and column in adata.var.columns
    draw_bars(gene_layout(partition, adata.var[column].to_numpy() if by_module else None), ax)
    return ax
