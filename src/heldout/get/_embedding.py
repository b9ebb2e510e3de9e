"""Table of the vectors that were added."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from heldout._core import store
from heldout._core.embeddings import read_embedding
from heldout._core.tables import prints_whole

if TYPE_CHECKING:
    from anndata import AnnData


@prints_whole
def embedding(adata: AnnData, key: str = "embedding") -> pd.DataFrame:
    """Return the vectors of an added embedding.

    Parameters
    ----------
    adata
        AnnData with the embedding, (n_obs × n_vars).
    key
        Name of the embedding.

    Returns
    -------
    One row for each name in the source, and one column for each dimension, numbered from 0. ``attrs`` says where the
    vectors come from: format, files with their checksums, coverage, and the other names by which rows are found.

    Raises
    ------
    ValueError
        If there is no such embedding, or it was altered.

    Examples
    --------
    >>> import heldout as ho, pandas as pd
    >>> adata = ho.datasets.lmna_simulated(n_cells=20, n_genes=100)
    >>> ho.pp.embedding(adata, pd.DataFrame([[1.0, 2.0]], index=adata.var_names[:1]))
    >>> ho.get.embedding(adata).shape
    (1, 2)
    >>> ho.get.embedding(adata).attrs["coverage"]["genes"]
    [1, 100]
    """
    store.check_adata(adata)
    found = read_embedding(adata, key)
    table = pd.DataFrame(found.values, index=pd.Index(found.names))
    table.attrs = dict(found.info)
    return table
