"""Estimators of scikit-learn as methods: against scikit-learn by hand, after a file, and in every function."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from scipy.special import expit
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.cluster import KMeans
from sklearn.decomposition import TruncatedSVD
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler
from sklearn.svm import SVC, LinearSVC

import heldout as ho
from heldout.model import Estimator

FEW = {"baselines": ["majority", "nearest_centroid"], "n_bootstrap": 50}


class Recorder(ClassifierMixin, BaseEstimator):
    """Remember what it was fitted on. It has the few methods that other packages share with scikit-learn."""

    def __init__(self, answer: float = 0.7) -> None:
        self.answer = answer

    def fit(self, X, y, sample_weight=None):
        self.X_, self.y_, self.weight_, self.classes_ = X, y, sample_weight, np.unique(y)
        return self

    def predict_proba(self, X):
        p = np.full(X.shape[0], self.answer)
        return np.stack([1 - p, p], axis=1)[:, : len(self.classes_)]


@pytest.fixture(scope="module")
def _prepared():
    adata = ho.datasets.lmna_simulated(n_cells=20, n_genes=100)
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    ho.pp.split_matched(adata, "library", "day", label_key="genotype", test=19, val=0)
    return adata


@pytest.fixture
def prepared(_prepared):
    return _prepared.copy()


def by_hand(adata):
    """Train cells, their classes, all cells."""
    train = (adata.obs["split"] == "train").to_numpy()
    return adata.X[train], (adata.obs["genotype"] == "patient").to_numpy()[train].astype(int), adata.X


@pytest.mark.parametrize(
    "estimator",
    [
        RandomForestClassifier(n_estimators=5, min_samples_leaf=20),
        KNeighborsClassifier(15),
        LogisticRegression(C=0.01),
        make_pipeline(MaxAbsScaler(), TruncatedSVD(5), LogisticRegression()),
        SVC(C=0.5),
        LinearSVC(C=0.01),
        RidgeClassifier(),
    ],
    ids=lambda each: type(each).__name__,
)
def test_predictions_are_those_of_scikit_learn_also_from_a_file(prepared, estimator, tmp_path):
    ho.tl.genotype(prepared, method=estimator, rng=3)
    assert not hasattr(estimator, "n_features_in_"), "the estimator of the user is not fitted"
    X, y, every = by_hand(prepared)
    again = Estimator(estimator).seeded(3).fit(X, y)
    log_odds = np.clip(
        np.diff(np.log(np.maximum(again.predict_proba(every), 1e-6)), axis=1)[:, 0]
        if hasattr(again, "predict_proba")
        else again.decision_function(every),
        -13.8,
        13.8,
    )
    np.testing.assert_allclose(prepared.obs["genotype_probability"], expit(log_odds), atol=2e-5)
    prepared.write_h5ad(tmp_path / "a.h5ad")
    later = sc.read_h5ad(tmp_path / "a.h5ad")
    stored = later.obsm["genotype_log_probability"].copy()
    del later.obsm["genotype_log_probability"]
    ho.tl.predict(later)
    np.testing.assert_array_equal(later.obsm["genotype_log_probability"], stored)


@pytest.mark.parametrize("rows", ["cells", "groups"])
def test_evaluated_like_other_methods_also_from_a_file(prepared, rows, tmp_path):
    ho.tl.genotype(prepared, method=Estimator(KNeighborsClassifier(3), rows=rows))
    before = ho.tl.evaluate(prepared, **FEW)
    prepared.write_h5ad(tmp_path / "a.h5ad")
    after = ho.tl.evaluate(sc.read_h5ad(tmp_path / "a.h5ad"), **FEW)
    same = ["method", "level", "metric", "estimate", "ci_low", "ci_high", "p_value", "verdict"]
    pd.testing.assert_frame_equal(pd.DataFrame(after)[same], pd.DataFrame(before)[same])
    assert set(after["method"]) == {"KNeighborsClassifier", *FEW["baselines"]}
    assert ho.get.claims(prepared, "genotype").shape[0] >= 1
    assert "KNeighborsClassifier" in ho.get.leaderboard(prepared, "genotype").index


def test_rows_are_cells_or_groups_and_sparse_stays_sparse(prepared):
    cells, groups = Estimator(Recorder(), balanced=True), Estimator(Recorder(), rows="groups", balanced=True)
    prepared = prepared[prepared.obs_names != prepared.obs_names[0]].copy()  # one library has fewer cells
    ho.tl.genotype(prepared, method=cells, key_added="cells")
    ho.tl.genotype(prepared, method=groups, key_added="groups")
    X, y, _ = by_hand(prepared)
    assert cells.fitted_.X_.format == "csr"
    assert (cells.fitted_.X_ != X).nnz == 0
    np.testing.assert_array_equal(cells.fitted_.y_, y)
    train = prepared.obs[prepared.obs["split"] == "train"]
    weights = pd.Series(cells.fitted_.weight_, index=train.index)
    of_library = weights.groupby([train["genotype"].astype(str), train["library"].astype(str)]).sum()
    assert of_library.groupby(level=0).std().max() < 1e-9
    np.testing.assert_allclose(of_library.groupby(level=0).sum(), len(train) / 2)
    means = pd.DataFrame(X.toarray()).groupby(train["library"].astype(str).to_numpy()).mean()
    np.testing.assert_allclose(groups.fitted_.X_, means, rtol=1e-5)
    patient = groups.fitted_.y_ == 1
    assert groups.fitted_.weight_[patient].sum() == pytest.approx(groups.fitted_.weight_[~patient].sum())
    patients = train.groupby(train["library"].astype(str))["genotype"].first() == "patient"
    np.testing.assert_array_equal(groups.fitted_.y_, patients.astype(int))


def test_groups_are_predicted_as_wholes(prepared):
    forest = Estimator(RandomForestClassifier(20), rows="groups")
    ho.tl.genotype(prepared, method=forest)
    shown = prepared.obs.groupby("library", observed=True)["genotype_probability"]
    assert shown.nunique().eq(1).all()
    means = np.stack([np.asarray(prepared.X[rows].mean(axis=0)).ravel() for rows in shown.indices.values()])
    np.testing.assert_allclose(
        shown.first()[list(shown.indices)], forest.fitted_.predict_proba(means)[:, 1].clip(1e-6, 1 - 1e-6), rtol=1e-4
    )
    table = ho.tl.evaluate(prepared, **FEW)
    assert table["note"].iloc[0].startswith("one prediction for each group")


def test_the_seed_reaches_what_has_none():
    fixed = Estimator(RandomForestClassifier(random_state=5))
    free = Estimator(make_pipeline(TruncatedSVD(2), RandomForestClassifier()))
    assert fixed.seeded(1).random_state == 5
    assert not fixed.stochastic
    made = free.seeded(7)
    assert (made[0].random_state, made[1].random_state) == (7, 7)
    assert free.stochastic
    assert not Estimator(KNeighborsClassifier()).stochastic


def test_a_search_splits_train_by_groups(prepared):
    search = GridSearchCV(LogisticRegression(), {"C": [0.01, 1.0]}, cv=ho.splitting.GroupStratifiedKFold(2))
    wrapped = Estimator(search)
    ho.tl.genotype(prepared, method=wrapped)
    X, y, _ = by_hand(prepared)
    groups = np.unique(prepared.obs["library"].astype(str), return_inverse=True)[1]
    by_group = search.fit(X, y, groups=groups[(prepared.obs["split"] == "train").to_numpy()])
    found = wrapped.fitted_.cv_results_["mean_test_score"]
    np.testing.assert_allclose(found, by_group.cv_results_["mean_test_score"])


def test_what_is_stored_describes_the_estimator(prepared):
    ho.tl.genotype(prepared, method=make_pipeline(TruncatedSVD(3, random_state=0), LogisticRegression(C=0.5)))
    fit = json.loads(prepared.uns["heldout"]["fits"]["genotype"]["json"])
    assert fit["config"]["name"] == "TruncatedSVD + LogisticRegression"
    assert fit["config"]["class"] == "sklearn.pipeline.Pipeline"
    assert fit["config"]["parameters"]["logisticregression__C"] == 0.5
    assert set(fit["config"]["versions"]) == {"sklearn"}
    linear = LogisticRegression(C=0.5)
    ho.tl.genotype(prepared, method=linear, key_added="linear")
    X, y, _ = by_hand(prepared)
    arrays = prepared.uns["heldout"]["fits"]["linear"]["arrays"]
    np.testing.assert_allclose(arrays["a0000"], LogisticRegression(C=0.5).fit(X, y).coef_.ravel(), rtol=1e-4)


def test_new_cells_need_the_estimator_unless_it_is_linear(prepared, refuses):
    new = prepared[:30].copy()
    new.obs_names = [f"later_{name}" for name in new.obs_names]
    wrapped = Estimator(KNeighborsClassifier(15))
    ho.tl.genotype(prepared, method=wrapped)
    ho.tl.genotype(prepared, method=LogisticRegression(C=0.1), key_added="linear")
    ho.tl.predict(new, "linear", reference=prepared)
    np.testing.assert_allclose(new.obs["linear_probability"], prepared.obs["linear_probability"][:30], rtol=1e-6)
    refuses(
        lambda a: ho.tl.predict(a, "genotype", reference=prepared),
        new,
        "KNeighborsClassifier",
        "30 of these 30 cells are new",
        "Fit again",
        "fitted_",
    )
    expected = wrapped.fitted_.predict_proba(new.X)[:, 1].clip(1e-6, 1 - 1e-6)
    np.testing.assert_allclose(prepared.obs["genotype_probability"][:30], expected, rtol=1e-4)
    shuffled = prepared[::-1, ::-1][:50].copy()
    ho.tl.predict(shuffled, "genotype")
    shuffled.X = shuffled.X * 1.01
    refuses(lambda a: ho.tl.predict(a, "genotype"), shuffled, "50 of these 50 cells have other values")


@pytest.mark.parametrize(
    ("estimator", "kind", "words"),
    [
        (Ridge(), TypeError, "Ridge has neither predict_proba nor decision_function"),
        (KMeans(2), TypeError, "KMeans has neither"),
        (RandomForestClassifier, TypeError, r"is a class. Pass an instance: method=RandomForestClassifier\(\)"),
        (3, TypeError, "method=3 must be the name of a method, or a classifier"),
        ("estimator", ValueError, "stands for an estimator of scikit-learn"),
        (GaussianNB(), ValueError, "GaussianNB.fit failed on a csr matrix.*Make X dense"),
        (KNeighborsClassifier(10**6), ValueError, "KNeighborsClassifier.predict_proba failed"),
        (Recorder(np.nan), ValueError, "Recorder.predict_proba returned .* NaN"),
        (Recorder(1.7), ValueError, "Recorder.predict_proba returned"),
    ],
)
def test_refused_and_the_adata_is_as_before(prepared, unchanged, estimator, kind, words):
    with unchanged(prepared), pytest.raises(kind, match=words):
        ho.tl.genotype(prepared, method=estimator)


def test_refused_options(prepared, unchanged):
    with pytest.raises(ValueError, match=r"KNeighborsClassifier.fit has no argument sample_weight"):
        Estimator(KNeighborsClassifier(), balanced=True)
    with pytest.raises(ValueError, match="rows='donors' must be one of"):
        Estimator(LogisticRegression(), rows="donors")
    with unchanged(prepared), pytest.raises(ValueError, match="auxiliary_key='day' is only for"):
        ho.tl.genotype(prepared, method=LogisticRegression(), auxiliary_key="day")
    with unchanged(prepared), pytest.raises(TypeError, match="is for methods with a name"):
        ho.tl.genotype(prepared, method=LogisticRegression(), config=ho.model.LogisticConfig())
    ho.tl.genotype(prepared, method="majority")
    with unchanged(prepared), pytest.raises(ValueError, match="baselines='estimator' stands for an estimator"):
        ho.tl.evaluate(prepared, baselines=["estimator"])


def test_refits_need_the_estimator(prepared):
    ho.tl.genotype(prepared, method=KNeighborsClassifier())
    with pytest.raises(ValueError, match="keeps only the predictions of KNeighborsClassifier"):
        ho.tl.evaluate_genotype(prepared, n_refits=5)


@pytest.fixture(scope="module")
def _folds():
    adata = ho.datasets.lmna_simulated(n_cells=15, n_genes=100)
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    ho.pp.folds(adata, "library", "genotype", n_folds=3, val=0)
    return adata


@pytest.fixture
def folds(_folds):
    return _folds.copy()


@pytest.mark.slow
def test_compare_with_a_built_in_twin(folds):
    """The estimator behind a built-in method has the same scores, and the table judges it as a model."""
    adata = folds
    methods = {
        "majority": {},
        "logistic": {},
        "twin": LogisticRegression(max_iter=1000, random_state=0),
        "pseudobulk_logistic": {},
        "groups": Estimator(LogisticRegression(max_iter=1000), rows="groups"),
        "forest": {"method": Estimator(RandomForestClassifier(5), rows="groups")},
    }
    table = ho.tl.compare(adata, methods=methods, seeds=[0, 1], n_refits=2)
    loss = table[table["metric"] == "loss"].set_index("method")
    assert loss.loc["twin", "estimate"] == pytest.approx(loss.loc["logistic", "estimate"], rel=1e-3)
    assert loss.loc["twin", "role"] == "model"
    assert loss["n_seeds"].to_dict() == {**dict.fromkeys(methods, 1), "groups": 2, "forest": 2}
    by_group = ho.get.comparison(adata, by="group")
    odds = by_group["log_probability_patient"] - by_group["log_probability_control"]
    wide = odds.groupby([by_group["method"], by_group["group"]]).first().unstack("method")
    np.testing.assert_allclose(wide["groups"], wide["pseudobulk_logistic"], rtol=1e-3, atol=1e-3)
    pooled = ho.get.comparison(adata, by="pooled").set_index("method")
    assert pooled.loc["twin", "p_value"] == pooled.loc["logistic", "p_value"]
    looks = len(ho.get.ledger(adata))
    ho.tl.compare(adata, methods=methods, seeds=[0, 1], n_refits=2)
    assert len(ho.get.ledger(adata)) == looks, "all fits were kept"


def test_names_in_a_comparison(folds, unchanged):
    adata = folds
    for methods, kind, words in (
        ([LogisticRegression(), LogisticRegression(C=2)], ValueError, "several estimators named 'LogisticRegression'"),
        ({"logistic": RandomForestClassifier()}, ValueError, "'logistic' is a method of heldout"),
        (LogisticRegression(), TypeError, "must be a list of methods"),
        ({"mine": {"method": LogisticRegression(), "auxiliary_key": "day"}}, ValueError, "works only with networks"),
        (["majority", Ridge()], TypeError, "Ridge has neither"),
    ):
        with unchanged(adata), pytest.raises(kind, match=words):
            ho.tl.compare(adata, methods=methods)
    table = ho.tl.compare(adata, methods=["majority", KNeighborsClassifier()], seeds=[0])
    assert set(table["method"]) == {"majority", "KNeighborsClassifier"}


def test_a_class_without_a_version_is_fitted_again(folds):
    """A class of a notebook can change while its name and parameters stay."""
    adata = folds
    known, unknown = Estimator(KNeighborsClassifier()).stored(), Estimator(Recorder()).stored()
    assert "token" not in known
    assert unknown["token"] != Estimator(Recorder()).stored()["token"]
    with pytest.raises(ValueError, match="Recorder.predict_proba returned"):
        ho.tl.compare(adata, methods={"majority": {}, "own": Recorder(np.nan)}, seeds=[0])
    ho.tl.compare(adata, methods={"majority": {}, "own": Recorder()}, seeds=[0])
    looks = len(ho.get.ledger(adata))
    ho.tl.compare(adata, methods={"majority": {}, "own": Recorder()}, seeds=[0])
    assert len(ho.get.ledger(adata)) == looks + 3


def test_sweep_changes_parameters(prepared, unchanged):
    base = Estimator(make_pipeline(TruncatedSVD(2, random_state=0), KNeighborsClassifier()))
    ho.pp.split_groups(prepared, "library", "genotype", val=0.3, test=0.3)
    grid = {"truncatedsvd__n_components": [2, 5], "kneighborsclassifier__n_neighbors": [3, 25], "rows": ["cells"]}
    table = ho.tl.sweep(prepared, grid=grid, method=base, baselines=["majority"])
    assert len(table) == 4
    assert table["truncatedsvd__n_components"].tolist() == [2, 2, 5, 5]
    best = table[table["chosen"]].iloc[0]
    chosen = base.fitted_
    assert chosen[0].n_components == best["truncatedsvd__n_components"]
    val = (prepared.obs["split"] == "val").to_numpy()
    labels = (prepared.obs["genotype"] == "patient").to_numpy()[val].astype(int)
    p = chosen.predict_proba(prepared.X[val]).clip(1e-6, 1 - 1e-6)
    assert ho.metrics.roc_auc(labels, np.log(p)) == pytest.approx(best["val_auc"], abs=1e-6)
    assert base.estimator[0].n_components == 2
    for grid, words in (
        ({"C": [1.0]}, "grid has 'C', which is not an option of TruncatedSVD"),
        ({"truncatedsvd": [KMeans(2)], "kneighborsclassifier__n_neighbors": [-1]}, "KNeighborsClassifier.*failed"),
        ("lmna", "must be a mapping"),
    ):
        with unchanged(prepared), pytest.raises(ValueError, match=words):
            ho.tl.sweep(prepared, grid=grid, method=base)


def test_three_classes_and_dask(prepared):
    rng = np.random.default_rng(0)
    prepared.obs["state"] = prepared.obs["day"].astype(int).map(lambda day: "abc"[day % 3]).to_numpy()
    adata = prepared.copy()
    adata.obs["sample"] = [f"s{i % 30}" for i in range(adata.n_obs)]
    adata.obs["state"] = [f"c{i % 30 % 3}" for i in range(adata.n_obs)]
    adata.X = adata.X.toarray() + rng.normal(0, 0.1, adata.shape).astype(np.float32)
    ho.pp.split_groups(adata, "sample", "state", val=0, test=0.4, key_added="by_sample")
    for estimator in (GaussianNB(), LinearSVC(C=0.01), SVC(), SVC(decision_function_shape="ovo")):
        ho.tl.genotype(adata, "state", method=estimator, split_key="by_sample")
        assert adata.obsm["genotype_log_probability"].shape == (adata.n_obs, 3)
        np.testing.assert_allclose(np.exp(adata.obsm["genotype_log_probability"]).sum(axis=1), 1, rtol=1e-4)


def test_estimators_are_baselines_of_an_evaluation(prepared, unchanged):
    ho.tl.genotype(prepared, "genotype", method="nearest_centroid")
    forest = Estimator(RandomForestClassifier(5, random_state=0), rows="groups")
    for wrong, words in (
        ({"baselines": LogisticRegression()}, "must be a list of methods and estimators"),
        ({"baselines": [Ridge()]}, "has neither predict_proba nor decision_function"),
        ({"baselines": [LogisticRegression(C=1), LogisticRegression(C=2)]}, "several estimators named"),
    ):
        with unchanged(prepared), pytest.raises((TypeError, ValueError), match=words):
            ho.tl.evaluate(prepared, **wrong)
    ho.tl.evaluate(prepared, baselines=["logistic", LogisticRegression(max_iter=1000), forest], n_bootstrap=50)
    named = {"LogisticRegression": LogisticRegression(max_iter=1000), "RandomForestClassifier": forest}
    for name, method in named.items():
        ho.tl.genotype(prepared, "genotype", method=method, key_added="fitted")
        table = ho.tl.evaluate(prepared, "fitted", baselines=[], n_bootstrap=50)
        as_baseline = ho.get.evaluation(prepared, "genotype").query(f"method == {name!r} and level == 'library'")
        as_model = table.query("level == 'library'")
        assert as_baseline["role"].eq("baseline").all()
        np.testing.assert_array_equal(
            as_baseline.set_index("metric")["estimate"], as_model.set_index("metric")["estimate"][as_baseline["metric"]]
        )
