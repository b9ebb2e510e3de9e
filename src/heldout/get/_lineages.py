"""The table of pseudo-lineages."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from heldout._core import keys
from heldout._core.fits import read_fit
from heldout._core.partition import digests
from heldout._core.store import section, some

if TYPE_CHECKING:
    from anndata import AnnData


def lineages(adata: AnnData, key: str = "lineages") -> pd.DataFrame:
    """Table of pseudo-lineages: one row a chain, one column a training time, values names of cells.

    Parameters
    ----------
    adata
        AnnData with the chains, (n_obs × n_vars).
    key
        Name of the fit of :func:`heldout.pp.lineages`.

    Returns
    -------
    Columns are the training times (float64, named as the column of ``obs``); rows the chains, numbered from 0.

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
    fit = read_fit(adata, key)
    if fit.method != "pp.lineages":
        made = [name for name in section(adata, keys.FITS) if read_fit(adata, name).method == "pp.lineages"]
        msg = f"The fit {key!r} is {fit.method!r}, not 'pp.lineages'. " + (
            f"Lineages are {some(made)}." if made else "Call heldout.pp.lineages first."
        )
        raise ValueError(msg)
    chains, times = fit.arrays["chains"], fit.arrays["times"]
    at = pd.Index(digests(adata.obs_names)).get_indexer(fit.arrays["digests"])
    rows = at[chains]
    if (rows < 0).any():
        lost = {f"{time:g}": len(np.unique(chains[rows[:, k] < 0, k])) for k, time in enumerate(times)}
        lost = {time: n for time, n in lost.items() if n}
        msg = (
            f"{int((rows < 0).any(axis=1).sum())} of the {len(chains)} chains of {key!r} pass cells that are no longer in adata "
            f"({fit.config['time_key']}: number of cells {lost}). Use the AnnData before cells were dropped, or call "
            "heldout.pp.lineages again."
        )
        raise ValueError(msg)
    names = adata.obs_names.to_numpy(dtype=object)
    return pd.DataFrame(names[rows], columns=pd.Index(times, name=fit.config["time_key"]))
