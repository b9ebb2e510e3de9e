"""The adapter of TabPFN, with a classifier of the same interface in its place, as the package is not installed."""

from __future__ import annotations

import sys
from types import ModuleType

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression

import heldout as ho
from heldout.model import TabPFNConfig
from heldout.tasks.genotype.baselines import group_means
from tests.tasks.genotype.donors import data_of, donors, held_out


class SimilarClassifier(ClassifierMixin, BaseEstimator):
    """Has the constructor and the methods of TabPFNClassifier that are documented, and reports classes in reverse."""

    made: list[dict[str, object]] = []

    def __init__(self, *, n_estimators=8, device="auto", random_state=0):
        self.n_estimators, self.device, self.random_state = n_estimators, device, random_state

    def fit(self, X, y):
        assert X.shape[1] <= 500
        self.made.append(self.get_params())
        self._model = LogisticRegression().fit(X, y)
        self.classes_ = self._model.classes_[::-1]
        return self

    def predict_proba(self, X):
        return self._model.predict_proba(X)[:, ::-1]


@pytest.fixture
def _installed(monkeypatch):
    package = ModuleType("tabpfn")
    package.TabPFNClassifier, package.__version__ = SimilarClassifier, "0.test"
    monkeypatch.setitem(sys.modules, "tabpfn", package)
    monkeypatch.setattr(SimilarClassifier, "made", [])


@pytest.mark.usefixtures("_installed")
@pytest.mark.parametrize("n_classes", [2, 3])
def test_it_predicts_from_components_of_the_means(n_classes):
    data = data_of(donors("mean", 0, n_donors=20, n_cells=15, n_genes=20))
    labels = np.where(data.groups % 7 == 0, n_classes - 1, data.labels)
    data = type(data)(**{**vars(data), "labels": labels, "n_classes": n_classes})
    _, found = held_out("tabpfn", data, TabPFNConfig(n_comps=3))
    means, of_group = group_means(data, "x")
    pca = PCA(3).fit(means)
    reference = LogisticRegression().fit(pca.transform(means), of_group)
    test = np.setdiff1d(data.groups, data.groups[data.train])
    new = pca.transform(np.stack([data.X[data.groups == name].mean(axis=0) for name in test]))
    np.testing.assert_allclose(np.exp(found), reference.predict_proba(new), atol=1e-4)


@pytest.mark.usefixtures("_installed")
def test_it_is_fitted_once_for_all_groups_and_again_from_a_file(split, tmp_path):
    import anndata as ad

    config = TabPFNConfig(n_comps=4, n_estimators=2)
    ho.tl.genotype(split, method="tabpfn", mask_var=None, config=config, rng=5)
    assert SimilarClassifier.made == [{"n_estimators": 2, "device": "auto", "random_state": 5}]
    before = split.obsm["genotype_log_probability"].copy()
    np.testing.assert_allclose(np.exp(before).sum(axis=1), 1, rtol=1e-5)
    split.write_h5ad(tmp_path / "fitted.h5ad")
    again = ad.read_h5ad(tmp_path / "fitted.h5ad")
    ho.tl.predict(again)
    np.testing.assert_array_equal(again.obsm["genotype_log_probability"], before)


@pytest.mark.usefixtures("_installed")
def test_a_comparison_fits_each_seed():
    adata = donors("mean", 0, n_donors=12, n_cells=10, n_genes=10)
    ho.pp.folds(adata, "donor", "label", n_folds=3)
    table = ho.tl.compare(adata, "label", methods=["tabpfn", "majority"], seeds=[0, 1])
    assert table.query("method == 'tabpfn' and metric == 'loss'")["n_seeds"].item() == 2


def test_without_the_package_it_names_the_extra(split, unchanged, monkeypatch):
    monkeypatch.setitem(sys.modules, "tabpfn", None)
    with pytest.raises(ImportError, match=r"pip install 'heldout\[tabpfn\]'"), unchanged(split):
        ho.tl.genotype(split, method="tabpfn", mask_var=None)


@pytest.mark.usefixtures("_installed")
def test_more_classes_than_the_network_knows_are_refused(split, unchanged):
    split.obs["many"] = split.obs["library"].astype(str)
    ho.pp.split_cells(split, key_added="cells")
    if split.obs["many"].nunique() <= 10:
        pytest.fail("the simulation has too few libraries for this test")
    with pytest.raises(ValueError, match="tabpfn supports up to 10000 groups and 10 classes"), unchanged(split):
        ho.tl.genotype(split, "many", method="tabpfn", mask_var=None, split_key="cells", group_key="library")
