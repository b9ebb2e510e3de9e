"""Evaluation of paired samples: the interval of the AUC, the jackknife over pairs, and the difference within pairs."""

from __future__ import annotations

import numpy as np
import pytest

import heldout as ho
from heldout.tasks.genotype.claims import Hierarchy, claims_table, summary
from heldout.tasks.genotype.levels import Design
from heldout.tasks.genotype.pooled import Pooled

N = 7
LABELS, PATIENTS = np.tile([0, 1], N), np.repeat(np.arange(N), 2)


def odds(seed=0, shift=1.2):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=N)[PATIENTS] + 0.4 * rng.normal(size=2 * N) + shift * LABELS).round(3)


def two_columns(score):
    return np.stack([-score, score], axis=1)


def claims_of(score, blocks=PATIENTS):
    names = np.array([f"S{i}" for i in range(2 * N)], dtype=object)
    hierarchy = Hierarchy(["sample"], [names], [np.zeros(2 * N, dtype=bool)])
    return claims_table(hierarchy, LABELS, two_columns(score), ["before", "after"], blocks)


def test_claims_have_the_difference_within_pairs():
    score = odds()
    claim = claims_of(score).iloc[0]
    differences = score[1::2] - score[::2]
    interval = ho.metrics.sign_flip_interval(differences)
    assert claim["n_pairs"] == N
    assert claim["pair_difference"] == pytest.approx(differences.mean())
    assert (claim["pair_low"], claim["pair_high"]) == (interval.low, interval.high)
    assert claim["pair_p"] == ho.metrics.sign_flip_test(differences)
    assert np.isnan(claims_of(score, blocks=None).iloc[0]["pair_difference"])


def test_the_summary_tells_the_difference_within_pairs():
    row = {"method": "m", "estimate": 0.8, "ci_low": 0.6, "ci_high": 0.9, "verdict": "better", "baseline": "majority"}
    told = summary(claims_of(odds()), row, ["before", "after"], unit="sample", where="test")
    assert "Within 7 pairs the predicted log-odds of after are +" in told
    assert "sign flips, p = " in told


def test_the_jackknife_leaves_out_pairs():
    weights, strata = Design(LABELS, 2, PATIENTS).jackknife
    assert weights.shape == (N, 2 * N)
    assert (weights[2] == (PATIENTS != 2)).all()
    assert not strata.any()
    alone, classes = Design(LABELS, 2).jackknife
    assert alone.shape == (2 * N, 2 * N)
    assert (classes == LABELS).all()


def test_pooled_pairs_of_several_per_fold_use_their_correlation():
    score, folds = odds(shift=0.5), PATIENTS % 2
    names = np.array([f"S{i}" for i in range(2 * N)], dtype=object)
    log_p = -np.logaddexp(0, -two_columns(score))
    found = Pooled(names, LABELS, folds, PATIENTS, 2).interval(log_p)
    ignored = Pooled(names, LABELS, folds, np.zeros(2 * N, dtype=int), 2).interval(log_p)
    assert found.estimate == pytest.approx(ignored.estimate)
    assert found.high - found.low < ignored.high - ignored.low
