"""Intervals of the AUC where two samples of one patient have correlated scores."""

from __future__ import annotations

import numpy as np
import pytest

import heldout as ho

N = 8
LABELS, PAIRS = np.tile([0, 1], N), np.repeat(np.arange(N), 2)


def scores(seed, correlation=0.8, shift=1.0):
    first, other = np.random.default_rng([1000, seed]).standard_normal((2, N))
    second = correlation * first + np.sqrt(1 - correlation**2) * other
    return np.stack([first, shift + second], axis=1).ravel()


def test_what_samples_of_a_patient_share_does_not_change_the_interval_within_patients():
    score, of_patient = scores(0), 10 * np.random.default_rng(1).standard_normal(N)[PAIRS]
    found = [ho.metrics.auc_interval_unequal(LABELS, s, blocks=PAIRS) for s in (score, score + of_patient)]
    assert found[0] == found[1]
    every = [ho.metrics.auc_interval_unequal(LABELS, s) for s in (score, score + of_patient)]
    assert every[0].estimate != every[1].estimate


@pytest.mark.parametrize("correlation", [0.0, 0.8])
def test_intervals_of_paired_samples_cover_the_auc(correlation):
    """Alike samples make the interval over all pairs wider than it must be; that within pairs covers about 95 %."""
    from scipy.stats import norm

    within = norm.cdf(1 / np.sqrt(2 - 2 * correlation))
    expected = ((N - 1) * norm.cdf(1 / np.sqrt(2)) + within) / N
    hits = np.zeros(2)
    for seed in range(80):
        score = scores(seed, correlation)
        every = ho.metrics.auc_interval_unequal(LABELS, score)
        paired = ho.metrics.auc_interval_unequal(LABELS, score, blocks=PAIRS)
        hits += [every.low <= expected <= every.high, paired.low <= within <= paired.high]
    assert (hits / 80 >= 0.9).all()
