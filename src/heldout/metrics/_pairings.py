"""Errors over all pairings of observed with predicted cells, for cells that have no partner."""

from __future__ import annotations

import numpy as np


def squared_errors(truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Mean of (truth - prediction)² over all pairs of rows, for each gene, (n_genes,).

    It is the squared difference of the means plus both variances, so no pair is formed.
    """
    apart = truth.mean(axis=0) - prediction.mean(axis=0)
    return np.asarray(apart**2 + truth.var(axis=0) + prediction.var(axis=0))


def absolute_errors(truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Mean of abs(truth - prediction) over all pairs of rows, for each gene, (n_genes,)."""
    return np.array([_absolute(*columns) for columns in zip(truth.T, prediction.T, strict=True)])


def _absolute(true: np.ndarray, predicted: np.ndarray) -> float:
    """Sum over the true values below each predicted value, and over those above, from one sort."""
    ordered = np.sort(true)
    sums = np.concatenate([[0.0], np.cumsum(ordered)])
    below = np.searchsorted(ordered, predicted)
    above = len(ordered) - below
    distances = predicted * (below - above) - 2 * sums[below] + sums[-1]
    return float(distances.mean() / len(ordered))
