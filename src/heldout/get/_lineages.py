"""The table of pseudo-lineages."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from heldout._core.tables import prints_whole
from heldout.tasks.forecast.lineages import read_lineages, rows_of_chains

if TYPE_CHECKING:
    from anndata import AnnData


@prints_whole
def lineages(adata: AnnData, key: str = "lineages") -> pd.DataFrame:
    """Return the pseudo-lineages: the names of the cells of each chain.

    Parameters
    ----------
    adata
        AnnData with the chains, (n_obs × n_vars).
    key
        Name of the fit of :func:`heldout.pp.lineages`.

    Returns
    -------
    One row for each chain, numbered from 0, and one column for each training time (float64, named as the column of
    ``obs``).

    Raises
    ------
    ValueError
        If there is no such fit, or cells of the chains are no longer in the AnnData.

    Examples
    --------
    >>> import heldout as ho
    >>> adata = ho.datasets.branching_simulated(n_cells=40, n_genes=100)
    >>> ho.pp.split_time(adata, "time", test=[72, 96])
    >>> adata.obsm["state"].shape
    (240, 5)
    >>> import warnings
    >>> with warnings.catch_warnings():  # nothing proves how "state" was made
    ...     warnings.simplefilter("ignore")
    ...     ho.pp.lineages(adata, "time", use_rep="state", n_chains=100)
    >>> ho.get.lineages(adata).shape
    (100, 4)
    """
    fit = read_lineages(adata, key)
    names = adata.obs_names.to_numpy(dtype=object)
    columns = pd.Index(fit.arrays["times"], name=fit.config["time_key"])
    return pd.DataFrame(names[rows_of_chains(adata, fit, key)], columns=columns)
