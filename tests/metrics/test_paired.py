"""Intervals and tests of paired samples: the exact variance, coverage, and sign flips."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy.stats import beta, multivariate_normal, norm

import heldout as ho
from heldout.metrics.binormal import Paired, _both_positive, auc_variance, paired_auc
from heldout.metrics.paired import complete_pairs

N = 8
LABELS, PAIRS = np.tile([0, 1], N), np.repeat(np.arange(N), 2)


def scores(rng, n=N, correlation=0.8, shift=1.0, ratio=1.0):
    first, other = rng.standard_normal((2, n))
    second = correlation * first + np.sqrt(1 - correlation**2) * other
    return np.stack([first, shift + ratio * second], axis=1).ravel()


@pytest.mark.parametrize(("first", "second", "covariance"), [(1.4, 1.4, 0.9), (1.2, 2.0, -1.1), (0.3, 1.5, 0.4)])
@pytest.mark.parametrize("mean", [0.0, 0.7, -1.3])
def test_probability_that_both_are_positive(first, second, covariance, mean):
    wanted = multivariate_normal([-mean, -mean], [[first**2, covariance], [covariance, second**2]]).cdf([0, 0])
    mean = np.where(mean == 0, 1e-12, mean)
    assert float(_both_positive(mean, first, second, covariance)) == pytest.approx(wanted, abs=2e-5)


@pytest.mark.parametrize(
    ("design", "correlation", "ratio"), [(Paired(5, 5, 5), -0.6, 2.0), (Paired(6, 4, 3), 0.8, 0.5)]
)
def test_mean_and_variance_are_those_of_drawn_scores(design, correlation, ratio):
    m, n, pairs = design
    rng, draws = np.random.default_rng(0), 40_000
    negative, other = rng.standard_normal((2, draws, max(m, n)))
    positive = correlation * negative + np.sqrt(1 - correlation**2) * other
    negative[:, pairs:] = rng.standard_normal((draws, max(m, n) - pairs))
    shift = 0.7 * np.sqrt(1 + ratio**2)
    found = ((shift + ratio * positive[:, :m, None]) > negative[:, None, :n]).mean(axis=(1, 2))
    mean, variance = paired_auc(np.array(0.7), np.array(ratio), np.array(correlation), design)
    assert found.mean() == pytest.approx(float(mean), abs=4 * np.sqrt(variance / draws))
    assert found.var() == pytest.approx(float(variance), rel=0.04)


def test_without_correlation_the_variance_is_that_of_independent_samples():
    _, variance = paired_auc(np.array(norm.ppf(0.8)), np.array(2.0), np.array(0.0), Paired(7, 5, 0))
    assert float(variance) == pytest.approx(float(auc_variance(0.8, 7, 5, 2.0)), rel=1e-9)


def test_pairs_that_are_alike_narrow_the_interval_and_opposite_ones_widen_it():
    rng, width = np.random.default_rng(1), {}
    for correlation in (-0.8, 0.9):
        gaps = []
        for _ in range(10):
            score = scores(rng, correlation=correlation)
            paired = ho.metrics.auc_interval_paired(LABELS, score, pairs=PAIRS)
            ignored = ho.metrics.auc_interval_unequal(LABELS, score)
            assert paired.estimate == ignored.estimate
            gaps.append((paired.high - paired.low) - (ignored.high - ignored.low))
        width[correlation] = np.mean(gaps)
    assert width[0.9] < -0.04
    assert width[-0.8] > 0.01


def test_the_interval_covers_where_ignoring_the_pairs_does_not():
    rng, n, hits = np.random.default_rng(2), 12, np.zeros(2)
    labels, pairs = np.tile([0, 1], n), np.repeat(np.arange(n), 2)
    within = norm.cdf(np.sqrt(2) * norm.ppf(0.75) / np.sqrt(2 + 2 * 0.9))
    expected = ((n - 1) * 0.75 + within) / n
    for _ in range(80):
        score = scores(rng, n, correlation=-0.9, shift=np.sqrt(2) * norm.ppf(0.75))
        paired = ho.metrics.auc_interval_paired(labels, score, pairs=pairs)
        ignored = ho.metrics.auc_interval_unequal(labels, score)
        hits += [i.low <= expected <= i.high for i in (paired, ignored)]
    assert hits[0] / 80 >= 0.91
    assert hits[1] < hits[0]


def test_blocks_average_and_single_samples_count():
    rng = np.random.default_rng(3)
    score, folds = scores(rng), PAIRS % 2
    found = ho.metrics.auc_interval_paired(LABELS, score, pairs=PAIRS, blocks=folds)
    assert found.estimate == pytest.approx(ho.metrics.block_auc(LABELS, np.stack([-score, score], 1), folds))
    kept = np.arange(1, 2 * N)
    alone = ho.metrics.auc_interval_paired(LABELS[kept], score[kept], pairs=PAIRS[kept])
    assert alone.n_units == N - 1
    assert 0 <= alone.low < alone.estimate < alone.high <= 1


def test_two_samples_of_one_class_are_refused():
    with pytest.raises(ValueError, match="1 patients have several samples of one class"):
        ho.metrics.auc_interval_paired([0, 0, 1, 1], [1, 2, 3, 4], pairs=["a", "a", "a", "b"])
    assert complete_pairs(np.array([0, 0, 1]), np.array([0, 0, 0])) is None
    assert complete_pairs(np.array([0, 1, 0]), np.array([0, 0, 1])).tolist() == [[0, 1]]


def test_within_pairs_the_interval_is_that_of_clopper_and_pearson():
    score = np.where(LABELS == 1, np.where(PAIRS < 6, 1.0, -1.0), 0.0)
    found = ho.metrics.auc_interval_unequal(LABELS, score, blocks=PAIRS)
    assert (found.low, found.high) == pytest.approx((beta.ppf(0.025, 6, 3), beta.ppf(0.975, 7, 2)))
    perfect = ho.metrics.auc_interval_unequal(LABELS, LABELS, blocks=PAIRS)
    assert (perfect.low, perfect.high) == pytest.approx((0.025 ** (1 / N), 1.0))


def test_sign_flips_invert_their_test():
    """Limits by hand: the shifts at which the two-sided test of all 2^7 sign flips becomes significant."""
    values = np.random.default_rng(4).normal(1, 1, 7)
    signs = np.array(list(product([1, -1], repeat=7)))
    found = ho.metrics.sign_flip_interval(values)
    for shift, inside in [(found.low - 1e-6, False), (found.low + 1e-6, True)]:
        sums = signs @ (values - shift)
        assert ((sums >= sums[0] - 1e-12).mean() > 0.025) == inside
    for shift, inside in [(found.high - 1e-6, True), (found.high + 1e-6, False)]:
        sums = signs @ (values - shift)
        assert ((sums <= sums[0] + 1e-12).mean() > 0.025) == inside
    assert ho.metrics.sign_flip_test(values) == pytest.approx((signs @ values >= values.sum() - 1e-12).mean())


def test_few_pairs_have_no_interval_of_sign_flips():
    assert np.isnan(ho.metrics.sign_flip_interval([1, 2, 3, 4, 5]).low)
    assert ho.metrics.sign_flip_interval([1, 2, 3, 4, 5], coverage=0.93).low == 1
    assert ho.metrics.sign_flip_test([1.0] * 5) == 1 / 32
    assert ho.metrics.sign_flip_test([0.0] * 5) == 1
    many = ho.metrics.sign_flip_interval(np.random.default_rng(5).normal(size=30))
    assert many.high - many.low == pytest.approx(2 * 2.05 / np.sqrt(30), rel=0.35)
