"""What depth and quality alone say of the label, and the exchange of labels behind its p-value."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from sklearn.metrics import roc_auc_score

import heldout as ho
from heldout.auditing._exchange import p_value
from heldout.auditing._words import many
from heldout.auditing.nuisance import _recovered
from heldout.metrics.labellings import count_labellings, labellings
from heldout.metrics.several_classes import class_aucs
from tests.helpers.leaks import case_of
from tests.helpers.libraries import by_cell, by_library, libraries, said


def test_depth_that_follows_the_label_is_told():
    (row,) = said(by_library(libraries(0, depth_by_label=2.0)), "nuisance").itertuples()
    assert row.status == "warn"
    assert row.value == 1.0
    assert (
        "the depth, the number of genes and the mitochondrial share alone predicts the test set with AUC 1.00 over "
        "libraries" in row.finding
    )
    assert "p = 0.029" in row.finding  # 2 of the 70 labellings of four against four


def test_few_test_units_are_answered_from_train():
    adata = by_library(libraries(0, depth_by_label=2.0), test=0.25)
    (row,) = said(adata, "nuisance").itertuples()
    assert row.status == "warn"
    assert "predicts each train library from the others" in row.finding


def test_units_on_both_sides_are_answered_from_train():
    (row,) = said(by_cell(libraries(0)), "nuisance").itertuples()
    assert row.status == "pass"
    assert "predicts each train library" in row.finding


def test_too_few_units_are_unidentifiable():
    (row,) = said(by_library(libraries(0, n_libraries=6), test=0.34), "nuisance").itertuples()
    assert row.status == "unidentifiable"


def test_paired_samples_are_compared_within_donors():
    adata = libraries(0, depth_by_label=1.0)
    name = adata.obs.groupby(["label"])["library"].transform(lambda x: pd.factorize(x, sort=True)[0])
    adata.obs["donor"] = [f"D{i}" for i in name]
    by_cell(adata)
    (row,) = said(adata, "nuisance", group_key="donor").itertuples()
    assert row.status == "warn"
    assert "samples (donor and label)" in row.finding


def test_normalised_values_keep_the_depth():
    """The depth is read from obs, or else from the smallest value of each cell, which is one molecule."""
    adata = by_library(libraries(0, depth_by_label=2.0))
    depth, single = np.ravel(adata.X.sum(axis=1)), (adata.X.toarray() == 1).any(axis=1)
    sc.pp.calculate_qc_metrics(adata, percent_top=None, inplace=True)
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    assert said(adata, "nuisance")["status"].tolist() == ["warn"]
    adata.obs = adata.obs.drop(columns=["total_counts", "n_genes_by_counts"])
    (row,) = said(adata, "nuisance").itertuples()
    assert row.status == "warn"
    assert "the depth and the number of genes alone" in row.finding
    recovered = _recovered(case_of(adata))
    assert single.mean() > 0.9
    np.testing.assert_allclose(recovered["total_counts"][single], depth[single], rtol=1e-3)


@pytest.mark.parametrize("leak", [True, False])
def test_cells_filtered_by_a_threshold_for_each_class(leak):
    adata = by_library(libraries(1, n_libraries=24))
    depth, case = np.ravel(adata.X.sum(axis=1)), (adata.obs["label"] == "case").to_numpy()
    if leak:
        adata = adata[np.where(case, depth > np.quantile(depth, 0.3), depth < np.quantile(depth, 0.7))].copy()
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    assert said(adata, "nuisance")["status"].tolist() == ["warn" if leak else "pass"]


def test_three_classes():
    adata = libraries(0, n_libraries=24, depth_by_label=2.0)
    names = sorted(adata.obs.loc[adata.obs["label"] == "case", "library"].unique())
    adata.obs.loc[adata.obs["library"].isin(names[:6]), "label"] = "other"
    (row,) = said(by_library(adata), "nuisance").itertuples()
    assert 0.5 < row.value < 1


def test_a_model_that_is_no_better_is_named():
    adata = by_library(libraries(0, depth_by_label=2.0))
    ho.tl.genotype(adata, "label", method="qc_logistic", key_added="poor")
    ho.tl.evaluate(adata, "poor", baselines=["majority"], n_bootstrap=20)
    (row,) = said(adata, "nuisance").itertuples()
    assert "Fit 'poor' has AUC 1.00" in row.finding


@pytest.mark.parametrize("codes", [[0, 0, 1, 1], [0, 1, 1, 2], [1, 1, 1], [0, 2, 1, 0, 2]])
def test_all_labellings_are_found_once(codes):
    found, exact = labellings(np.array(codes), np.zeros(len(codes), dtype=int), np.random.default_rng(0))
    assert exact
    assert sorted(map(tuple, found.tolist())) == sorted(set(permutations(codes)))


def test_labels_stay_within_blocks():
    codes, blocks = np.array([0, 1, 0, 1, 0, 0]), np.array([0, 0, 1, 1, 2, 2])
    found, _ = labellings(codes, blocks, np.random.default_rng(0))
    assert len(found) == count_labellings(codes, blocks) == 4
    drawn, exact = labellings(codes, blocks, np.random.default_rng(0), limit=3)
    assert not exact
    assert drawn[0].tolist() == codes.tolist()
    for rows in (drawn, found):
        assert (rows[:, :2].sum(axis=1) == 1).all()
        assert (rows[:, 4:] == 0).all()


def test_drawn_labellings_are_even():
    codes = np.repeat([0, 1], 12)
    drawn, exact = labellings(codes, np.zeros(24, dtype=int), np.random.default_rng(0), limit=5000)
    assert not exact
    assert (drawn.sum(axis=1) == 12).all()
    np.testing.assert_allclose(drawn.mean(axis=0), 0.5, atol=0.04)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_aucs_are_those_of_scikit_learn(n_classes):
    rng = np.random.default_rng(0)
    labels = np.stack([rng.permutation(np.arange(15) % n_classes) for _ in range(4)])
    scores = rng.integers(0, 6, (n_classes, 15)).astype(float)
    scored = [1] if n_classes == 2 else range(3)
    expected = [np.mean([roc_auc_score(row == c, scores[c]) for c in scored]) for row in labels]
    np.testing.assert_allclose(class_aucs(scores, labels, n_classes), expected)


def test_p_value_counts_ties():
    assert p_value(2.0, np.array([1.0, 2.0, 2.0, 3.0])) == 0.75


def test_plural():
    assert [many(n) for n in ("library", "donor", "day", "batch", "sample_id")] == [
        "libraries",
        "donors",
        "days",
        "batches",
        "groups (sample_id)",
    ]
