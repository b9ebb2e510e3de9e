"""Fingerprint, random labels, the leakage gap and shift: on simulations with known answers."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy import sparse
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score

import heldout as ho
from heldout.auditing._linear import FoldComponents, column_aucs, ridge_scores
from heldout.auditing.leakage_gap import _between
from heldout.auditing.shift import explained
from tests.helpers.libraries import by_cell, by_library, libraries, said


def one(adata, item, **options):
    return next(said(adata, item, **options).itertuples())


def test_a_fingerprint_is_no_leak_while_libraries_stay_whole():
    row = one(by_library(libraries(0)), "fingerprint")
    assert row.status == "pass"
    assert row.value > 0.6
    assert "None of the libraries is on both sides" in row.finding


def test_a_fingerprint_is_a_leak_where_libraries_cross():
    row = one(by_cell(libraries(0)), "fingerprint")
    assert row.status == "fail"
    assert row.subject == "library"
    assert "16 of 16" in row.finding
    assert "split_groups" in row.advice


@pytest.mark.parametrize("seed", range(5))
def test_libraries_that_are_alike_have_no_fingerprint(seed):
    adata = libraries(seed, fingerprint=0.0, n_days=1)
    rng = np.random.default_rng(seed)  # dealt anew, so that not even the depth differs
    adata.obs["library"] = rng.permutation([f"L{i % 16}" for i in range(adata.n_obs)])
    row = one(by_cell(adata), "fingerprint", label_key=None)
    assert row.status == "pass"
    assert row.value < 0.12
    assert "Little or no fingerprint" in row.finding


def test_libraries_of_different_days_are_not_compared():
    adata = by_library(libraries(0, fingerprint=0.0, n_days=2))
    within, across = one(adata, "fingerprint", match_key="day"), one(adata, "fingerprint")
    assert within.value < within.threshold
    assert across.value > 1.3 * across.threshold  # days name libraries


def test_random_labels_are_predicted_only_where_libraries_cross():
    crossing, whole = (one(make(libraries(0)), "random_labels") for make in (by_cell, by_library))
    assert (crossing.status, whole.status) == ("fail", "pass")
    assert crossing.value > 0.65
    assert abs(whole.value - 0.5) < 0.1


def test_random_labels_of_cells_that_are_alike_are_not_predicted():
    row = one(by_cell(libraries(0, fingerprint=0.0, n_days=1)), "random_labels")
    assert row.status == "pass"


def test_the_gap_is_shown_and_fails_only_where_libraries_cross():
    whole, crossing = (said(make(libraries(0)), "leakage_gap", match_key="day") for make in (by_library, by_cell))
    assert set(whole["status"]) == {"pass"}
    assert crossing["status"].tolist() == ["fail", "pass", "pass", "pass"]
    assert crossing["subject"].tolist() == ["", "cells", "libraries", "libraries and day"]
    np.testing.assert_allclose(
        whole["value"], crossing["value"], atol=0.08
    )  # folds are its own, not those of the split
    value = crossing.set_index("subject")["value"]
    assert value[""] == pytest.approx(value["cells"] - value["libraries"])
    assert "A split by cell gives an AUC that is" in crossing["finding"][0]


def test_a_true_effect_leaves_no_gap():
    table = said(by_cell(libraries(0, fingerprint=0.0, effect=0.5, n_days=1)), "leakage_gap")
    assert table["value"][1] > 0.9
    assert abs(table["value"][0]) < 0.05


def test_the_gap_of_paired_samples_holds_out_the_donor():
    adata = libraries(0, effect=0.3)
    adata.obs["donor"] = [f"D{int(i[1:]) // 2}" for i in adata.obs["library"]]
    table = said(by_cell(adata), "leakage_gap", group_key="donor")
    assert table["subject"].tolist() == ["", "cells", "donors"]
    assert "samples (donor and label)" in table["finding"][1]


def test_three_classes():
    adata = libraries(0, n_libraries=18, effect=0.3)
    names = sorted(adata.obs.loc[adata.obs["label"] == "case", "library"].unique())
    adata.obs.loc[adata.obs["library"].isin(names[:4]), "label"] = "other"
    table = said(by_cell(adata), "leakage_gap")
    assert table["value"][1] > table["value"][2] > 0


def test_a_class_with_one_library_does_not_run():
    row = one(by_cell(libraries(0, n_libraries=3)), "leakage_gap")
    assert row.status == "not run"
    assert "fewer than two" in row.finding


def shifted(size: float):
    """Test libraries with ten genes that are up by a factor of exp(size)."""
    adata = by_library(libraries(0, n_days=1))
    X = adata.X.toarray()
    X[np.ix_(adata.obs["split"] == "test", range(10))] *= np.exp(size)
    adata.X = sparse.csr_matrix(np.round(X))
    return adata


def test_a_shift_is_told_with_its_genes():
    row = one(shifted(2.5), "shift")
    assert row.status == "warn"
    assert row.value < 0.01
    assert sum(f"G{i}" in row.finding.split("largest in ")[1].rstrip(".").split(", ") for i in range(10)) == 5
    assert one(shifted(0.0), "shift").status == "pass"


def test_a_shift_that_was_asked_for_passes():
    adata = libraries(0, n_days=4)
    adata.obs["split"] = np.where(adata.obs["day"] == 3, "test", "train")
    assert one(adata, "shift").status != "pass" or one(adata, "shift").value > 0.05
    row = one(adata, "shift", match_key="day")
    assert row.status == "pass"
    assert "holds out day, so a shift is expected" in row.finding


def test_shift_of_few_libraries_is_unidentifiable():
    row = one(by_library(libraries(0, n_libraries=6, n_days=1), test=0.34), "shift")
    assert row.status == "unidentifiable"
    assert one(by_cell(libraries(0)), "shift").status == "not run"


def test_explained_is_the_share_of_a_regression():
    rng = np.random.default_rng(0)
    Y, strata = rng.normal(size=(9, 4)), np.array([0, 0, 0, 0, 1, 1, 1, 1, 1])
    test = np.array([1, 0, 0, 1, 0, 1, 0, 0, 0])
    null = np.column_stack([strata == 0, strata == 1]).astype(float)
    rss = [
        ((Y - design @ np.linalg.lstsq(design, Y)[0]) ** 2).sum() for design in (null, np.column_stack([null, test]))
    ]
    residual = Y - null @ np.linalg.lstsq(null, Y)[0]
    assert explained(residual @ residual.T, test[None], strata)[0] == pytest.approx(1 - rss[1] / rss[0])


def test_shift_is_exact_over_all_choices_of_test():
    adata = by_library(libraries(3, n_libraries=12, n_days=1))
    case_means = []
    units = sorted(adata.obs["library"].unique())
    X = adata.X.toarray()
    X = np.log1p(1e4 * X / X.sum(axis=1, keepdims=True))
    label = adata.obs.groupby("library")["label"].first()[units].to_numpy()
    test = (adata.obs.groupby("library")["split"].first()[units] == "test").to_numpy()
    for unit in units:
        case_means.append(X[adata.obs["library"] == unit].mean(axis=0))  # noqa: PERF401
    means = np.array(case_means)
    rate = np.array([(X[adata.obs["library"] == unit] > 0).mean(axis=0) for unit in units]).mean(axis=0)
    means = means[:, rate >= 0.05]
    for name in set(label):
        means[label == name] -= means[label == name].mean(axis=0)
    sd = means.std(axis=0)
    means /= sd + np.median(sd)

    def size(chosen: np.ndarray) -> float:
        z = chosen.astype(float)
        for name in set(label):
            z[label == name] -= z[label == name].mean()
        return ((z @ means) ** 2).sum()

    every = []
    sides = [np.flatnonzero(label == name) for name in sorted(set(label))]
    for a in combinations(sides[0], test[sides[0]].sum()):
        for b in combinations(sides[1], test[sides[1]].sum()):
            chosen = np.zeros(len(units), dtype=bool)
            chosen[[*a, *b]] = True
            every.append(size(chosen))
    expected = np.mean(np.array(every) >= size(test) * (1 - 1e-6))
    assert one(adata, "shift").value == pytest.approx(expected)


def test_components_of_a_fold_are_those_of_its_train_cells():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 8)) * np.arange(1, 9)
    folds, dropped = rng.integers(-1, 3, 60), rng.random(60) < 0.2
    found = FoldComponents(X, folds, n_comps=3).coordinates(1, dropped & (folds != 1))
    fitted = PCA(3).fit(X[(folds != 1) & ~dropped])
    np.testing.assert_allclose(np.abs(found), np.abs(fitted.transform(X)), atol=1e-3)


def test_between_counts_all_pairs():
    rng = np.random.default_rng(0)
    score, positive, group = rng.integers(0, 5, 40).astype(float), rng.random(40) < 0.5, rng.integers(0, 3, 40)
    wins, pairs = _between(score, positive, group, 3)
    assert wins.sum() / pairs.sum() == pytest.approx(roc_auc_score(positive, score))
    inside = (positive & (group == 0)) | (~positive & (group == 2))
    assert wins[0, 2] / pairs[0, 2] == pytest.approx(roc_auc_score(positive[inside], score[inside]))


def test_many_discriminants_at_once_are_each_of_them():
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(50, 4)), rng.choice([-1.0, 1.0], (50, 3))
    found = ridge_scores(X, Y, X)
    for column, target in zip(found.T, Y.T, strict=True):
        np.testing.assert_allclose(column, ridge_scores(X, target[:, None], X)[:, 0])
    np.testing.assert_allclose(column_aucs(found, Y), [roc_auc_score(Y[:, i], found[:, i]) for i in range(3)])


@pytest.mark.parametrize("item", ["single_genes", "nuisance", "effective_size", "fingerprint", "random_labels"])
def test_without_a_group_it_does_not_run(item):
    adata = libraries(0, n_libraries=4)
    ho.pp.split_cells(adata)
    row = one(adata, item, group_key=None)
    assert row.status == "not run"
    assert "group_key" in row.finding


ITEMS = ["single_genes", "nuisance", "effective_size", "fingerprint", "random_labels", "leakage_gap", "shift"]


@pytest.mark.parametrize("item", ITEMS)
def test_the_order_of_the_cells_does_not_matter(item):
    adata = by_library(libraries(0))
    shuffled = adata[np.random.default_rng(0).permutation(adata.n_obs)].copy()
    before, after = (said(a, item, n_cells=300) for a in (adata, shuffled))
    assert before["status"].astype(str).tolist() == after["status"].astype(str).tolist()
    np.testing.assert_allclose(before["value"], after["value"], atol=2e-3)


def test_clean_data_raise_no_alarm():
    raised = dict.fromkeys(ITEMS, 0)
    for seed in range(20):
        adata = by_library(libraries(seed, n_libraries=16, n_cells=30, n_genes=60), rng=1000 + seed)
        table = ho.tl.audit(adata, "library", "label", items=ITEMS, rng=seed)
        for item in set(table.loc[table["status"].isin(["warn", "fail"]), "item"]):
            raised[item] += 1
    assert {item for item, n in raised.items() if n} <= {"nuisance", "shift"}
    assert max(raised.values()) <= 4  # 5 in 20 have a chance of 0.003 at a rate of 0.05
