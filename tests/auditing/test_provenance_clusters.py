"""Clusters of k-means on all cells are found under any name; clusters of train cells and other groups stay silent."""

import numpy as np
import pytest
import scanpy as sc
from scipy import sparse
from scipy.spatial.distance import cdist
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA

from heldout.auditing._trace_clusters import _Centres, _nearer, of_labels
from heldout.auditing.provenance import provenance
from tests.helpers.leaks import by_library, case_of, simulated

SIDES = {"leak": "fail", "val": "warn", "twin": "pass"}
CELLS = {"leak": "all cells (train, val, test)", "val": "the train and val cells", "twin": "the train cells"}
COLUMN = "obs['population']"


@pytest.fixture(scope="module")
def logged():
    """Log-normalised values of 2400 cells, and 10 components of the train cells."""
    adata = simulated(n_genes=150, n_cells=200)
    by_library(adata, val=True)
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    adata.X = adata.X.toarray()
    adata.obsm["X_pca"] = PCA(10, random_state=0).fit(adata.X[fitted_on(adata, "twin")]).transform(adata.X)
    return adata


def fitted_on(adata, side):
    used = {"leak": ["train", "val", "test"], "val": ["train", "val"], "twin": ["train"]}[side]
    return adata.obs["split"].isin(used).to_numpy()


def clustered(adata, side, Z, n=4):
    return KMeans(n, n_init=1, random_state=1).fit(Z[fitted_on(adata, side)]).predict(Z)


def about(adata, subject=COLUMN, **options):
    return [f for f in provenance(case_of(adata, **options)) if f.subject == subject]


@pytest.mark.parametrize(("side", "n_columns"), [("leak", 10), ("val", 10), ("twin", 10), ("leak", 5), ("twin", 5)])
def test_clusters_of_components(logged, side, n_columns):
    adata = logged.copy()
    adata.obs["population"] = clustered(adata, side, adata.obsm["X_pca"][:, :n_columns])
    (found,) = about(adata)
    assert found.status == SIDES[side]
    assert f"was clustered on {CELLS[side]}." in found.finding
    assert ("the first 5 columns" in found.finding) == (n_columns == 5)
    shuffled = adata[np.random.default_rng(0).permutation(adata.n_obs)].copy()
    assert about(shuffled) == [found]


@pytest.mark.parametrize("side", ["leak", "twin"])
def test_clusters_of_genes_in_each_kind_of_matrix(logged, any_array_type, side):
    adata = logged.copy()
    adata.obs["population"] = [f"T{i}" for i in clustered(adata, side, adata.X, n=3)]
    del adata.obsm["X_pca"]
    adata.X = any_array_type(adata.X)
    (found,) = about(adata)
    assert found.status == SIDES[side]


def test_the_number_of_cells_that_tell(logged):
    Z, train = logged.obsm["X_pca"], fitted_on(logged, "twin")
    labels = clustered(logged, "leak", Z)
    means = np.array([Z[train & (labels == i)].mean(axis=0) for i in range(4)])
    nearest = ((Z[:, None] - means) ** 2).sum(axis=2).argmin(axis=1)
    verdict, proof = of_labels(Z, np.where(train, 0, 2), labels, "X")
    assert verdict.status == "fail"
    assert f"0 of {len(labels)} cells are nearer to another cluster than to their own" in proof
    assert proof.endswith(f"With means over the train cells, {(nearest != labels).sum()} are")


def test_groups_that_k_means_did_not_make_are_not_judged(logged):
    adata = logged.copy()
    rng = np.random.default_rng(0)
    adata.obs["random"] = rng.integers(4, size=adata.n_obs)
    adata.obs["high"] = np.where(adata.obsm["X_pca"][:, 0] > 0.3, "high", "low")
    adata.obs["sex"] = adata.obs["library"].isin(sorted(set(adata.obs["library"]))[::2]).map({True: "f", False: "m"})
    adata.obs["missing"] = adata.obs["sex"].where(rng.random(adata.n_obs) < 0.5)
    subjects = {f.subject for f in provenance(case_of(adata))}
    assert not {s for s in subjects if s.startswith("obs[")}


def test_separate_groups_do_not_show_the_cells():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], 300)
    Y = rng.normal(size=(900, 5)) + 30 * np.eye(5)[labels]
    assert of_labels(Y, rng.choice([0, 2], 900), labels, "X") is None


def test_separate_groups_with_few_train_cells_do_not_show_the_cells():
    """The mean of 12 cells in 2000 dimensions is far from each cell, but no cell is near the border of two groups."""
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 300)
    Y = rng.normal(size=(600, 2000)) + 8 * np.eye(2000)[labels]
    codes = np.where((labels == 0) & (np.arange(600) >= 12), 2, 0)
    assert of_labels(Y, codes, labels, "X") is None


@pytest.mark.parametrize("seed", range(12))
def test_true_types_that_overlap_are_not_judged(seed):
    """A cell is part of the mean of its type. So means over all cells fit best, although nothing was fitted."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(6), 60)
    Y = rng.normal(size=(360, 500)) + 5.5 / np.sqrt(2) * np.eye(6, 500)[labels]
    assert of_labels(Y, np.where(rng.random(360) < 0.3, 2, 0), labels, "X") is None


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_matrix, sparse.csc_array])
def test_distances_to_the_means_of_clusters(kind):
    rng = np.random.default_rng(0)
    X, mean = rng.poisson(1.0, (20, 30)).astype(np.float32), rng.gamma(1, size=(4, 30))
    mean[2] = np.nan
    centres = _Centres(mean, np.array([3, 5, 0, 2]))
    left = [0, 1, 3]
    found = centres.distances(kind(X)) + (X**2).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found[:, left], cdist(X, mean[left], "sqeuclidean"), rtol=1e-6)
    assert np.isinf(found[:, 2]).all()
    apart = centres.apart[np.ix_(left, left)]
    np.testing.assert_allclose(apart, cdist(mean[left], mean[left], "sqeuclidean"), atol=1e-12)


def test_a_cell_that_is_left_out_of_the_mean_of_its_cluster():
    rng = np.random.default_rng(0)
    labels, Y = np.repeat([0, 1, 2], 12), rng.normal(size=(36, 40))
    known, fitted = np.arange(36) != 3, np.arange(36) % 3 > 0
    means = np.array([Y[fitted & (labels == i)].mean(axis=0) for i in range(3)])
    centres = {("train",): _Centres(means, np.bincount(labels[fitted]))}
    found = _nearer(Y, labels, known, {("train",): fitted}, centres)["train",]
    for i in range(36):
        alone = means.copy()
        alone[labels[i]] = Y[fitted & (labels == labels[i]) & (np.arange(36) != i)].mean(axis=0)
        for wrong, mean in ((found.wrong, means), (found.wrong_alone, alone)):
            assert wrong[i] == (known[i] and ((mean - Y[i]) ** 2).sum(axis=1).argmin() != labels[i])
    assert found.wrong_alone.sum() > found.wrong.sum()


def test_declared_columns_are_not_judged(logged):
    adata = logged.copy()
    adata.obs["population"] = clustered(adata, "leak", adata.obsm["X_pca"]).astype(str)
    assert about(adata)
    assert not about(adata, label_key="population")


def test_missing_values(logged):
    adata = logged.copy()
    labels = clustered(adata, "leak", adata.obsm["X_pca"])
    adata.obs["population"] = labels
    adata.obs["population"] = adata.obs["population"].astype("category").where(np.arange(adata.n_obs) % 50 > 0)
    (found,) = about(adata)
    assert found.status == "fail"


def test_a_record_of_scanpy_names_clusters(logged):
    adata = logged.copy()
    adata.obs["population"] = "a"
    adata.uns["population"] = {"params": {"resolution": 1.0, "random_state": 0}}
    (found,) = about(adata, "no record")
    assert COLUMN in found.finding
