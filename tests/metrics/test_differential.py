"""Differential expression against scipy and scanpy, for each kind of matrix."""

from __future__ import annotations

import inspect
import sys

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse, stats

from heldout import metrics
from tests.helpers.properties import properties

GROUPS = ["A", "B", "C"]
TESTS = ["wilcoxon", "t", "t_overestimated"]
each_test = pytest.mark.parametrize("test", TESTS)


def log_counts(seed: int, n: int = 60, n_genes: int = 20, *, depth: float = 1.0) -> np.ndarray:
    """Log-normalised counts with many zeros and ties. Gene 0 is all zero, gene 1 is constant, gene 2 has no zero."""
    rng = np.random.default_rng(seed)
    X = np.log1p(rng.poisson(depth * rng.gamma(1.0, size=n_genes), size=(n, n_genes)).astype(float))
    X[:, 0], X[:, 1], X[:, 2] = 0, 0.7, rng.gamma(2.0, size=n) + 0.1
    return X


@pytest.fixture(scope="module")
def cells():
    """Cells of three perturbations and of the controls."""
    X, control = log_counts(0), log_counts(1, n=45)
    X[:20, 5:9] += 0.8
    return X, np.repeat([0, 1, 2], [20, 25, 15]), control


@pytest.fixture(scope="module")
def varying(cells):
    """The same without the two constant genes, which scipy and scanpy warn of."""
    X, codes, control = cells
    return X[:, 2:], codes, control[:, 2:]


@pytest.fixture
def interpreted(monkeypatch):
    """The ranks of scanpy as plain Python: numba would compile them for half a minute, and the cells are few."""
    module = sys.modules[sc.tl.rank_genes_groups.__module__]
    for name in ("rankdata", "_tiecorrect"):
        monkeypatch.setattr(module, name, inspect.unwrap(getattr(module, name)))


def scanpy(cells, method, **options):
    X, codes, control = cells
    names = [GROUPS[c] for c in codes] + ["control"] * len(control)
    adata = ad.AnnData(
        np.concatenate([X, control]), obs=pd.DataFrame({"group": names}, index=map(str, range(len(names))))
    )
    adata.obs["group"] = adata.obs["group"].astype("category")
    sc.tl.rank_genes_groups(adata, "group", groups=GROUPS, reference="control", method=method, **options)
    tables = [sc.get.rank_genes_groups_df(adata, g).set_index("names").loc[adata.var_names] for g in GROUPS]
    return [np.stack([t[c] for t in tables]) for c in ("scores", "logfoldchanges", "pvals", "pvals_adj")]


@pytest.mark.parametrize(("tie_correct", "continuity"), [(True, True), (False, True), (True, False), (False, False)])
def test_wilcoxon_equals_scipy(cells, tie_correct, continuity):
    X, codes, control = cells
    ours = metrics.differential(X, control, groups=codes, tie_correct=tie_correct, continuity=continuity)
    varies = np.arange(20) > 1
    for g in range(3):
        found = stats.mannwhitneyu(X[codes == g], control, method="asymptotic", use_continuity=continuity)
        if tie_correct:
            np.testing.assert_allclose(ours.p_value[g, varies], found.pvalue[varies], rtol=1e-9)
        n, m = int((codes == g).sum()), len(control)
        away = found.statistic - n * m / 2
        shrunk = np.sign(away) * np.maximum(np.abs(away) - 0.5 * continuity, 0)
        if not tie_correct:
            expected = shrunk / np.sqrt(n * m * (n + m + 1) / 12)
            np.testing.assert_allclose(ours.score[g, varies], expected[varies], rtol=1e-9, atol=1e-12)
        assert (ours.score[g, ~varies] == 0).all()
        assert (ours.p_value[g, ~varies] == 1).all()
        np.testing.assert_allclose(ours.p_adjusted[g], stats.false_discovery_control(ours.p_value[g]), rtol=1e-12)


@pytest.mark.parametrize("tie_correct", [True, False])
def test_wilcoxon_equals_scanpy(varying, interpreted, tie_correct):
    X, codes, control = varying
    ours = metrics.differential(X, control, groups=codes, tie_correct=tie_correct, continuity=False)
    for own, theirs in zip(ours, scanpy(varying, "wilcoxon", tie_correct=tie_correct), strict=True):
        np.testing.assert_allclose(own, theirs, rtol=1e-5, atol=1e-6)  # scanpy stores scores in float32


@pytest.mark.parametrize(("ours", "theirs"), [("t", "t-test"), ("t_overestimated", "t-test_overestim_var")])
def test_t_tests_equal_scanpy(varying, ours, theirs):
    X, codes, control = varying
    found = metrics.differential(X, control, groups=codes, test=ours)
    for own, other in zip(found, scanpy(varying, theirs), strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-5, atol=1e-6)
    welch = stats.ttest_ind(X[codes == 1], control, equal_var=False)
    if ours == "t":
        np.testing.assert_allclose(found.score[1], welch.statistic, rtol=1e-9)
        np.testing.assert_allclose(found.p_value[1], welch.pvalue, rtol=1e-9)


@each_test
def test_each_kind_of_matrix_gives_the_same(cells, array_type, test):
    X, codes, control = cells
    dense = metrics.differential(X, control, groups=codes, test=test)
    for first, second in ((X, array_type(control)), (array_type(X), array_type(control)), (array_type(X), control)):
        for own, expected in zip(metrics.differential(first, second, groups=codes, test=test), dense, strict=True):
            np.testing.assert_allclose(own, expected, rtol=1e-9, atol=1e-12)


@each_test
def test_a_group_alone_and_among_others(cells, test):
    X, codes, control = cells
    together = metrics.differential(X, control, groups=codes, test=test)
    for g in range(3):
        alone = metrics.differential(X[codes == g], control, test=test)
        for own, expected in zip(alone, together, strict=True):
            np.testing.assert_allclose(own, expected[g], rtol=1e-9, atol=1e-12)


@properties(20)
@given(seed=st.integers(0, 10_000), shift=st.sampled_from([0.0, -1.0]))
def test_wilcoxon_with_values_below_zero_ties_and_permutations(seed, shift):
    rng = np.random.default_rng(seed)
    X, control = (rng.integers(0, 4, size=(n, 6)) + shift for n in (9, 13))
    ours = metrics.differential(X, control)
    found = stats.mannwhitneyu(X, control, method="asymptotic")
    np.testing.assert_allclose(ours.p_value, found.pvalue, rtol=1e-9)
    rows, genes = rng.permutation(9), rng.permutation(6)
    moved = metrics.differential(X[rows][:, genes], control[::-1][:, genes])
    np.testing.assert_array_equal(moved.score, ours.score[genes])
    swapped = metrics.differential(control, X)
    np.testing.assert_allclose(swapped.score, -ours.score, atol=1e-12)


def test_stored_zeros_and_doubled_entries_are_what_they_add_up_to(cells):
    X, _, control = cells
    expected = metrics.differential(X, control)
    stored = sparse.csr_matrix(np.ones_like(X))
    stored.data[:] = X.ravel()
    halves = sparse.coo_matrix(X)
    doubled = sparse.csr_matrix(
        (np.repeat(halves.data / 2, 2), np.repeat(halves.col, 2), 2 * sparse.csr_matrix(X).indptr), X.shape
    )
    assert doubled.nnz == 2 * np.count_nonzero(X)
    for matrix in (stored, doubled):
        np.testing.assert_allclose(metrics.differential(matrix, control).score, expected.score, rtol=1e-12)
    assert doubled.nnz == 2 * np.count_nonzero(X)  # the caller's matrix is as it was


def test_single_and_double_precision_still_tie(cells):
    X, _, control = cells
    both = metrics.differential(X.astype(np.float32), control.astype(np.float32))
    mixed = metrics.differential(X.astype(np.float32), control)
    np.testing.assert_array_equal(mixed.score, both.score)


def test_fold_changes_are_of_means_of_logs_and_do_not_overflow():
    X, control = np.array([[1.0, 0.0, 800.0], [2.0, 0.0, 900.0]]), np.array([[0.5, 0.0, 0.0], [0.5, 0.0, 0.0]])
    change = metrics.differential(X, control, test="t").log_fold_change
    assert change[0] == pytest.approx(np.log2((np.expm1(1.5) + 1e-9) / (np.expm1(0.5) + 1e-9)), rel=1e-12)
    assert change[1] == 0
    below = metrics.differential(X - 3, control, test="t").log_fold_change  # no mean of log values is below 0
    assert below[1] == 0
    assert below[0] == pytest.approx(np.log2(1e-9) - np.log2(np.expm1(0.5) + 1e-9), rel=1e-12)
    assert change[2] == pytest.approx(850 / np.log(2) - np.log2(1e-9), rel=1e-9)


def test_t_scores_from_moments_are_those_from_cells(cells):
    X, codes, control = cells
    moments = {"control_mean": control.mean(0), "control_variance": control.var(0, ddof=1), "control_n": 45}
    moments["control_variance"][1] = 0  # a constant: rounding makes it 1e-32
    means, variances = (
        np.stack([getattr(X[codes == g], what)(0, **o) for g in range(3)])
        for what, o in (("mean", {}), ("var", {"ddof": 1}))
    )
    variances[:, 1] = 0
    for test in ("t", "t_overestimated"):
        expected = metrics.differential(X, control, groups=codes, test=test).score
        ours = metrics.t_scores(means, variances, [20, 25, 15], test=test, **moments)
        np.testing.assert_allclose(ours, expected, rtol=1e-9, atol=1e-12)
        np.testing.assert_array_equal(metrics.t_scores(means[0], variances[0], 20, test=test, **moments), ours[0])


def test_the_rest_is_all_other_cells(cells):
    X, codes, control = cells
    means, variances = (
        np.stack([getattr(X[codes == g], what)(0, **o) for g in range(3)])
        for what, o in (("mean", {}), ("var", {"ddof": 1}))
    )
    mean, variance, n = metrics.rest_moments(means + 100, variances, [20, 25, 15])
    for g in range(3):
        rest = X[codes != g]
        assert n[g] == len(rest)
        np.testing.assert_allclose(mean[g], rest.mean(0) + 100, rtol=1e-12)
        np.testing.assert_allclose(variance[g], rest.var(0, ddof=1), rtol=1e-9, atol=1e-12)
    scores = metrics.t_scores(
        means + 100, variances, [20, 25, 15], control_mean=mean, control_variance=variance, control_n=n
    )
    weights = metrics.score_weights(scores)
    assert ((weights.min(axis=1) == 0) & (weights.max(axis=1) == 1)).all()


def test_p_values_of_no_change_are_even():
    """Of 3,000 genes without change, 5 % have p below 0.05."""
    rng = np.random.default_rng(3)
    X, control = rng.gamma(1.0, size=(50, 3000)), rng.gamma(1.0, size=(70, 3000))
    for test in TESTS[:2]:
        found = metrics.differential(X, control, test=test)
        assert abs((found.p_value < 0.05).mean() - 0.05) < 4 * np.sqrt(0.05 * 0.95 / 3000)
        assert (found.p_adjusted < 0.05).mean() < 0.01


def test_what_cannot_be_tested_is_refused(cells):
    X, codes, control = cells
    with pytest.raises(ValueError, match="20 genes and control 19"):
        metrics.differential(X, control[:, 1:])
    with pytest.raises(ValueError, match="test='welch' must be one of 'wilcoxon'"):
        metrics.differential(X, control, test="welch")
    with pytest.raises(ValueError, match="control has 1 cell"):
        metrics.differential(X, control[:1], test="t")
    with pytest.raises(ValueError, match="a group of cells has 1 cell"):
        metrics.differential(X[:1], control, test="t")
    assert np.isfinite(metrics.differential(X[:1], control).score).all()
    for bad in (codes[1:], codes.astype(float), codes - 1, codes * 2):
        with pytest.raises(ValueError, match="groups"):
            metrics.differential(X, control, groups=bad)
    broken = X.copy()
    broken[3, 3] = np.nan
    for matrix in (broken, sparse.csr_matrix(broken), sparse.csc_array(broken)):
        with pytest.raises(ValueError, match="cells has 1 NaN"):
            metrics.differential(matrix, control)
    with pytest.raises(ValueError, match="control has shape"):
        metrics.differential(X, control[0])
    with pytest.raises(TypeError, match="format coo, but must be csr or csc"):
        metrics.differential(sparse.coo_matrix(X), control)
    with pytest.raises(ValueError, match="must have at least one cell"):
        metrics.differential(sparse.csr_matrix((0, 20)), control)
    with pytest.raises(ValueError, match="pseudocount=0"):
        metrics.differential(X, control, pseudocount=0)
    base = {"control_mean": control[0], "control_variance": control[1], "control_n": 5}
    for moments, words in (
        ((X[0], X[1], 1), "n must be >= 2"),
        ((X[0], -X[1] - 1, 5), "variance must be >= 0"),
        ((X[0], X[1, 1:], 5), "must have the same perturbations"),
        ((X[0, 1:], X[1, 1:], 5), "must have one row"),
    ):
        with pytest.raises(ValueError, match=words):
            metrics.t_scores(*moments, **base)
    with pytest.raises(ValueError, match="mean has 1 perturbation; at least 2"):
        metrics.rest_moments(X[:1], X[:1], [3])
