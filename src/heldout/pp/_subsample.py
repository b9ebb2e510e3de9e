"""Subsample cells, the same number at most from each group."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from heldout._core import store
from heldout._core.draws import draws, lowest_per_group

if TYPE_CHECKING:
    from anndata import AnnData

    from heldout._core.rng import Rng


def subsample(adata: AnnData, group_key: str, n: int = 3000, *, rng: Rng = 0, copy: bool = False) -> AnnData | None:
    """Keep at most ``n`` cells of each group, drawn without replacement.

    Each cell gets a number from ``rng`` and its name; the lowest ``n`` of a group stay, in their old order. So the
    draw depends neither on the order of the cells nor on which other groups are there.

    Parameters
    ----------
    adata
        Annotated data, (n_obs × n_vars).
    group_key
        Column of ``obs``, e.g. the library.
    n
        Number of cells kept of a group that has more; at least 1.
    rng
        Seed or Generator.
    copy
        Return a changed copy instead of changing ``adata``.

    Returns
    -------
    ``None``, or the AnnData if ``copy=True``. Cells are removed, nothing is written.

    Raises
    ------
    ValueError
        If the column is missing or has missing values, or ``n`` is below 1.

    Examples
    --------
    >>> import heldout as ho
    >>> adata = ho.datasets.lmna_simulated(n_cells=20, n_genes=100)
    >>> ho.pp.subsample(adata, "library", 10)
    >>> adata.n_obs
    120
    """
    if not isinstance(n, int | np.integer) or n < 1:
        msg = f"n={n!r} must be a whole number of at least 1."
        raise ValueError(msg)
    store.check_adata(adata)
    groups = store.as_names(store.column(adata, group_key, argument="group_key"))
    keep = lowest_per_group(groups, draws(adata.obs_names, rng), n)
    if copy:
        return adata[keep].copy()
    store.actual(adata)
    adata._inplace_subset_obs(keep)  # scanpy's filter_cells uses it too: AnnData has no public in-place subset
    return None
