"""Fits on all cells without a usual name: components in obs, and genes chosen in each batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import scanpy as sc
from scipy import sparse
from sklearn.decomposition import PCA

from heldout.auditing.provenance import provenance
from tests.helpers.leaks import by_library, case_of, simulated

if TYPE_CHECKING:
    import anndata as ad

KINDS = {"dense": lambda X: X.toarray(), "csr": sparse.csr_matrix, "csc": sparse.csc_matrix}
SIDES = {"leak": "fail", "twin": "pass"}


@pytest.fixture(scope="module")
def logged():
    adata = simulated(n_genes=300)
    by_library(adata)
    adata.obs["plate"] = np.random.default_rng(0).choice(["p1", "p2", "p3"], adata.n_obs)
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    return adata


def fitted_on(adata: ad.AnnData, side: str) -> np.ndarray:
    return np.ones(adata.n_obs, bool) if side == "leak" else (adata.obs["split"] == "train").to_numpy()


def about(adata: ad.AnnData, subject: str, **options):
    (found,) = [f for f in provenance(case_of(adata, **options)) if f.subject.startswith(subject)]
    return found


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("first", [0, 1])
def test_components_in_columns_of_obs(logged, side, first):
    adata = logged.copy()
    X = adata.X.toarray()
    Z = PCA(12, random_state=0).fit(X[fitted_on(adata, side)]).transform(X)
    for i, z in enumerate(Z.T):
        adata.obs[f"PC_{i + first}"] = z
    found = about(adata, f"obs['PC_{first}']")
    assert found.status == SIDES[side]
    assert found.subject == f"obs['PC_{first}'] to obs['PC_{11 + first}']"


def test_numbered_columns_that_are_no_components_are_not_judged(logged):
    adata = logged.copy()
    rng = np.random.default_rng(0)
    for i in range(3):
        adata.obs[f"module{i}"] = rng.normal(5, 1, adata.n_obs)
        adata.obs[f"UMAP{i + 1}"] = rng.normal(1, 1, adata.n_obs)
        adata.obs[f"gap{2 * i}"] = rng.normal(5, 1, adata.n_obs)
    (found,) = provenance(case_of(adata))
    assert found.status == "not run"
    assert "obs['UMAP1'] to obs['UMAP3']" in found.finding
    assert "module" not in found.finding


def test_declared_columns_are_not_taken_for_components(logged):
    adata = logged.copy()
    values = np.random.default_rng(0).normal(size=(adata.n_obs, 3))
    values = np.linalg.qr(values - values.mean(axis=0))[0]
    keys = [f"score{i}" for i in range(3)]
    for key, column in zip(keys, values.T, strict=True):
        adata.obs[key] = column
    assert about(adata, "obs['score0']").status == "fail"
    assert not any("score" in f.subject for f in provenance(case_of(adata, covariate_keys=keys)))


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("flavor", ["seurat", "cell_ranger"])
def test_genes_chosen_in_each_batch(logged, side, kind, flavor):
    adata = logged.copy()
    cells = adata[fitted_on(adata, side)].copy()
    sc.pp.highly_variable_genes(cells, n_top_genes=100, flavor=flavor, batch_key="plate")
    adata.var = cells.var.copy()
    adata.X = KINDS[kind](adata.X)
    found = about(adata, "var['highly_variable']")
    assert found.status == SIDES[side]
    assert "obs['plate']" in found.finding


def test_genes_chosen_in_each_library_are_told_from_the_counts():
    adata = simulated(n_genes=300)
    by_library(adata)
    chosen = adata.copy()
    sc.pp.normalize_total(chosen, target_sum=1e4)
    sc.pp.log1p(chosen)
    sc.pp.highly_variable_genes(chosen, n_top_genes=100, batch_key="library")
    adata.var = chosen.var
    found = about(adata, "var['highly_variable']")
    assert found.status == "fail"
    assert "obs['library']" in found.finding
