"""Ways to prepare the simulation, and what replay should make of it. Imported by the tests of replay."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import scanpy as sc
from scipy import sparse

import heldout as ho

if TYPE_CHECKING:
    from anndata import AnnData

HELD_OUT = ["GSM8325053", "GSM8325057"]


def later(adata: AnnData) -> np.ndarray:
    return adata.obs["library"].isin(HELD_OUT).to_numpy()


def log(adata: AnnData, total: float | None = 1e4) -> AnnData:
    given = type(adata.X)
    if sparse.issparse(adata.X):
        adata.X = sparse.csr_matrix(adata.X)  # scanpy 1.11 takes no sparse arrays
    sc.pp.normalize_total(adata, target_sum=total)
    sc.pp.log1p(adata)
    if sparse.issparse(adata.X):
        adata.X = given(adata.X)
    return adata


def to_dense(X) -> np.ndarray:
    return X.toarray() if sparse.issparse(X) else X


def assert_replayed(new: AnnData, whole: AnnData) -> None:
    """``new`` is to be what the later cells are in the prepared whole."""
    expected = whole[later(whole)]
    assert list(new.obs_names) == list(expected.obs_names)
    assert list(new.var_names) == list(expected.var_names)
    assert type(new.X) is type(whole.X)
    np.testing.assert_array_equal(to_dense(new.X), to_dense(expected.X))
    for key in ("highly_variable", "highly_variable_rank", "highly_variable_score"):
        assert (key in new.var) == (key in expected.var)
        if key in expected.var:
            np.testing.assert_array_equal(new.var[key], expected.var[key])
    for key in expected.obsm:
        np.testing.assert_allclose(new.obsm[key], expected.obsm[key], rtol=1e-6, atol=1e-5)
        np.testing.assert_array_equal(new.varm[key], expected.varm[key])
    assert list(new.uns["heldout"]["chain"]) == list(whole.uns["heldout"]["chain"])
    assert set(new.uns["heldout"]["fits"]) == set(whole.uns["heldout"]["fits"])


def hvg(adata):
    log(adata)
    ho.pp.highly_variable_genes(adata, 40)


def scale(adata):
    log(adata)
    ho.pp.scale(adata)


def scale_not_logged(adata):
    sc.pp.normalize_total(adata, target_sum=1e4)
    ho.pp.scale(adata)


def scale_counts(adata):
    ho.pp.scale(adata)


def pca(adata):
    log(adata)
    ho.pp.pca(adata, 5)


def pca_of_some_genes(adata):
    log(adata)
    adata.var["mine"] = np.arange(adata.n_vars) % 3 == 0
    ho.pp.pca(adata, 5, mask_var="mine")


def everything(adata):
    log(adata)
    ho.pp.highly_variable_genes(adata, 40)
    ho.pp.scale(adata, max_value=3)
    ho.pp.pca(adata, 5)


def everything_subset(adata):
    log(adata)
    ho.pp.highly_variable_genes(adata, 40, subset=True)
    ho.pp.scale(adata)
    ho.pp.pca(adata, 5)


def pca_then_fewer_genes(adata):
    log(adata)
    ho.pp.highly_variable_genes(adata, 40)
    ho.pp.pca(adata, 5, mask_var=None)
    adata._inplace_subset_var(np.arange(adata.n_vars) < 50)


def two_pcas(adata):
    log(adata)
    ho.pp.pca(adata, 5, key_added="before")
    ho.pp.scale(adata)
    ho.pp.pca(adata, 5, key_added="after")


def counts_in_a_layer(adata):
    log(adata)
    ho.pp.highly_variable_genes(adata, 40, flavor="seurat_v3", layer="counts")
    ho.pp.scale(adata)
    ho.pp.pca(adata, 5)


def counts_first_then_normalised(adata):
    ho.pp.highly_variable_genes(adata, 40, flavor="seurat_v3")
    log(adata)
    ho.pp.scale(adata)


def counts_first_then_normalised_subset(adata):
    ho.pp.highly_variable_genes(adata, 40, flavor="seurat_v3", subset=True)
    log(adata)
    ho.pp.scale(adata)


def genes_in_another_order_since(adata):
    log(adata)
    ho.pp.highly_variable_genes(adata, 40)
    adata._inplace_subset_var(np.random.default_rng(0).permutation(adata.n_vars))
    ho.pp.scale(adata)
    ho.pp.pca(adata, 5)
    adata._inplace_subset_var(np.random.default_rng(1).permutation(adata.n_vars))


def x_and_layer(adata):
    adata.layers["log"] = log(adata).X.copy()
    ho.pp.scale(adata)
    ho.pp.scale(adata, max_value=2, layer="log")
