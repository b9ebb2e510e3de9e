"""Keep at most a given number of cells of each group."""

from __future__ import annotations

from typing import TYPE_CHECKING

from heldout._core import store
from heldout._core.checks import check_integer
from heldout._core.draws import draws, lowest_per_group

if TYPE_CHECKING:
    from anndata import AnnData

    from heldout._core.rng import Rng


def subsample(adata: AnnData, group_key: str, n: int = 3000, *, rng: Rng = 0, copy: bool = False) -> AnnData | None:
    """Keep at most n cells of each group, drawn without replacement.

    Each cell gets a pseudo-random number from ``rng`` and from its name. The ``n`` lowest numbers of a group stay, in
    their previous order. The draw therefore depends neither on the order of the cells nor on the other groups.

    Parameters
    ----------
    adata
        Annotated data, (n_obs × n_vars).
    group_key
        Column of ``obs``, for example the library.
    n
        Largest number of cells to keep of each group, an integer >= 1.
    rng
        Seed or Generator.
    copy
        Return a changed copy instead of changing ``adata``.

    Returns
    -------
    ``None``, or the AnnData if ``copy=True``. Cells are removed from ``adata``. Nothing is written.

    Raises
    ------
    ValueError
        If the column is missing or has missing values, or if ``n`` is not an integer >= 1.

    Examples
    --------
    >>> import heldout as ho
    >>> adata = ho.datasets.lmna_simulated(n_cells=20, n_genes=100)
    >>> ho.pp.subsample(adata, "library", 10)
    >>> adata.n_obs
    120
    """
    check_integer(n, "n", least=1)
    store.check_adata(adata)
    groups = store.as_names(store.column(adata, group_key, argument="group_key"))
    keep = lowest_per_group(groups, draws(adata.obs_names, rng), n)
    if copy:
        return adata[keep].copy()
    store.actual(adata)
    adata._inplace_subset_obs(keep)  # private, but scanpy uses it too; AnnData has no public subset in place
    return None
