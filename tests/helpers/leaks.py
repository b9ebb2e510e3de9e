"""AnnDatas with a planted leak and the cases that the audit makes of them. Imported by the tests of its items."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest
from scipy import sparse

import heldout as ho
from heldout._core.partition import inspect_partition
from heldout.auditing._case import build
from tests.helpers.paths import DATA

REAL = {
    "onek1k": ("onek1k/onek1k_40donors.h5ad", "indiv"),
    "kang": ("kang2018/kang2018_8donors.h5ad", "sample_id"),
}


def real(name):
    """Counts of a public data set with its donors in obs["library"]."""
    path, key = REAL[name]
    if not (DATA / path).is_file():
        pytest.skip(f"{DATA / path} not found; set HELDOUT_DATA_DIR")
    adata = ad.read_h5ad(DATA / path)
    adata.obs = adata.obs[[key]].rename(columns={key: "library"}).astype(str)
    adata.X = sparse.csr_matrix(adata.X, dtype=np.float32)
    return adata


def simulated(n_genes=1000, n_cells=80):
    adata = ho.datasets.lmna_simulated(n_cells=n_cells, n_genes=n_genes)
    adata.obs = adata.obs[["library"]].astype(str)
    return adata


def by_library(adata, *, val=False):
    """Every fourth library is test; with ``val`` the one after it is val."""
    names = np.sort(adata.obs["library"].unique())
    test, later = list(names[::4]), list(names[1::4]) if val else []
    train = [name for name in names if name not in {*test, *later}]
    ho.pp.split_assigned(adata, "library", train=train, val=later, test=test)


def case_of(adata, *, split_key="split", group_key=("library",), **options):
    codes, partition, problem = inspect_partition(adata, split_key)
    options = {"split_key": split_key, "group_key": list(group_key), **options}
    return build(adata, codes=codes, partition=partition, problem=problem, **options)


def with_copies(adata, n, *, change=None, seed=0):
    """``n`` cells of train libraries once more, under new names in test libraries; ``change`` alters their values."""
    rng = np.random.default_rng(seed)
    libraries = np.sort(adata.obs["library"].unique())
    train = np.flatnonzero(~adata.obs["library"].isin(libraries[::4]))
    copies = adata[rng.choice(train, n, replace=False)].copy()
    if change is not None:
        copies.X = sparse.csr_matrix(change(sparse.csr_matrix(copies.X), rng), dtype=np.float32)
    copies.obs_names = [f"copy{i}" for i in range(n)]
    copies.obs["library"] = rng.choice(libraries[::4], n)
    both = ad.concat([adata, copies])
    both.X = sparse.csr_matrix(both.X)
    return both


def thinned(share):
    """Keep each molecule with this probability."""

    def thin(X, rng):
        X = X.copy()
        X.data = rng.binomial(X.data.astype(int), share).astype(np.float32)
        X.eliminate_zeros()
        return X

    return thin
