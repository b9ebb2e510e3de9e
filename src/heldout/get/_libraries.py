"""What became of the cells of each library that was read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from heldout._core import keys, store

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData


def libraries(adata: AnnData) -> pd.DataFrame:
    """Table of the libraries that :func:`heldout.pp.read_libraries` has read: cells found, dropped and why, and kept.

    A cell with several reasons to be dropped counts for the first of them.

    Parameters
    ----------
    adata
        AnnData of :func:`heldout.pp.read_libraries`, (n_obs × n_vars).

    Returns
    -------
    One row a library, in the order of the sheet, with the columns ``library``, ``n_found``, ``few_genes``,
    ``many_genes``, ``high_mito``, ``not_drawn`` (fit, but beyond ``n_cells``) and ``kept``; all but the first are
    numbers of cells.

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
    >>> ho.get.libraries(adata)[["library", "n_found", "not_drawn", "kept"]]
          library  n_found  not_drawn  kept
    0  GSM8325046       30         10    20
    """
    store.check_adata(adata)
    stored = store.section(adata, keys.LIBRARIES)
    if "table" not in stored:
        msg = "adata does not say what was read: it does not come from ho.pp.read_libraries, or uns['heldout'] was dropped."
        raise ValueError(msg)
    return stored["table"].reset_index(drop=True)
