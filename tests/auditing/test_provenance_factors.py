"""Non-negative factors and truncated SVD of all cells are found; those of train cells pass."""

import warnings

import numpy as np
import pytest
import scanpy as sc
from scipy.optimize import nnls
from sklearn.decomposition import NMF, TruncatedSVD

from heldout.auditing._trace_factors import _weights, factorised
from heldout.auditing.provenance import provenance
from tests.helpers.leaks import by_library, case_of, simulated

SIDES = {"leak": "fail", "twin": "pass"}


@pytest.fixture(scope="module")
def logged():
    adata = simulated(n_genes=150)
    by_library(adata)
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    adata.X = adata.X.toarray()
    return adata


def factors(adata, side, model):
    rows = np.ones(adata.n_obs, bool) if side == "leak" else (adata.obs["split"] == "train").to_numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # few iterations, as in much published code
        return model.fit(adata.X[rows]).transform(adata.X)


def about(adata, subject):
    return [f for f in provenance(case_of(adata)) if f.subject == subject]


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize(
    "model", [NMF(4, init="nndsvda", max_iter=60, random_state=0), TruncatedSVD(8, random_state=0)]
)
def test_factors(logged, side, model):
    adata = logged.copy()
    adata.obsm["X_factors"] = factors(adata, side, model)
    (found,) = about(adata, "obsm['X_factors']")
    assert found.status == SIDES[side]


@pytest.mark.parametrize("side", SIDES)
def test_each_kind_of_matrix(logged, any_array_type, side):
    W = factors(logged, side, NMF(4, init="nndsvda", max_iter=60, random_state=0))
    codes = np.where(logged.obs["split"] == "train", 0, 2)
    expected = factorised(logged.X, codes, W)
    verdict = factorised(any_array_type(logged.X), codes, W)
    assert verdict.status == SIDES[side]
    assert verdict.error == pytest.approx(expected.error, rel=1e-3)


def test_gene_weights_are_the_non_negative_least_squares():
    rng = np.random.default_rng(0)
    W, X = rng.gamma(1, size=(60, 5)), rng.normal(size=(60, 20))
    found = _weights(W.T @ W, W.T @ X, 300)
    np.testing.assert_allclose(found, np.stack([nnls(W, x)[0] for x in X.T], axis=1), atol=1e-5)
    assert (found == 0).any()


def test_factors_in_columns_of_obs(logged):
    adata = logged.copy()
    for i, column in enumerate(factors(adata, "leak", NMF(4, init="nndsvda", max_iter=60, random_state=0)).T):
        adata.obs[f"factor{i}"] = column.astype(float)
    (found,) = about(adata, "obs['factor0'] to obs['factor3']")
    assert found.status == "fail"


def test_factors_of_other_cells_are_not_judged(logged):
    """Weights of half of the cells at random, train and test: neither side explains them."""
    adata = logged.copy()
    outside = np.random.default_rng(0).random(adata.n_obs) < 0.5
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = NMF(4, init="nndsvda", max_iter=60, random_state=0).fit(adata.X[outside])
        adata.obsm["X_factors"] = model.transform(adata.X)
    adata = adata[~outside].copy()
    assert not [f for f in about(adata, "obsm['X_factors']") if f.status != "not run"]


def test_non_negative_coordinates_that_are_no_factors_are_not_judged(logged):
    adata = logged.copy()
    adata.obsm["X_other"] = np.maximum(np.random.default_rng(0).normal(size=(adata.n_obs, 5)), 0)
    assert not about(adata, "obsm['X_other']")
