"""The audit finds the label under another name, and is silent on columns that have nothing to do with it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

import heldout as ho
from heldout.auditing._columns import ordered
from heldout.auditing._neighbour_labels import is_share
from tests.helpers.libraries import by_library, libraries, said


def simulated(seed=0, **options):
    adata = by_library(libraries(seed, **{"n_cells": 15, "n_libraries": 20, "n_genes": 60, **options}))
    adata.obs = adata.obs.drop(columns="day")
    return adata


def each_library(adata, function):
    """A value for each library from its number and whether its label is case."""
    label = adata.obs.groupby("library", observed=True)["label"].first()
    values = {name: function(i, label[name] == "case") for i, name in enumerate(label.index)}
    return adata.obs["library"].map(values).to_numpy()


DISGUISES = {
    "another name": (lambda i, case: "sick" if case else "healthy", "under another name"),
    "zero and one": (lambda i, case: float(case), "under another name"),
    "true": (lambda i, case: bool(case), "under another name"),
    "dates": (lambda i, case: f"2020-{3 if case else 1:02d}-{i + 1:02d}", "a date"),
    "timestamps": (lambda i, case: pd.Timestamp(2020, 3 if case else 1, i + 1), "a date"),
    "numbers": (lambda i, case: 100.0 * case + i, "a number"),
    "numbers as text": (lambda i, case: str(100 * case + i), "a number"),
    "missing in controls": (lambda i, case: 40.0 + i if case else np.nan, "a number"),
    "several names": (lambda i, case: f"{'site' if case else 'clinic'}{i % 2}", "a category"),
}


@pytest.mark.parametrize("what", DISGUISES)
def test_columns_that_determine_the_label(what):
    adata = simulated()
    function, words = DISGUISES[what]
    adata.obs["column"] = each_library(adata, function)
    (row,) = said(adata, "disguised_label").itertuples()
    assert row.status == "fail"
    assert row.subject == "obs['column']"
    assert words in row.finding


def test_a_column_that_separates_the_classes_in_part():
    adata = simulated()
    adata.obs["age"] = each_library(adata, lambda i, case: 50 + 10 * case + i % 12)
    (row,) = said(adata, "disguised_label").itertuples()
    assert row.status == "warn"
    assert said(adata, "disguised_label", covariate_keys="age")["status"].tolist() == ["not run"], "it is named"


@pytest.mark.parametrize("as_array", [True, False])
def test_the_label_in_obsm(as_array):
    adata = simulated()
    case = (adata.obs["label"] == "case").to_numpy(dtype=float)
    noise = np.random.default_rng(0).normal(0, 0.1, adata.n_obs)
    adata.obsm["features"] = np.stack([noise, case, case + noise / 10], axis=1)
    if not as_array:
        adata.obsm["features"] = pd.DataFrame(adata.obsm["features"], index=adata.obs_names)
    found = said(adata, "disguised_label")
    assert found["subject"].tolist() == ["obsm['features'][:, 1]", "obsm['features'][:, 2]"]
    assert found["status"].tolist() == ["fail", "fail"]


def share_of_neighbours(adata, *, leak, k=8, weight=np.ones_like):
    """Share of cases among the neighbours of each cell, of all cells or of train cells."""
    Z = PCA(10, random_state=0).fit_transform(
        np.log1p(adata.X if isinstance(adata.X, np.ndarray) else adata.X.toarray())
    )
    rows = np.arange(adata.n_obs) if leak else np.flatnonzero(adata.obs["split"] == "train")
    distance, nearest = NearestNeighbors(n_neighbors=k + 1).fit(Z[rows]).kneighbors(Z)
    weights = weight(distance[:, 1:])
    case = (adata.obs["label"] == "case").to_numpy()[rows[nearest[:, 1:]]]
    return (weights * case).sum(axis=1) / weights.sum(axis=1)


@pytest.mark.parametrize("leak", [True, False])
@pytest.mark.parametrize("effect", [0.0, 0.3])
def test_shares_of_a_class_among_neighbours(leak, effect):
    """The libraries are islands: most neighbours are cells of the same library."""
    adata = simulated(fingerprint=0.6, n_cells=25, effect=effect)
    adata.obs["score"] = share_of_neighbours(adata, leak=leak)
    (row,) = said(adata, "disguised_label").itertuples()
    assert row.status == ("fail" if leak else "pass")
    if leak:
        assert "test cells are among the neighbours" in row.finding


def mixed(seed=0, n_libraries=20, n_cells=60):
    """Libraries that mix: all cells lie in the same six dimensions."""
    adata = simulated(seed, n_libraries=n_libraries, n_cells=n_cells, n_genes=100)
    rng = np.random.default_rng(seed)
    names = np.unique(adata.obs["library"])
    shift = dict(zip(names, rng.normal(0, 0.4, (len(names), 6)), strict=True))
    state = rng.normal(0, 1, (adata.n_obs, 6)) + np.array([shift[name] for name in adata.obs["library"]])
    rate = np.exp(state @ rng.normal(0, 0.5, (6, adata.n_vars)))
    adata.X = rng.poisson(5000 * rate / rate.sum(axis=1, keepdims=True)).astype(np.float32)
    return adata


WEIGHTS = {"inverse": lambda d: 1 / d, "gaussian": lambda d: np.exp(-((d / d.mean()) ** 2))}


@pytest.mark.parametrize("leak", [True, False])
@pytest.mark.parametrize("weight", WEIGHTS)
def test_weighted_averages_of_the_labels_of_neighbours(leak, weight):
    adata = mixed()
    score = share_of_neighbours(adata, leak=leak, k=12, weight=WEIGHTS[weight])
    adata.obs["score"] = np.log((score + 0.05) / (1.05 - score))
    (row,) = said(adata, "disguised_label").itertuples()
    assert row.status == ("fail" if leak else "pass")


def test_labels_spread_over_a_graph():
    """Connectivities of all cells times the label, in one step and in three steps, as columns of obsm."""
    adata = mixed(n_libraries=28, n_cells=40)
    adata.obsm["X_pca"] = PCA(6, random_state=0).fit_transform(np.log1p(adata.X))
    sc.pp.neighbors(adata, n_neighbors=10, use_rep="X_pca", method="gauss", transformer="sklearn")  # compiles nothing
    case = (adata.obs["label"] == "case").to_numpy(dtype=float)
    steps = adata.obsp["connectivities"]
    adata.obsm["scores"] = np.stack([steps @ case, steps @ (steps @ (steps @ case))], axis=1)
    found = said(adata, "disguised_label").set_index("subject")["status"].astype(str)
    assert found.to_dict() == {"obsm['scores'][:, 0]": "fail", "obsm['scores'][:, 1]": "fail"}


@pytest.mark.parametrize("seed", range(3))
def test_expression_of_neighbours_is_no_alarm(seed):
    """The label has an effect on a score of genes, so the score of neighbours follows it too."""
    adata = mixed(seed)
    adata.X[(adata.obs["label"] == "case").to_numpy(), :20] *= 2
    Z = PCA(10, random_state=0).fit_transform(np.log1p(adata.X))
    adata.obs["score"] = np.log1p(adata.X[:, :20]).mean(axis=1)
    adata.obs["smooth"] = adata.obs["score"].to_numpy()[NearestNeighbors(n_neighbors=9).fit(Z).kneighbors(Z)[1]].mean(1)
    adata.obsm["X_pca"] = Z
    assert said(adata, "disguised_label")["status"].tolist() == ["pass"]


def test_few_test_units_cannot_decide_about_neighbours():
    adata = mixed(n_libraries=8)
    adata.obs["score"] = share_of_neighbours(adata, leak=True, weight=WEIGHTS["inverse"])
    assert said(adata, "disguised_label")["status"].tolist() == ["unidentifiable"]


def test_few_false_alarms():
    """The level is 1 % for all columns together. Here are 20 splits with 8 columns each."""
    raised = 0
    for seed in range(20):
        adata = simulated(seed, n_cells=3, effect=1.0)
        rng = np.random.default_rng(seed)
        for j in range(3):
            numbers, names = rng.normal(size=20), rng.integers(3, size=20).astype(str)
            adata.obs[f"number{j}"] = each_library(adata, lambda i, case, values=numbers: values[i])
            adata.obs[f"category{j}"] = each_library(adata, lambda i, case, values=names: values[i])
        adata.obs["sample"] = adata.obs["library"].to_numpy()
        adata.obsm["X_pca"] = PCA(5).fit_transform(adata.X.toarray())
        raised += said(adata, "disguised_label")["status"].isin(["fail", "warn"]).any()
    assert raised <= 2


def test_columns_of_heldout_and_of_the_split_are_not_judged():
    adata = simulated(effect=1.0)
    ho.tl.genotype(adata, "label", method="pseudobulk_logistic")
    adata.obs["other_split"] = adata.obs["split"].astype(str).to_numpy()
    assert said(adata, "disguised_label")["status"].tolist() == ["not run"]


def test_the_order_of_cells_changes_nothing():
    adata = simulated(fingerprint=0.6, n_cells=25)
    adata.obs["score"] = share_of_neighbours(adata, leak=True)
    adata.obs["date"] = each_library(adata, DISGUISES["dates"][0])
    other = adata[np.random.default_rng(0).permutation(adata.n_obs)].copy()
    first, second = (said(data, "disguised_label") for data in (adata, other))
    assert first["status"].tolist() == second["status"].tolist() == ["fail", "fail"]
    np.testing.assert_allclose(first["value"], second["value"], rtol=1e-4)


def test_one_class_is_not_run():
    adata = simulated()
    adata.obs["label"] = "case"
    assert said(adata, "disguised_label")["status"].tolist() == ["not run"]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["2020-01-03", "2020-02-01"], "date"),
        (["3 Jan 2020", None], "date"),
        (["20200103", "20200201"], "date"),
        (["1.5", "2"], "number"),
        ([1, None], "number"),
        (["a", "2"], "category"),
        ([True, False], "category"),
        ([None, None], "category"),
    ],
)
def test_kinds_of_columns(values, kind):
    assert ordered(pd.Series(values))[0] == kind


def test_shares():
    assert is_share(np.array([0, 0.2, 0.4, 1])) == 5
    assert is_share(np.array([0, 1.0])) is None
    assert is_share(np.array([0, 0.5, 1.5])) is None
    assert is_share(np.random.default_rng(0).random(50)) is None
