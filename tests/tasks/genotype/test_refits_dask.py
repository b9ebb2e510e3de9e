"""Permuted refits over a dask array give what they give in memory."""

from __future__ import annotations

import dask.array as da
import pandas as pd
import scanpy as sc
from scipy import sparse

import heldout as ho


def test_refits_over_a_dask_array(lmna):
    ho.pp.split_groups(lmna, "library", "genotype", test=0.4, val=0)
    sc.pp.normalize_total(lmna, target_sum=1e4)
    sc.pp.log1p(lmna)
    tables = []
    for blocks in (None, (50, -1)):
        adata = lmna.copy()
        adata.X = sparse.csr_matrix(adata.X)
        if blocks is not None:
            adata.X = da.from_array(adata.X, chunks=blocks)
        ho.tl.genotype(adata, "genotype", method="logistic")
        tables.append(pd.DataFrame(ho.tl.evaluate_genotype(adata, "genotype", baselines=[], n_refits=20, rng=0)))
    pd.testing.assert_frame_equal(*tables)
