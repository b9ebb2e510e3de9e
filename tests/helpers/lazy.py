"""Dask arrays of the cells that the other tests have in memory."""

from __future__ import annotations

import anndata as ad
import dask.array as da
import numpy as np
from scipy import sparse

BLOCKS = {
    "dense": np.asarray,
    "csr_matrix": sparse.csr_matrix,
    "csr_array": sparse.csr_array,
    "csc_matrix": sparse.csc_matrix,
}


def lazy(adata: ad.AnnData, kind: str = "csr_matrix", rows: int = 97) -> ad.AnnData:
    """The same cells with a dask X whose blocks are of this kind."""
    dense = adata.X.toarray() if sparse.issparse(adata.X) else adata.X
    X = da.from_array(dense, chunks=(rows, -1)).map_blocks(
        BLOCKS[kind], dtype=dense.dtype, meta=BLOCKS[kind](dense[:0])
    )
    return ad.AnnData(X, obs=adata.obs.copy(), var=adata.var.copy(), uns=adata.uns.copy())
