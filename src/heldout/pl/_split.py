"""Which libraries or donors went where."""

from __future__ import annotations

from typing import TYPE_CHECKING

from heldout._core import store
from heldout._core.partition import read_partition
from heldout.pl._split_draw import draw_bars, draw_tiles
from heldout.pl._split_layout import split_layout, test_title

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
) -> Axes:
    """Draw which groups (libraries, donors) are in train, val and test, with their label and day.

    With a match column, each group is a tile at its day (x) and label (y), with its name and number of cells, and the
    title says which classes the test set has on which day. Without, each group is a bar as high as its number of cells,
    sorted by partition within each label. A group with cells in several partitions shows all their colours: it leaks.

    Parameters
    ----------
    adata
        AnnData with the split, (n_obs × n_vars).
    split_key
        The split.
    group_key
        Column(s) of ``obs`` with the independent unit; taken from the split's record if not given, as are the next two.
    match_key
        Column of ``obs`` for the x axis, e.g. the day.
    label_key
        Column of ``obs`` that is predicted.
    ax
        Axes to draw into; a new figure is made if not given.

    Returns
    -------
    The axes.

    Raises
    ------
    ValueError
        If there is no such split or column, or no group is known.

    Examples
    --------
    >>> import heldout as ho
    >>> adata = ho.datasets.lmna_simulated(n_cells=20, n_genes=100)
    >>> ho.pp.split_matched(adata, "library", "day", label_key="genotype", test=19, val=0)
    >>> ho.pl.split(adata).get_title(loc="left")
    'test: day 19 (control, patient)'
    """
    store.check_adata(adata)
    partition = read_partition(adata, split_key)
    layout = split_layout(adata, partition, group_key=group_key, match_key=match_key, label_key=label_key)
    return draw_bars(layout, ax) if layout.match is None else draw_tiles(layout, test_title(layout), ax)
