"""Tests and intervals of an AUC whose classes differ in spread, and tests of three classes and more."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import brunnermunzel, norm
from statsmodels.stats.multitest import multipletests

import heldout as ho
from heldout.metrics.several_classes import holm
from heldout.metrics.studentised import studentised_auc, wins
from heldout.metrics.unequal import _LOG_RATIOS, _variances


@pytest.mark.parametrize("ties", [False, True])
def test_statistic_is_that_of_brunner_and_munzel(ties):
    rng = np.random.default_rng(0)
    for _ in range(20):
        scores = rng.integers(0, 5, 11).astype(float) if ties else rng.normal(size=11)
        labels = rng.permutation(np.repeat([True, False], [4, 7]))
        wanted = brunnermunzel(scores[~labels], scores[labels]).statistic
        if np.isfinite(wanted):
            found = studentised_auc(labels[None], wins(scores))[0]
            assert found == pytest.approx(wanted, rel=1e-9)


def test_p_counts_all_labellings():
    rng = np.random.default_rng(1)
    scores, labels = rng.normal(size=8), np.repeat([0, 1], [5, 3])
    values = []
    for positive in combinations(range(8), 3):
        inside = np.isin(np.arange(8), positive)
        gap = scores[inside][:, None] > scores[~inside]
        auc, placed, placed_of = gap.mean(), gap.mean(axis=1), gap.mean(axis=0)
        se = np.sqrt(placed.var(ddof=1) / 3 + placed_of.var(ddof=1) / 5)
        values.append((auc - 0.5) / max(se, 0.5 / 15))
    observed = values[list(combinations(range(8), 3)).index((5, 6, 7))]
    found = ho.metrics.auc_permutation(labels, scores, statistic="studentised")
    assert found.exact
    assert found.p_value == pytest.approx(np.mean(np.array(values) >= observed - 1e-9))
    assert found.smallest == pytest.approx(1 / 56)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 6), min_size=8, max_size=8), st.integers(2, 6))
def test_size_is_exact_over_all_labellings(scores, n_positive):
    """Over the labellings of any scores, p is at most any level in at most that share of them."""
    p = []
    for positive in combinations(range(8), n_positive):
        labels = np.isin(np.arange(8), positive).astype(int)
        p.append(ho.metrics.auc_permutation(labels, scores, statistic="studentised").p_value)
    for level in (0.05, 0.1, 0.5):
        assert np.mean(np.array(p) <= level + 1e-12) <= level + 1e-12


def test_pairs_have_the_p_of_the_sign_test():
    rng = np.random.default_rng(2)
    labels, blocks = np.tile([0, 1], 7), np.repeat(np.arange(7), 2)
    for _ in range(10):
        scores = rng.normal(size=14) + labels
        plain = ho.metrics.auc_permutation(labels, scores, blocks=blocks, within=True)
        studentised = ho.metrics.auc_permutation(labels, scores, blocks=blocks, within=True, statistic="studentised")
        assert studentised == pytest.approx(plain)


def test_blocks_change_what_is_exchanged_and_how_the_variance_is_estimated():
    labels, days = np.tile([0, 0, 1, 1], 3), np.repeat([0, 1, 2], 4)
    scores = np.array([0, 1, 2, 3.0, 10, 11, 12, 13, 20, 21, 22, 23])
    ignored = ho.metrics.auc_permutation(labels, scores, statistic="studentised")
    blocked = ho.metrics.auc_permutation(labels, scores, blocks=days, statistic="studentised")
    assert blocked.p_value == pytest.approx(1 / 6**3)
    assert ignored.p_value > 0.1
    pairs = np.repeat(np.arange(6), 2)
    shift = 5.0 * np.arange(6)[pairs]
    paired = ho.metrics.auc_permutation(
        np.tile([0, 1], 6), shift + np.tile([0, 1], 6), blocks=pairs, statistic="studentised"
    )
    assert paired.p_value == pytest.approx(1 / 2**6)


def test_size_holds_where_the_smaller_class_varies_more():
    """4 patients with three times the spread of 16 controls, AUC 0.5: the plain test rejects twice as often as 5 %."""
    rng, n = np.random.default_rng(3), 600
    labels = np.repeat([1, 0], [4, 16])
    rejected = np.zeros(2)
    for _ in range(n):
        scores = rng.normal(size=20) * np.where(labels == 1, 3.0, 1.0)
        for i, statistic in enumerate(("auc", "studentised")):
            rejected[i] += ho.metrics.auc_permutation(labels, scores, statistic=statistic).p_value <= 0.05
    plain, studentised = rejected / n
    assert plain > 0.085
    assert studentised < 0.085
    assert studentised < plain


def test_drawn_labellings_are_never_zero():
    labels = np.repeat([0, 1], 20)
    found = ho.metrics.auc_permutation(labels, np.arange(40), statistic="studentised")
    assert not found.exact
    assert found.p_value == pytest.approx(1 / 20_000)


def test_unknown_statistic_is_refused():
    with pytest.raises(ValueError, match="statistic='mean'"):
        ho.metrics.auc_permutation([0, 1], [0.0, 1.0], statistic="mean")


@pytest.mark.parametrize(("spread", "auc"), [(1.0, 0.8), (3.0, 0.5), (0.4, 0.9)])
def test_variance_is_that_of_simulated_studies(spread, auc):
    rng, m, n = np.random.default_rng(4), 4, 9
    patients = rng.normal(size=(40_000, m)) * spread + norm.ppf(auc) * np.sqrt(1 + spread**2)
    estimates = (patients[:, :, None] > rng.normal(size=(40_000, 1, n))).mean(axis=(1, 2))
    of_ratio = _variances(auc, np.array([[m, n]]))
    found = np.interp(np.log(spread), _LOG_RATIOS, of_ratio)
    assert found == pytest.approx(estimates.var(), rel=0.03)


def test_interval_of_wide_patients_is_wider():
    controls, patients = np.arange(12.0), np.array([3.0, 5.0, 7.0, 9.0])
    labels = np.repeat([0, 1], [12, 4])
    near = ho.metrics.auc_interval_unequal(labels, np.append(controls, patients))
    far = ho.metrics.auc_interval_unequal(labels, np.append(controls, [-30.0, 5.2, 7.2, 40.0]))
    assert near.estimate == pytest.approx(0.542, abs=0.01)
    assert far.high - far.low > near.high - near.low + 0.1


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 8), st.integers(1, 8))
def test_interval_properties(seed, n_patients, n_controls):
    rng = np.random.default_rng(seed)
    labels, scores = np.repeat([1, 0], [n_patients, n_controls]), rng.normal(size=n_patients + n_controls)
    found = ho.metrics.auc_interval_unequal(labels, scores)
    assert 0 <= found.low <= found.estimate <= found.high <= 1
    assert found.low < found.high
    scaled = ho.metrics.auc_interval_unequal(labels, 3 * scores - 7)
    turned = ho.metrics.auc_interval_unequal(1 - labels, -scores)
    np.testing.assert_allclose(scaled, found, atol=1e-6)
    np.testing.assert_allclose(turned, found, atol=1e-6)
    wider = ho.metrics.auc_interval_unequal(labels, scores, coverage=0.99)
    assert wider.low <= found.low + 1e-9
    assert wider.high >= found.high - 1e-9


def test_interval_covers_where_the_classes_differ_in_spread():
    rng, n, auc, spread = np.random.default_rng(5), 300, 0.75, 3.0
    labels, hits = np.repeat([1, 0], [5, 45]), np.zeros(2)
    for _ in range(n):
        scores = rng.normal(size=50)
        scores[:5] = scores[:5] * spread + norm.ppf(auc) * np.sqrt(1 + spread**2)
        estimate = (scores[:5, None] > scores[5:]).mean()
        for i, found in enumerate(
            (ho.metrics.auc_interval(estimate, 5, 45), ho.metrics.auc_interval_unequal(labels, scores))
        ):
            hits[i] += found.low <= auc <= found.high
    plain, unequal = hits / n
    assert plain < 0.9
    assert unequal > 0.92


def test_interval_within_blocks():
    labels, days = np.tile([0, 1], 6), np.repeat(np.arange(6), 2)
    scores = 10.0 * days + labels
    scores[:2] = [1.0, 0.0]
    found = ho.metrics.auc_interval_unequal(labels, scores, blocks=days)
    assert found.estimate == pytest.approx(5 / 6)
    lone = ho.metrics.auc_interval_unequal([0, 1, 1], [0.0, 1.0, 5.0], blocks=["a", "a", "b"])
    assert lone.estimate == 1
    assert np.isnan(ho.metrics.auc_interval_unequal([0, 1], [0.0, 1.0], blocks=["a", "b"]).low)


def test_three_classes_agree_with_a_test_of_any_statistic():
    rng = np.random.default_rng(6)
    labels = np.repeat([0, 1, 2], [2, 2, 3])
    log_p = np.log(rng.dirichlet(np.ones(3) + 2 * np.eye(3)[1], 7))
    scores = log_p - np.log1p(-np.exp(log_p))
    wanted = ho.metrics.permutation_test(labels, lambda y: ho.metrics.roc_auc(y, log_p), n_labellings=10_000)
    found = ho.metrics.class_auc_permutation(labels, scores)
    assert found == pytest.approx(wanted)
    assert found.smallest == pytest.approx(1 / 210)


def test_pairs_of_classes_use_their_own_groups():
    rng = np.random.default_rng(7)
    labels = np.repeat([0, 1, 2], [4, 5, 6])
    log_p = np.log(rng.dirichlet(np.ones(3), 15))
    pairs = ho.metrics.pairs_of_classes(labels, log_p)
    assert [pair[:2] for pair in pairs] == [(0, 1), (0, 2), (1, 2)]
    rows = labels != 1
    alone = ho.metrics.auc_permutation(labels[rows] == 2, (log_p[:, 2] - log_p[:, 0])[rows], statistic="studentised")
    assert pairs[1].p_value == pytest.approx(alone.p_value)
    wanted = multipletests([pair.p_value for pair in pairs], method="holm")[1]
    np.testing.assert_allclose([pair.p_adjusted for pair in pairs], wanted)
    absent = ho.metrics.pairs_of_classes([0, 0, 1, 1], log_p[:4])
    assert np.isnan([absent[1].p_value, absent[2].interval.estimate]).all()


def test_holm_leaves_out_missing_values():
    np.testing.assert_allclose(holm(np.array([0.01, np.nan, 0.04, 0.03])), [0.03, np.nan, 0.06, 0.06])


def test_several_classes_refuse_wrong_labels():
    with pytest.raises(ValueError, match="class number from 0 to 2"):
        ho.metrics.class_auc_permutation([0, 1, 3], np.eye(3))
