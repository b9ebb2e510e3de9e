"""The audit finds genes that were chosen by the label on test cells, and is silent on genes chosen on train."""

from __future__ import annotations

import numpy as np
import pytest
import scanpy as sc
from scipy import sparse, stats
from sklearn.feature_selection import f_classif

import heldout as ho
from heldout.auditing._selectors import rank_sums, scores
from heldout.auditing._sums import UnitSums
from tests.helpers.libraries import by_cell, by_library, libraries, said


def lognormalised(adata):
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    return adata


def simulated(seed=0, **options):
    return lognormalised(by_library(libraries(seed, n_genes=300, **options)))


def cells_of(adata, *, leak):
    return np.ones(adata.n_obs, bool) if leak else (adata.obs["split"] == "train").to_numpy()


def t_scores(X, inside):
    return stats.ttest_ind(X[inside], X[~inside], equal_var=False).statistic


def u_scores(X, inside):
    return stats.mannwhitneyu(X[inside], X[~inside]).statistic - inside.sum() * (~inside).sum() / 2


def pseudobulk_scores(adata, X, rows):
    names = adata.obs["library"].to_numpy()[rows]
    means = {name: X[names == name].mean(axis=0) for name in np.unique(names)}
    label = adata.obs.groupby("library")["label"].first()
    case = np.array([label[name] == "case" for name in means])
    return t_scores(np.array(list(means.values())), case)


def choose(adata, how, *, leak, n=30):
    """Mark the genes that follow the label most."""
    rows = cells_of(adata, leak=leak)
    X, inside = adata.X.toarray()[rows], (adata.obs["label"] == "case").to_numpy()[rows]
    if how == "pseudobulk":
        score = pseudobulk_scores(adata, X, rows)
    else:
        score = {"t": t_scores, "wilcoxon": u_scores, "F": lambda X, y: f_classif(X, y)[0]}[how](X, inside)
    adata.var["chosen"] = np.abs(score) >= np.sort(np.abs(score))[-n]
    return adata


@pytest.mark.parametrize("how", ["t", "wilcoxon", "F", "pseudobulk"])
def test_genes_chosen_by_the_label_on_all_cells(how):
    (row,) = said(choose(simulated(), how, leak=True), "label_selection").itertuples()
    assert row.status == "fail"
    assert row.subject == "var['chosen']"
    assert row.value > 0.9
    assert "test included" in row.finding


@pytest.mark.parametrize("how", ["t", "wilcoxon", "F", "pseudobulk"])
@pytest.mark.parametrize("effect", [0.0, 0.5])
def test_genes_chosen_on_train_are_silent(how, effect):
    adata = choose(simulated(effect=effect), how, leak=False)
    assert said(adata, "label_selection")["status"].tolist() == ["pass"]


def test_few_false_alarms_on_genes_chosen_without_test():
    """The level is 1 %: genes at random, the most variable genes, and genes by an unknown rule on train."""
    raised = 0
    for seed in range(6):
        adata = simulated(seed, n_cells=15, effect=0.3)
        rng = np.random.default_rng(seed)
        X, train = adata.X.toarray(), cells_of(adata, leak=False)
        adata.var["random"] = rng.permutation(300) < 40
        adata.var["variable"] = X.var(axis=0) > np.quantile(X.var(axis=0), 0.8)
        unknown = t_scores(X[train], (adata.obs["label"] == "case").to_numpy()[train]) + rng.normal(0, 1, 300)
        adata.var["unknown"] = unknown > np.quantile(unknown, 0.9)
        raised += (said(adata, "label_selection")["status"] != "pass").sum()
    assert raised <= 1


@pytest.mark.parametrize("method", ["t-test", "t-test_overestim_var"])
@pytest.mark.parametrize("leak", [True, False])
def test_the_record_of_scanpy_names_the_cells(method, leak):
    adata = simulated(effect=0.3)
    ranked = adata if leak else adata[cells_of(adata, leak=False)].copy()
    ranked.obs["label"] = ranked.obs["label"].astype("category")
    sc.tl.rank_genes_groups(ranked, "label", method=method)
    adata.uns["rank_genes_groups"] = ranked.uns["rank_genes_groups"]
    (row,) = said(adata, "label_selection").itertuples()
    assert row.status == ("warn" if leak else "pass")
    names = adata.uns["rank_genes_groups"]["names"]["case"]
    adata = adata[:, adata.var_names.isin([*names[:20], *names[-20:]])].copy()
    (row,) = said(adata, "label_selection").itertuples()
    assert row.status == ("fail" if leak else "pass")


def test_a_record_by_clusters_is_not_of_the_label():
    adata = simulated()
    adata.obs["cluster"] = (np.arange(adata.n_obs) % 3).astype(str)
    adata.obs["cluster"] = adata.obs["cluster"].astype("category")
    sc.tl.rank_genes_groups(adata, "cluster")
    assert said(adata, "label_selection")["status"].tolist() == ["not run"]


@pytest.mark.parametrize("leak", [True, False])
def test_genes_that_were_removed_are_read_from_raw(leak):
    adata = choose(simulated(), "t", leak=leak)
    adata.raw = adata
    adata = adata[:, adata.var.pop("chosen").to_numpy()].copy()
    (row,) = said(adata, "label_selection").itertuples()
    assert row.status == ("fail" if leak else "pass")
    assert row.subject == "genes of X among those of raw"


def test_genes_that_are_gone_are_not_called_clean():
    adata = choose(simulated(), "t", leak=True)
    adata = adata[:, adata.var.pop("chosen").to_numpy()].copy()
    (row,) = said(adata, "label_selection").itertuples()
    assert row.status == "not run"
    assert "cannot be seen" in row.finding


def test_two_test_units_are_decided_by_the_exact_choice():
    adata = lognormalised(by_library(libraries(0, n_genes=300), test=0.2))
    (row,) = said(choose(adata, "t", leak=True), "label_selection").itertuples()
    assert row.status == "fail"


def test_cells_on_both_sides():
    adata = lognormalised(by_cell(libraries(0, n_genes=300)))
    (row,) = said(choose(adata, "F", leak=False), "label_selection").itertuples()
    assert row.status == "pass"


def test_the_order_of_cells_and_the_kind_of_matrix_change_nothing(any_array_type):
    adata = choose(simulated(n_cells=15), "F", leak=True)
    expected = said(adata, "label_selection")
    other = adata[np.random.default_rng(0).permutation(adata.n_obs)].copy()
    other.X = any_array_type(other.X.toarray())
    found = said(other, "label_selection")
    assert found["status"].tolist() == expected["status"].tolist() == ["fail"]
    np.testing.assert_allclose(found["value"], expected["value"])


@pytest.mark.parametrize("kind", [np.asarray, sparse.csc_matrix, sparse.csr_array])
def test_selectors_are_those_of_scipy_and_scikit_learn(kind):
    rng = np.random.default_rng(0)
    X = rng.poisson(0.7, (60, 8)) * rng.normal(1, 1, (60, 8)).round(1)
    unit, inside = np.arange(60) % 6, np.arange(60) % 2 == 0
    parts = [np.array([part[unit == u].sum(axis=0) for u in range(6)]) for part in (X != 0, X, X**2)]
    members = (np.arange(6) % 2 == np.array([[0], [1]]))[None].astype(float)
    found = {name: score[0, 0] for name, score in scores(UnitSums(np.full(6, 10), *parts), members)}
    np.testing.assert_allclose(found["t test"], t_scores(X, inside))
    np.testing.assert_allclose(found["F test"] ** 2, f_classif(X, inside)[0])
    means = np.array([X[unit == u].mean(axis=0) for u in range(6)])
    np.testing.assert_allclose(found["pseudobulk t test"], t_scores(means, np.arange(6) % 2 == 0))
    sums, spread = rank_sums(kind(X), unit, 6)
    ranks = stats.rankdata(X, axis=0)
    np.testing.assert_allclose(sums, [(ranks[unit == u] - 30.5).sum(axis=0) for u in range(6)], atol=1e-9)
    np.testing.assert_allclose(spread, ranks.std(axis=0))


def test_three_classes():
    adata = simulated()
    names = sorted(adata.obs.loc[adata.obs["label"] == "case", "library"].unique())
    adata.obs.loc[adata.obs["library"].isin(names[::2]), "label"] = "other"
    for leak in (True, False):
        rows = cells_of(adata, leak=leak)
        score = f_classif(adata.X.toarray()[rows], adata.obs["label"].to_numpy()[rows])[0]
        adata.var["chosen"] = score >= np.sort(score)[-30]
        (row,) = said(adata, "label_selection").itertuples()
        assert row.status == ("fail" if leak else "pass")


def test_the_test_set_needs_cells():
    adata = libraries(0)
    ho.pp.split_assigned(adata, "library", train=sorted(adata.obs["library"].unique()))
    assert said(adata, "label_selection")["status"].tolist() == ["not run"]
