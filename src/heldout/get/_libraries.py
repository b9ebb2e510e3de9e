"""Cells that were found, dropped and kept in each library."""

from __future__ import annotations

from typing import TYPE_CHECKING

from heldout._core import keys, store
from heldout._core.tables import prints_whole

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData


@prints_whole
def libraries(adata: AnnData) -> pd.DataFrame:
    """Return the number of cells found, dropped and kept in each library when it was read.

    A cell that is dropped for several reasons counts for the first of these.

    Parameters
    ----------
    adata
        AnnData of :func:`heldout.pp.read_libraries`, (n_obs × n_vars).

    Returns
    -------
    One row for each library, in the order of the sheet. Columns: ``library``, and the numbers of cells ``n_found``,
    ``few_genes``, ``many_genes``, ``high_mito``, ``not_drawn`` (good cells beyond ``n_cells``) and ``kept``.

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
        msg = (
            "adata has no table of libraries: heldout.pp.read_libraries did not make it, or uns['heldout'] was "
            "dropped. Read the libraries again."
        )
        raise ValueError(msg)
    return stored["table"].reset_index(drop=True)
