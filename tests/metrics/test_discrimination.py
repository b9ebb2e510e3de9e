"""Ranks against plain loops over pairs, and what chance, collapse and ties must give."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heldout import metrics
from tests.helpers.profiles import screen
from tests.helpers.properties import properties

seeds = st.integers(0, 10_000)
DISTANCES = ["l1", "l2", "cosine", "correlation"]
AMONG = ["predictions", "truths"]
PROPERTIES = properties(15)


def distance(a, b, name, out=()):
    """One distance by hand; a vector of zeros has cosine 0 with all."""
    genes = [g for g in range(len(a)) if g not in out]
    a, b = [a[g] for g in genes], [b[g] for g in genes]
    if name == "l1":
        return sum(abs(x - y) for x, y in zip(a, b, strict=True))
    if name == "l2":
        return sqrt(sum((x - y) ** 2 for x, y in zip(a, b, strict=True)))
    if name == "correlation":
        a, b = [x - sum(a) / len(a) for x in a], [y - sum(b) / len(b) for y in b]
    size = sqrt(sum(x * x for x in a) * sum(y * y for y in b))
    return 1 - sum(x * y for x, y in zip(a, b, strict=True)) / size if size else 1.0


def by_hand(truth, prediction, name, among, out=None):
    """The rank of PerturBench as published: position of p in its sorted column over P - 1, ties at their mean."""
    n, ranks = len(truth), []
    for p in range(n):
        left_out = () if out is None else out[p]
        if among == "predictions":
            values = [distance(prediction[j], truth[p], name, left_out) for j in range(n)]
        else:
            values = [distance(prediction[p], truth[q], name, left_out) for q in range(n)]
        nearer = sum(v < values[p] - 1e-9 for v in values)
        tied = sum(abs(v - values[p]) <= 1e-9 for v in values) - 1
        ranks.append((nearer + tied / 2) / (n - 1))
    return ranks


@pytest.mark.parametrize("among", AMONG)
@pytest.mark.parametrize("name", DISTANCES)
@PROPERTIES
@given(seed=seeds, ties=st.booleans())
def test_ranks_equal_a_loop_over_pairs(name, among, seed, ties):
    truth, prediction, control = screen(seed)
    if ties:
        prediction[1] = prediction[4] = prediction[0]
        prediction[2] = 0
    ours = metrics.perturbation_rank(truth - control, prediction, distance=name, among=among)
    np.testing.assert_allclose(ours, by_hand(truth - control, prediction, name, among), atol=1e-10)


@pytest.mark.parametrize("among", AMONG)
@pytest.mark.parametrize("name", DISTANCES)
@PROPERTIES
@given(seed=seeds, large=st.sampled_from([1.0, 1e3, 1e9]))
def test_genes_that_are_left_out_do_not_count(name, among, seed, large):
    """By loops, and however large the left-out change is: a knocked-down target can be the largest by far."""
    truth, prediction, _ = screen(seed)
    targets = np.random.default_rng(seed).integers(-1, 9, size=6)
    named = np.flatnonzero(targets >= 0)
    truth[named, targets[named]] += large
    prediction[named, targets[named]] -= 3 * large
    out = [() if t < 0 else (t,) for t in targets]
    expected = by_hand(truth, prediction, name, among, out)
    ours = metrics.perturbation_rank(truth, prediction, distance=name, among=among, exclude=targets)
    np.testing.assert_allclose(ours, expected, atol=1e-10)
    mask = np.zeros(truth.shape, dtype=bool)
    mask[named, targets[named]] = True
    np.testing.assert_array_equal(
        metrics.perturbation_rank(truth, prediction, distance=name, among=among, exclude=mask), ours
    )
    panel = mask.any(axis=0)
    for_all = metrics.perturbation_rank(truth, prediction, distance=name, among=among, exclude=panel)
    plain = metrics.perturbation_rank(truth[:, ~panel], prediction[:, ~panel], distance=name, among=among)
    np.testing.assert_array_equal(for_all, plain)


def test_a_case_on_paper():
    """Truths at 0, 2 and 9; predictions at 1.5, 1.6 and 8: who is nearer to what can be counted."""
    truth, prediction = np.array([[0.0], [2.0], [9.0]]), np.array([[1.5], [1.6], [8.0]])
    assert metrics.perturbation_rank(truth, prediction).tolist() == [0, 0, 0]
    assert metrics.perturbation_rank(truth, prediction, among="truths").tolist() == [0.5, 0, 0]
    assert metrics.centroid_accuracy(truth, prediction).tolist() == [0.5, 1, 1]
    np.testing.assert_allclose(metrics.discrimination_score(truth, prediction, edition=2025), [2 / 3, 1, 1], atol=1e-10)
    np.testing.assert_allclose(
        metrics.discrimination_score(truth, prediction, edition=2026, distance="l1"), [0.5, 1, 1], atol=1e-10
    )


@pytest.mark.parametrize("name", DISTANCES)
def test_a_constant_prediction_is_at_chance_exactly(name):
    truth, prediction, _ = screen(7, n=23, n_genes=40)
    constant = np.tile(prediction[0], (23, 1))
    assert (metrics.perturbation_rank(truth, constant, distance=name) == 0.5).all()
    assert metrics.perturbation_rank(truth, constant, distance=name, among="truths").mean() == pytest.approx(
        0.5, abs=1e-12
    )
    assert metrics.discrimination_score(truth, constant, distance=name).mean() == pytest.approx(0.5, abs=1e-12)
    early = metrics.discrimination_score(truth, constant, edition=2025, distance=name).mean()
    assert early == pytest.approx((23 + 1) / (2 * 23), abs=1e-12)
    if name in ("cosine", "correlation"):  # no change has no direction: all are equally near
        assert (metrics.discrimination_score(truth, np.zeros_like(truth), distance=name) == 0.5).all()


@pytest.mark.parametrize("name", DISTANCES)
def test_predictions_at_random_are_at_chance_and_perfect_ones_are_perfect(name):
    rng = np.random.default_rng(0)
    truth, prediction = rng.normal(size=(2, 300, 10))
    for among in AMONG:
        ranks = metrics.perturbation_rank(truth, prediction, distance=name, among=among)
        assert abs(ranks.mean() - 0.5) < 4 * ranks.std() / sqrt(300)
        assert (metrics.perturbation_rank(truth, truth, distance=name, among=among) == 0).all()
    assert (metrics.centroid_accuracy(truth, truth) == 1).all()
    assert (metrics.discrimination_score(truth, truth, edition=2025, distance=name) == 1).all()


@pytest.mark.parametrize("among", AMONG)
@pytest.mark.parametrize("name", DISTANCES)
@PROPERTIES
@given(seed=seeds, factor=st.floats(0.1, 10))
def test_perturbations_permute_genes_do_not_matter_and_angles_have_no_scale(name, among, seed, factor):
    truth, prediction, _ = screen(seed)
    rng = np.random.default_rng(seed)
    rows, genes = rng.permutation(6), rng.permutation(9)
    options = {"distance": name, "among": among}
    ranks = metrics.perturbation_rank(truth, prediction, **options)
    np.testing.assert_array_equal(metrics.perturbation_rank(truth[rows], prediction[rows], **options), ranks[rows])
    np.testing.assert_array_equal(metrics.perturbation_rank(truth[:, genes], prediction[:, genes], **options), ranks)
    np.testing.assert_array_equal(metrics.perturbation_rank(factor * truth, factor * prediction, **options), ranks)
    if name in ("cosine", "correlation"):
        np.testing.assert_array_equal(metrics.perturbation_rank(truth, factor * prediction, **options), ranks)
    else:
        moved = metrics.perturbation_rank(truth + factor, prediction + factor, **options)
        np.testing.assert_array_equal(moved, ranks)


@pytest.mark.parametrize("name", DISTANCES)
def test_what_was_not_predicted_competes_with_no_prediction_but_its_truth_stays(name):
    truth, prediction, _ = screen(8)
    unknown = prediction.copy()
    unknown[2] = np.nan
    kept = np.delete(np.arange(6), 2)
    ranks = metrics.perturbation_rank(truth, unknown, distance=name)
    assert np.isnan(ranks[2])
    np.testing.assert_array_equal(ranks[kept], metrics.perturbation_rank(truth[kept], prediction[kept], distance=name))
    whole = metrics.perturbation_rank(truth, prediction, distance=name, among="truths")
    ranks = metrics.perturbation_rank(truth, unknown, distance=name, among="truths", exclude=np.full(6, -1))
    assert np.isnan(ranks[2])
    np.testing.assert_array_equal(ranks[kept], whole[kept])
    unknown[1:] = np.nan
    assert np.isnan(metrics.perturbation_rank(truth, unknown, distance=name)).all()
    assert np.isnan(metrics.perturbation_rank(truth[:1], prediction[:1], distance=name, among="truths")).all()


def test_what_does_not_fit_is_refused():
    truth, prediction, _ = screen(9)
    for bad in (np.zeros(5, dtype=bool), np.full(6, 9), np.full(6, -2), np.zeros((6, 9)), ["A"] * 6):
        with pytest.raises(ValueError, match="exclude has shape"):
            metrics.perturbation_rank(truth, prediction, exclude=bad)
    with pytest.raises(ValueError, match="no gene for 6 of 6"):
        metrics.perturbation_rank(truth, prediction, exclude=np.ones(9, dtype=bool))
    with pytest.raises(ValueError, match="distance='rmse' must be one of"):
        metrics.perturbation_rank(truth, prediction, distance="rmse")
    with pytest.raises(ValueError, match="among='all' must be one of"):
        metrics.perturbation_rank(truth, prediction, among="all")
    with pytest.raises(ValueError, match="edition=2024"):
        metrics.discrimination_score(truth, prediction, edition=2024)
    with pytest.raises(ValueError, match="but must be"):
        metrics.perturbation_rank(truth[0], prediction[0])
