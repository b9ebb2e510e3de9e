"""Scores of gene lists and directions against plain loops, and what perfect, empty and random predictions get."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heldout import metrics
from tests.helpers.properties import properties

SCORES = {
    "overlap": metrics.de_overlap,
    "jaccard": metrics.de_jaccard,
    "fidelity": metrics.direction_fidelity,
    "reach": metrics.direction_reach,
    "nmae": lambda *two, **options: metrics.lfc_nmae(*two, min_genes=1, **options),
}
each_score = pytest.mark.parametrize("name", SCORES)
seeds = st.integers(0, 10_000)
PROPERTIES = properties(25)


def tables(seed: int, n: int = 4, n_genes: int = 30) -> tuple[metrics.Differential, metrics.Differential]:
    """Of truth and prediction; fold changes have ties and zeros, p-values too."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(2):
        change = rng.normal(size=(n, n_genes)).round(1)
        change[rng.random(change.shape) < 0.1] = 0
        p = (rng.random((n, n_genes)) * 0.15).round(2)
        found.append(metrics.Differential(change, change, p, np.minimum(p * 1.2, 1)))
    return found[0], found[1]


def row(table: metrics.Differential, p: int) -> metrics.Differential:
    return metrics.Differential(*(part[p] for part in table))


def by_hand(name: str, truth: metrics.Differential, prediction: metrics.Differential) -> float:
    """One perturbation, gene by gene, as section 4.2's definitions read."""
    genes = range(len(truth.score))
    real = {g for g in genes if truth.p_adjusted[g] < 0.05}
    called = {g for g in genes if prediction.p_adjusted[g] < 0.05}
    true, predicted = truth.log_fold_change, prediction.log_fold_change
    right = {g for g in genes if np.sign(true[g]) == np.sign(predicted[g]) and true[g] != 0}
    if name == "overlap":
        leading = sorted(called, key=lambda g: (-abs(predicted[g]), g))[: len(real)]
        return len(real & set(leading)) / len(real)
    if name == "jaccard":
        return len(real & called) / len(real | called)
    if name == "fidelity":
        scored = {g for g in called if true[g] != 0}
        return len(scored & right) / max(len(scored), len(real))
    if name == "reach":
        keys = {
            g: (g not in called, prediction.p_adjusted[g], prediction.p_value[g], -abs(predicted[g]), g) for g in real
        }
        ranking = [g for g in sorted(keys, key=keys.get) if true[g] != 0]
        deepest = 0
        for depth in range(1, len(ranking) + 1):
            if len(right & set(ranking[:depth])) / depth >= 0.9:
                deepest = depth
        return deepest / len(real)
    return sum(abs(predicted[g] - true[g]) for g in real) / sum(abs(true[g]) for g in real)


@each_score
@PROPERTIES
@given(seed=seeds)
def test_each_score_equals_a_loop_over_genes(name, seed):
    truth, prediction = tables(seed)
    ours = SCORES[name](truth, prediction)
    for p in range(4):
        expected = by_hand(name, row(truth, p), row(prediction, p))
        assert ours[p] == pytest.approx(expected, abs=1e-10)
        one = SCORES[name](row(truth, p), row(prediction, p))
        assert isinstance(one, float)
        assert one == pytest.approx(expected, abs=1e-10)


@each_score
@PROPERTIES
@given(seed=seeds)
def test_perturbations_permute_and_left_out_genes_do_not_count(name, seed):
    truth, prediction = tables(seed)
    rng = np.random.default_rng(seed)
    rows = rng.permutation(4)
    ours = SCORES[name](truth, prediction)
    moved = [metrics.Differential(*(part[rows] for part in table)) for table in (truth, prediction)]
    np.testing.assert_array_equal(SCORES[name](*moved), ours[rows])
    targets = rng.integers(30, size=4)
    less = [
        metrics.Differential(*(np.stack([np.delete(part[p], targets[p]) for p in range(4)]) for part in table))
        for table in (truth, prediction)
    ]
    np.testing.assert_array_equal(SCORES[name](truth, prediction, exclude=targets), SCORES[name](*less))


@each_score
def test_the_truth_itself_is_perfect_and_what_was_not_predicted_is_nan(name):
    truth, prediction = tables(0)
    truth = metrics.Differential(*(np.where(part == 0, 0.01, part) for part in truth))
    best = 0 if name == "nmae" else 1
    np.testing.assert_array_equal(SCORES[name](truth, truth), best)
    unknown = metrics.Differential(*(part.copy() for part in prediction))
    for part in unknown:
        part[1] = np.nan
    scored, whole = SCORES[name](truth, unknown), SCORES[name](truth, prediction)
    assert np.isnan(scored).tolist() == [False, True, False, False]
    np.testing.assert_array_equal(np.delete(scored, 1), np.delete(whole, 1))
    with pytest.raises(ValueError, match="NaN"):
        SCORES[name](unknown, prediction)


def test_nothing_called():
    truth, prediction = (row(table, 0) for table in tables(1))
    silent = np.ones(30)
    no_calls = prediction._replace(p_value=silent, p_adjusted=silent)
    nothing = truth._replace(p_value=silent, p_adjusted=silent)
    assert metrics.de_overlap(truth, no_calls) == metrics.de_jaccard(truth, no_calls) == 0
    assert metrics.direction_fidelity(truth, no_calls) == 0
    assert np.isnan(metrics.de_overlap(nothing, prediction))
    assert np.isnan(metrics.direction_reach(nothing, prediction))
    assert np.isnan(metrics.lfc_nmae(nothing, prediction))
    assert np.isnan(metrics.direction_fidelity(nothing, no_calls))
    assert metrics.de_jaccard(nothing, no_calls) == 1
    assert metrics.de_jaccard(nothing, prediction) == 0


def test_no_change_has_an_error_of_exactly_one_and_few_genes_have_none():
    truth, _ = tables(2)
    zero = truth._replace(log_fold_change=np.zeros_like(truth.score))
    n_called = (truth.p_adjusted < 0.05).sum(axis=1)
    assert n_called.min() < 10 < n_called.max()
    expected = np.where(n_called < 10, np.nan, 1.0)
    np.testing.assert_array_equal(metrics.lfc_nmae(truth, zero), expected)
    np.testing.assert_array_equal(metrics.lfc_nmae(truth, zero, min_genes=1), 1)


def test_a_prediction_that_calls_too_few_or_too_many():
    """Overlap at N, its two traps: what is not called is missing, and beyond N nothing counts."""
    n = np.arange(10)
    p = np.where(n < 4, 0.01, 0.5)
    truth = metrics.Differential(n * 1.0, 10.0 - n, p, p)
    few = truth._replace(p_value=np.where(n < 2, 0.01, 0.5), p_adjusted=np.where(n < 2, 0.01, 0.5))
    all_called = truth._replace(p_value=np.zeros(10), p_adjusted=np.zeros(10))
    assert metrics.de_overlap(truth, few) == 0.5
    assert metrics.de_overlap(truth, all_called) == 1
    assert metrics.de_overlap(truth, all_called._replace(log_fold_change=n * 1.0)) == 0
    assert metrics.de_jaccard(truth, all_called) == 0.4
    assert metrics.direction_fidelity(truth, all_called._replace(log_fold_change=-truth.log_fold_change)) == 0


def test_signs_at_random():
    rng = np.random.default_rng(0)
    change = rng.choice([-1.0, 1.0], size=(50, 400))
    p = np.zeros((50, 400))
    truth = metrics.Differential(change, change, p, p)
    guess = truth._replace(log_fold_change=rng.choice([-1.0, 1.0], size=(50, 400)))
    fidelity = metrics.direction_fidelity(truth, guess)
    assert abs(fidelity.mean() - 0.5) < 4 * 0.5 / np.sqrt(50 * 400)
    assert metrics.direction_reach(truth, guess).mean() < 0.02


@PROPERTIES
@given(seed=seeds, k=st.integers(1, 29))
def test_recall_of_the_leading_genes(seed, k):
    truth, prediction = tables(seed)
    ours = metrics.deg_recall(truth.score, prediction.score, k=k)
    for p in range(4):
        leading = [
            set(sorted(range(30), key=lambda g: (-abs(s[p][g]), g))[:k]) for s in (truth.score, prediction.score)
        ]
        assert ours[p] == pytest.approx(len(leading[0] & leading[1]) / k, abs=1e-12)
    np.testing.assert_array_equal(metrics.deg_recall(truth.score, -3 * truth.score, k=k), 1)


def test_chance_of_the_recall():
    rng = np.random.default_rng(0)
    truth, prediction = rng.normal(size=(2, 400, 200))
    recall = metrics.deg_recall(truth, prediction)
    assert abs(recall.mean() - 50 / 200) < 4 * recall.std() / np.sqrt(400)


def test_what_does_not_fit_is_refused():
    truth, prediction = tables(3)
    with pytest.raises(ValueError, match="k=30 must be an integer below the number of genes, 30"):
        metrics.deg_recall(truth.score, prediction.score, k=30)
    for score in SCORES.values():
        with pytest.raises(ValueError, match="fdr=1"):
            score(truth, prediction, fdr=1)
        with pytest.raises(ValueError, match="exclude has shape"):
            score(truth, prediction, exclude=[40, 1, 2, 3])
        with pytest.raises(ValueError, match=r"\(4, 30\) and prediction \(4, 29\)"):
            score(truth, metrics.Differential(*(part[:, 1:] for part in prediction)))
        with pytest.raises(ValueError, match="Make them with differential"):
            score(*(table._replace(p_value=table.p_value[:2]) for table in (truth, prediction)))
    with pytest.raises(ValueError, match="purity=0"):
        metrics.direction_reach(truth, prediction, purity=0)
    with pytest.raises(ValueError, match="min_genes=0"):
        metrics.lfc_nmae(truth, prediction, min_genes=0)
