"""Components of all cells are found after a few cells were dropped; those of train cells and other tables are not."""

import numpy as np
import pytest
import scanpy as sc
from sklearn.decomposition import PCA

from heldout.auditing._trace_dropped import of_dropped
from heldout.auditing.provenance import provenance
from tests.helpers.leaks import by_library, case_of, simulated


@pytest.fixture(scope="module")
def logged():
    adata = simulated(n_genes=150)
    by_library(adata)
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    return adata


def with_components(adata, side, share):
    rows = np.ones(adata.n_obs, bool) if side == "leak" else (adata.obs["split"] == "train").to_numpy()
    X = adata.X.toarray()
    adata = adata.copy()
    adata.obsm["X_pca"] = PCA(20, random_state=0).fit(X[rows]).transform(X)
    return adata[np.random.default_rng(0).random(adata.n_obs) >= share].copy()


@pytest.mark.parametrize(("side", "status"), [("leak", "fail"), ("twin", "pass")])
def test_few_cells_were_dropped(logged, side, status):
    (found,) = provenance(case_of(with_components(logged, side, 0.05)))
    assert found.status == status
    assert "had been dropped" in found.finding


@pytest.mark.parametrize("side", ["leak", "twin"])
def test_half_of_the_cells_were_dropped(logged, side):
    (found,) = provenance(case_of(with_components(logged, side, 0.5)))
    assert found.status == "not run"
    assert "dropped afterwards" in found.finding


def test_a_library_was_dropped(logged):
    adata = with_components(logged, "twin", 0.0)
    names = sorted(set(adata.obs["library"]))
    (found,) = provenance(case_of(adata[~adata.obs["library"].isin(names[1:3])].copy()))
    assert found.status == "not run"


def test_random_coordinates_are_not_judged():
    """Coordinates with true mean 0 that were fitted nowhere, with and without differences between the partitions."""
    rng = np.random.default_rng(0)
    codes = np.repeat([0, 2], [350, 150])
    for moved in (0.0, 0.3):
        Y = rng.normal(size=(200, 500, 10)) + moved * (codes == 2)[:, None] * rng.normal(size=(200, 1, 10))
        assert not any(of_dropped(each, codes) for each in Y)
