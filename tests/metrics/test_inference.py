"""Intervals and permutation tests of groups, against enumeration, scipy and simulation."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from scipy.stats import mannwhitneyu, norm, ttest_ind, ttest_rel

import heldout as ho
from heldout.metrics.classification import block_auc, roc_auc
from tests.helpers.properties import properties

quick = properties(25)


def as_log_p(score: np.ndarray) -> np.ndarray:
    """Log-probabilities with these log-odds."""
    return np.stack([-np.logaddexp(0, score), score - np.logaddexp(0, score)], axis=1)


def design(seed: int, *, n: int = 9, n_blocks: int = 1):
    """Labels with both classes, rounded scores (ties), blocks."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n) % 2)
    return labels, np.round(rng.normal(size=n), 1), rng.integers(n_blocks, size=n)


@quick
@given(seed=st.integers(0, 10_000), n_blocks=st.integers(1, 3), within=st.booleans())
def test_the_exact_test_counts_all_labellings(seed, n_blocks, within):
    labels, score, blocks = design(seed, n_blocks=n_blocks)
    log_p = as_log_p(score)
    auc = (lambda y: block_auc(y, log_p, blocks)) if within else (lambda y: roc_auc(y, log_p))
    found = ho.metrics.auc_permutation(labels, score, blocks=blocks, within=within)
    if np.isnan(found.p_value):
        assert all(len(set(labels[blocks == b])) < 2 for b in set(blocks))
        return
    wanted = ho.metrics.permutation_test(labels, auc, blocks=blocks, n_labellings=10**6)
    assert wanted.exact
    assert found.p_value == pytest.approx(wanted.p_value, rel=1e-9)
    assert found.mid_p == pytest.approx(wanted.mid_p, rel=1e-9)


def test_without_ties_it_is_the_test_of_mann_and_whitney():
    rng = np.random.default_rng(1)
    labels, score = np.repeat([0, 1], [14, 11]), rng.normal(size=25)
    expected = mannwhitneyu(score[labels == 1], score[labels == 0], alternative="greater", method="exact").pvalue
    assert ho.metrics.auc_permutation(labels, score).p_value == pytest.approx(expected, rel=1e-9)


def test_a_design_too_large_to_count_is_drawn():
    rng = np.random.default_rng(0)
    labels, score = np.repeat([0, 1], 1500), rng.normal(size=3000)
    found = ho.metrics.auc_permutation(labels, score)
    expected = mannwhitneyu(score[labels == 1], score[labels == 0], alternative="greater").pvalue
    assert not found.exact
    assert found.p_value == pytest.approx(expected, abs=0.01)


def test_the_smallest_p_is_that_of_the_design_and_a_perfect_score_reaches_it():
    days = np.repeat(np.arange(4), 2)
    found = ho.metrics.auc_permutation([0, 1] * 4, np.arange(8), blocks=days, within=True)
    assert found.p_value == found.smallest == 1 / 16 == ho.metrics.smallest_p(np.array([0, 1] * 4), days)
    assert found.mid_p == 1 / 32
    nothing = ho.metrics.auc_permutation([0, 1], [0.0, 1.0], blocks=[0, 1])
    assert np.isnan(nothing.p_value)


def test_drawn_labellings_are_never_zero():
    values = np.arange(40.0)
    labels = np.repeat([0, 1], 20)
    found = ho.metrics.permutation_test(labels, lambda y: values[y == 1].mean(), n_labellings=200)
    assert not found.exact
    assert found.p_value == pytest.approx(1 / 200)


def test_three_classes_are_permuted_too():
    labels, values = np.array([0, 1, 2, 2]), np.array([1.0, 2.0, 3.0, 4.0])
    found = ho.metrics.permutation_test(labels, lambda y: float(np.corrcoef(y, values)[0, 1]))
    assert found.smallest == pytest.approx(1 / 12)
    assert found.p_value == pytest.approx(1 / 12)


def test_swapping_methods_is_symmetric_and_blind_to_scale():
    rng = np.random.default_rng(0)
    labels, first, second = np.repeat([0, 1], 5), rng.normal(size=10), rng.normal(size=10)
    p = ho.metrics.swap_test(labels, first, second)
    assert p == ho.metrics.swap_test(labels, second, first) == ho.metrics.swap_test(labels, np.exp(first), 3 * second)
    assert ho.metrics.swap_test(labels, first, first) == 1
    drawn = ho.metrics.swap_test(labels, first, second, n_swaps=1000)
    assert drawn == pytest.approx(p, abs=0.06)


@quick
@given(auc=st.sampled_from([0.5, 0.7, 0.9]), m=st.integers(4, 12), n=st.integers(4, 12))
def test_limits_of_the_auc_are_those_that_the_estimate_does_not_contradict(auc, m, n):
    found = ho.metrics.auc_interval(auc, m, n)
    for limit in (found.low, found.high):
        if 0 < limit < 1:
            mean = (m + n) / 2
            inner = (1 - limit) / (2 - limit) + limit / (1 + limit)
            se = np.sqrt(limit * (1 - limit) * (1 + (mean - 1) * inner) / (m * n))
            assert abs(limit - auc) / se == pytest.approx(norm.ppf(0.975), rel=1e-5)
    assert found.low < auc < found.high
    mirrored = ho.metrics.auc_interval(1 - auc, m, n)
    assert mirrored.low == pytest.approx(1 - found.high, abs=1e-6)


def test_pairs_in_blocks_have_the_interval_of_wilson():
    ones = np.ones(10)
    found = ho.metrics.auc_interval(0.8, ones, ones)
    wilson = ho.metrics.proportion_interval(8, 10)
    assert (found.low, found.high) == pytest.approx((wilson.low, wilson.high), abs=1e-6)
    statsmodels = (0.4901625, 0.9433178)  # proportion_confint(8, 10, method="wilson")
    assert (wilson.low, wilson.high) == pytest.approx(statsmodels, abs=1e-6)


def test_the_interval_of_a_perfect_auc_has_a_width_and_that_of_the_bootstrap_has_none():
    labels, score = np.repeat([0, 1], 4), np.arange(8.0)
    scores = ho.metrics.group_scores(labels, as_log_p(score), np.arange(8))
    draws = scores.evaluate("auc", ho.metrics.bootstrap_weights(labels, 500, np.random.default_rng(0)))
    assert np.ptp(draws) == 0
    assert ho.metrics.auc_interval(1.0, 4, 4).low < 0.65


def test_the_jackknife_of_a_mean_is_its_standard_error():
    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=12), np.repeat([0, 1], 6)
    without = ho.metrics.jackknife_weights(labels) @ x / 12
    found = ho.metrics.jackknife_interval(x.mean(), without, labels)
    se = np.sqrt(sum(x[labels == c].var(ddof=1) / 6 for c in (0, 1))) / 2
    df = ttest_ind(x[labels == 0], x[labels == 1], equal_var=False).df
    from scipy.stats import t

    assert found.high - found.estimate == pytest.approx(t.ppf(0.975, df) * se, rel=1e-9)
    assert np.isnan(ho.metrics.jackknife_interval(0.5, [0.4, 0.5], [0, 1]).low)


def test_folds_are_corrected():
    values = np.array([0.1, 0.2, 0.0, 0.1, 0.15])
    plain = ttest_rel(values, np.zeros(5)).confidence_interval()
    found = ho.metrics.fold_interval(values, n_train=8, n_test=2)
    wider = np.sqrt((1 / 5 + 2 / 8) / (1 / 5))
    assert found.high - found.estimate == pytest.approx(wider * (plain.high - values.mean()), rel=1e-9)


@pytest.mark.parametrize("auc", [0.5, 0.75, 0.95])
def test_coverage_with_few_groups(auc):
    """The interval of an AUC covers where the docs promise it; the naive bootstrap of cells does not."""
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], [8, 4])
    shift = norm.ppf(auc) * np.sqrt(2)
    covered = []
    for _ in range(1200):
        score = rng.normal(size=12) + shift * labels
        found = ho.metrics.auc_interval(roc_auc(labels, as_log_p(score)), 4, 8)
        covered.append(found.low <= auc <= found.high)
    assert 0.92 <= np.mean(covered) <= 0.98


def test_effective_size_is_that_of_the_intraclass_correlation():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(60), 50)
    values = rng.normal(size=60)[groups] * 0.5 + rng.normal(size=3000)
    found = ho.metrics.effective_size(values, groups)
    assert found.icc == pytest.approx(0.2, abs=0.05)
    assert found.n_eff == pytest.approx(3000 / (1 + 49 * found.icc), rel=1e-9)
    independent = ho.metrics.effective_size(rng.normal(size=3000), groups)
    assert independent.n_eff > 1500
    assert np.isnan(ho.metrics.effective_size([1.0, 2.0], ["a", "b"]).n_eff)


def test_scores_of_probabilities_equal_scikit_learn():
    from sklearn.metrics import brier_score_loss

    rng = np.random.default_rng(0)
    labels, score = rng.integers(2, size=50), rng.normal(size=50)
    log_p = as_log_p(score)
    assert ho.metrics.brier(labels, log_p) == pytest.approx(brier_score_loss(labels, np.exp(log_p[:, 1])))
    groups = np.arange(50) % 7
    label_of = np.arange(7) % 2
    labels = label_of[groups]
    blocks = np.array([0, 0, 1, 1, 2, 2, 2])
    scores = ho.metrics.group_scores(labels, log_p, groups, blocks=blocks, threshold=0.3)
    ones = np.ones((1, 7))
    assert scores.evaluate("brier", ones)[0] == pytest.approx(ho.metrics.brier(labels, log_p))
    assert scores.evaluate("calibration_error", ones)[0] == pytest.approx(ho.metrics.calibration_error(labels, log_p))
    assert scores.evaluate("block_auc", ones)[0] == pytest.approx(block_auc(labels, log_p, blocks[groups]))
    assert scores.evaluate("accuracy_calibrated", ones)[0] == pytest.approx(((score > 0.3) == labels).mean())


def test_bad_input():
    for call, match in (
        (lambda: ho.metrics.auc_permutation([0, 2], [0.1, 0.2]), "must have a 0 or 1"),
        (lambda: ho.metrics.auc_permutation([0, 1], [0.1, np.nan]), "score has 1 NaN"),
        (lambda: ho.metrics.auc_permutation([0, 1], [0.1, 0.2], blocks=[0]), "blocks has shape"),
        (
            lambda: ho.metrics.permutation_test([0, 1], lambda y: 0.0, n_labellings=1),
            "n_labellings=1 must be an integer >= 2",
        ),
    ):
        with pytest.raises(ValueError, match=match):
            call()


def test_group_scores_take_categoricals_and_names():
    rng = np.random.default_rng(0)
    log_p = np.log(rng.dirichlet([1, 1], 12))
    labels, groups = np.repeat([0, 1], 6), np.repeat([0, 1, 2, 3], 3)
    wanted = ho.metrics.group_scores(labels, log_p, groups)
    names = np.array(["a", "b", "c", "d"])[groups]
    classes = pd.Categorical(np.array(["well", "ill"])[labels], categories=["well", "ill"])
    for values in (names, pd.Series(names, dtype="category"), pd.Categorical(names, categories=list("abxcd"))):
        found = ho.metrics.group_scores(classes, log_p, values)
        for metric in ("auc", "loss", "accuracy"):
            np.testing.assert_array_equal(found.evaluate(metric, np.eye(4) + 1), wanted.evaluate(metric, np.eye(4) + 1))
    with pytest.raises(ValueError, match="groups has 1 missing"):
        ho.metrics.group_scores(labels, log_p, pd.Series([None, *names[1:]], dtype="category"))
    with pytest.raises(ValueError, match="class from 0 to 1"):
        ho.metrics.group_scores(labels + 1, log_p, groups)
