"""The audit finds test sets that were chosen by results, and is silent on honest ones."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge

import heldout as ho
from heldout.auditing._margins import left_out_scores
from tests.helpers.libraries import by_cell, by_library, libraries, said


def simulated(seed=0, *, effect=0.0, **options):
    options = {"n_libraries": 24, "n_cells": 60, "n_genes": 150, **options}
    return by_library(libraries(seed, effect=effect, **options), test=0.4, rng=seed)


def log_values(adata):
    counts = adata.X.toarray()
    return np.log1p(counts / counts.sum(axis=1, keepdims=True) * 1e4)


def dropped(adata):
    """Drop test cells that a logistic regression of the train cells gets wrong."""
    X, label, train = log_values(adata), adata.obs["label"].to_numpy(), (adata.obs["split"] == "train").to_numpy()
    right = LogisticRegression(C=0.01, max_iter=1000).fit(X[train], label[train]).predict(X) == label
    return adata[train | right].copy()


def judged(adata, **options):
    (row,) = said(adata, "too_good", **options).itertuples()
    return row


@pytest.mark.parametrize("seed", range(3))
def test_dropped_cells(seed):
    row = judged(dropped(simulated(seed)))
    assert row.status == "warn"
    assert "cells that a model got wrong may have been removed from test" in row.finding
    assert row.value <= row.threshold == 0.01


def test_easy_units():
    """Hold out the libraries of each class that models of the other libraries predict best."""
    adata = simulated(n_libraries=30, n_cells=40)
    X, label = log_values(adata), adata.obs["label"].to_numpy()
    right = {}
    for name, inside in adata.obs.groupby("library").indices.items():
        train = np.setdiff1d(np.arange(adata.n_obs), inside)
        model = LogisticRegression(C=0.01, max_iter=1000).fit(X[train], label[train])
        right[name] = float((model.predict(X[inside]) == label[inside]).mean())
    of_library = adata.obs.groupby("library")["label"].first()
    easiest = [name for _, names in of_library.groupby(of_library) for name in sorted(names.index, key=right.get)[-6:]]
    adata.obs["side"] = np.where(adata.obs["library"].isin(easiest), "test", "train")
    row = judged(adata, split_key="side")
    assert row.status == "warn"
    assert "easy libraries may have been chosen for test" in row.finding


@pytest.mark.parametrize("effect", [0.0, 0.1, 1.0])
def test_honest_splits_are_silent(effect):
    """The level is 1 %, so that two alarms in 20 splits are unlikely."""
    found = [judged(simulated(seed, effect=effect, n_cells=30)) for seed in range(20)]
    assert {row.status for row in found} <= {"pass", "warn"}
    assert sum(row.status == "warn" for row in found) <= 1


def test_train_that_is_easier_is_no_alarm():
    adata = dropped(simulated())
    adata.obs["side"] = adata.obs["split"].map({"train": "test", "test": "train"})
    assert judged(adata, split_key="side").status == "pass"


def test_three_classes():
    adata = simulated(n_libraries=30)
    number = adata.obs["library"].astype("category").cat.codes.to_numpy()
    adata.obs["label"] = np.array(["a", "b", "c"])[number % 3]
    ho.pp.split_groups(adata, "library", label_key="label", test=0.4, val=0, rng=0)
    assert judged(adata).status == "pass"
    assert judged(dropped(adata)).status == "warn"


def test_few_units_cannot_decide():
    assert judged(by_library(libraries(0, n_libraries=8))).status == "unidentifiable"


@pytest.mark.parametrize("design", ["crossing", "paired", "day", "covariate", "no test"])
def test_designs_that_cannot_be_compared_are_not_run(design):
    adata, options = simulated(n_cells=20), {}
    if design == "crossing":
        by_cell(adata)
    elif design == "paired":
        adata.obs["donor"] = adata.obs.groupby("label")["library"].transform(lambda x: x.factorize(sort=True)[0])
        ho.pp.split_groups(adata, "donor", test=0.4, val=0)
        options = {"group_key": "donor"}
    elif design == "day":
        ho.pp.split_matched(adata, "library", "day", label_key="label", test=1, val=())
    elif design == "covariate":
        ho.pp.split_matched(adata, "library", "day", label_key="label", test=1, val=())
        adata.uns.clear()
        adata.obs["day"] = adata.obs["day"].map({0: "first", 1: "second"})
        options = {"covariate_keys": "day"}
    else:
        adata.obs["split"] = "train"
    row = judged(adata, **options)
    assert row.status == "not run"
    assert row.finding.endswith(".")


def test_the_order_of_cells_and_the_kind_of_matrix_change_nothing(any_array_type):
    adata = dropped(simulated(1, n_cells=40))
    expected = judged(adata)
    other = adata[np.random.default_rng(0).permutation(adata.n_obs)].copy()
    other.X = any_array_type(other.X.toarray())
    found = judged(other)
    assert found.status == expected.status
    assert found.value == pytest.approx(expected.value, abs=0.004)


def test_left_out_scores_are_those_of_models_without_the_unit_and_one_of_each_other_class():
    rng = np.random.default_rng(0)
    Z, unit, train = rng.normal(size=(60, 8)), np.repeat(np.arange(6), 10), np.arange(60) < 50
    targets = np.eye(2)[unit % 2]
    found = left_out_scores(Z, targets, unit, train, 0.5)
    for scored, together in {0: [0, 1], 1: [0, 1], 2: [2, 3], 3: [2, 3], 4: [4, 1], 5: []}.items():
        fitted = train & ~np.isin(unit, together)
        model = Ridge(alpha=0.5 * 50).fit(Z[fitted], targets[fitted])
        inside = unit == scored
        prior = targets[train].mean(axis=0) - targets[fitted].mean(axis=0)
        np.testing.assert_allclose(found[inside], model.predict(Z[inside]) + prior, atol=1e-10)
