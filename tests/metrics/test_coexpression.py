"""Errors of gene-gene correlations and of variances, against plain loops and for a collapsed forecast."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from heldout import metrics
from heldout._core.metric import metric_of


def cells(n: int, rng: np.random.Generator, *, together: bool = True) -> np.ndarray:
    """Log counts of 12 genes, in three groups whose genes vary together."""
    factors = rng.normal(size=(n, 3)) @ np.repeat(np.eye(3), 4, axis=1)
    rates = np.exp((0.8 if together else 0.0) * factors + np.linspace(-1, 1, 12))
    return np.log1p(rng.poisson(rates)).astype(float)


def mean(f, n: int = 300) -> tuple[float, float]:
    """Mean of a random score, and its standard error."""
    values = [f(np.random.default_rng(seed)) for seed in range(n)]
    return float(np.mean(values)), float(np.std(values) / np.sqrt(n))


@pytest.mark.parametrize("n", [12, 40])
def test_two_samples_of_one_distribution_differ_by_nothing(n):
    found, error = mean(lambda rng: metrics.coexpression_error(cells(n, rng), cells(n, rng)))
    assert abs(found) < 4 * error
    assert error < 0.005


def test_lost_correlations_cost_their_mean_square_at_any_number_of_cells():
    rng = np.random.default_rng(0)
    many = cells(40_000, rng)
    off = ~np.eye(12, dtype=bool)
    lost = float((np.corrcoef(many.T)[off] ** 2).mean())
    for n, predicted in (
        (60, lambda rng: cells(60, rng, together=False)),
        (60, lambda rng: np.zeros((60, 12))),
        (200, lambda rng: cells(90, rng, together=False)),
    ):
        found, error = mean(
            lambda rng, n=n, predicted=predicted: metrics.coexpression_error(cells(n, rng), predicted(rng))
        )
        assert found == pytest.approx(lost, abs=4 * error + 0.005)


def test_it_equals_a_loop_over_pairs_of_genes():
    """With many cells, any two halves have the correlations of all cells."""
    rng = np.random.default_rng(1)
    X, Y = cells(4000, rng), cells(3000, rng, together=False)
    squares = [
        (np.corrcoef(X[:, i], X[:, j])[0, 1] - np.corrcoef(Y[:, i], Y[:, j])[0, 1]) ** 2
        for i, j in combinations(range(12), 2)
    ]
    assert metrics.coexpression_error(X, Y) == pytest.approx(np.mean(squares), abs=0.002)


def test_what_does_not_change_it():
    rng = np.random.default_rng(2)
    X, Y = cells(50, rng), cells(40, rng, together=False)
    score = metrics.coexpression_error(X, Y)
    order = rng.permutation(50)
    assert metrics.coexpression_error(X[order], Y[::-1]) == pytest.approx(score, abs=1e-12)
    assert metrics.coexpression_error(X + rng.normal(size=12), Y * rng.uniform(0.5, 2)) == pytest.approx(score)


def test_collapse_does_not_win():
    """It wins by the error of the plain correlations, which contains the noise of a real sample."""
    advantage = {
        f: mean(lambda rng, f=f: f(X := cells(8, rng), metrics.collapse(X)) - f(X, cells(8, rng)), n=200)[0]
        for f in (metrics.correlation_error, metrics.coexpression_error)
    }
    assert advantage[metrics.correlation_error] < 0
    assert advantage[metrics.coexpression_error] > 0.01


def test_too_little_to_correlate():
    X = np.random.default_rng(4).normal(size=(10, 3))
    assert np.isnan(metrics.coexpression_error(X[:3], X))
    assert np.isnan(metrics.coexpression_error(X * [1, 0, 0], X))
    assert metrics.coexpression_error(X * [1, 1, 0], X) == metrics.coexpression_error(X[:, :2], X[:, :2])
    with pytest.raises(ValueError, match="n_halvings=0 must be an integer >= 1"):
        metrics.coexpression_error(X, X, n_halvings=0)
    with pytest.raises(ValueError, match="same genes"):
        metrics.coexpression_error(X, X[:, :2])


def test_the_sign_of_the_variance_ratio():
    rng = np.random.default_rng(5)
    X = rng.normal(size=(40, 6)) * rng.uniform(0.5, 3, 6)
    scale = rng.uniform(0.3, 2, 6)
    expected = np.mean([np.log((X * scale)[:, g].var() / X[:, g].var()) for g in range(6)])
    assert metrics.log_variance_ratio(X, X * scale + 7) == pytest.approx(expected)
    assert metrics.log_variance_ratio(X * scale, X) == pytest.approx(-expected)
    assert metrics.log_variance_ratio(X, X) == 0
    assert metrics.log_variance_ratio(X, metrics.collapse(X)) == pytest.approx(-np.log(100))
    assert np.isnan(metrics.log_variance_ratio(np.ones((3, 2)), np.zeros((3, 2))))
    assert metric_of("log_variance_ratio").best([-0.5, 0.1, 0.3]) == 1


def test_rare_genes_do_not_bias_the_variance_ratio():
    """A gene that varies in one of two equal samples by chance counts in both directions alike."""
    found, error = mean(
        lambda rng: metrics.log_variance_ratio(rng.poisson(0.03, (30, 20)) + 0.0, rng.poisson(0.03, (30, 20)) + 0.0)
    )
    assert abs(found) < 4 * error
