"""Pseudobulks of the times, their bootstrap replicates, and features of genes before the target time."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

STATISTICS = ("mean", "sd", "detected", "log_mean")
"""Statistics of each gene and time: mean, standard deviation, share of cells above 0, log1p of the mean of expm1."""

_LARGEST = 30.0
"""Larger values are not logarithms, and their expm1 would overflow."""


@dataclass(frozen=True)
class History:
    """Cells of all genes before the target time.

    Parameters
    ----------
    cells
        Cells of the times of the history, (n × G), dense float64.
    time_of
        Number of each cell's time, (n,), in the order of ``times``.
    times
        Times of the history, ascending, (T,).
    weights
        Weight of each cell in the pseudobulk of its time, (n,). They sum to 1 for each time.
    """

    cells: np.ndarray
    time_of: np.ndarray
    times: np.ndarray
    weights: np.ndarray

    @cached_property
    def statistics(self) -> np.ndarray:
        """Statistics of each gene and time, (G × T × S)."""
        return statistics(self.cells, self.by_time(self.weights)[None])[0]

    @property
    def mean(self) -> np.ndarray:
        """Mean of each gene and time, (G × T)."""
        return self.statistics[:, :, 0]

    @property
    def last(self) -> np.ndarray:
        """Mean of each gene at the last time, (G,)."""
        return self.statistics[:, -1, 0]

    def by_time(self, weights: np.ndarray) -> np.ndarray:
        """Weights of the cells (n,) with one row for each time, (T × n)."""
        return np.where(self.time_of == np.arange(len(self.times))[:, None], weights, 0.0)


def statistics(X: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted statistics of each gene, (R × G × T × S), for weights (R × T × n) that sum to 1 over cells."""
    R, T, n = weights.shape
    flat = weights.reshape(R * T, n)
    mean = _product(flat, X)
    variance = np.maximum(_product(flat, np.square(X)) - mean**2, 0)
    detected = _product(flat, (X > 0).astype(np.float64))
    log_mean = np.log1p(np.maximum(_product(flat, np.expm1(np.minimum(X, _LARGEST))), -0.99))
    parts = [part.reshape(R, T, -1).transpose(0, 2, 1) for part in (mean, np.sqrt(variance), detected, log_mean)]
    return np.stack(parts, axis=-1)


def means(X: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted means of each gene, (R × G), for weights (R × n)."""
    return _product(weights, X)


def _product(weights: np.ndarray, X: np.ndarray) -> np.ndarray:
    return np.asarray(weights @ X)


def cell_weights(time_of: np.ndarray, library_of: np.ndarray | None) -> np.ndarray:
    """Weight of each cell, (n,). Libraries of a time have equal weight, and so have the cells of a library."""
    if library_of is None:
        return 1.0 / np.bincount(time_of)[time_of]
    pairs, of_cell = np.unique(np.stack([time_of, library_of]), axis=1, return_inverse=True)
    of_cell = of_cell.ravel()
    return 1.0 / (np.bincount(of_cell)[of_cell] * np.bincount(pairs[0])[time_of])


def bootstrap_weights(
    time_of: np.ndarray, library_of: np.ndarray | None, n: int, rng: np.random.Generator
) -> np.ndarray:
    """Weights of the cells in each of ``n`` bootstrap replicates, (n × n_cells).

    Within each time, libraries are drawn with replacement, and then cells within each drawn library.
    """
    result = np.zeros((n, len(time_of)))
    libraries = np.zeros_like(time_of) if library_of is None else library_of
    for time in np.unique(time_of):
        here = np.unique(libraries[time_of == time])
        for row in result:
            for library in rng.choice(here, len(here)):
                cells = np.flatnonzero((time_of == time) & (libraries == library))
                drawn = rng.multinomial(len(cells), np.full(len(cells), 1 / len(cells)))
                row[cells] += drawn / (len(cells) * len(here))
    return result


def static_features(history: History) -> np.ndarray:
    """Features of each gene, (G × P): the centred history, and the distribution over the cells of the last time.

    The first T features are the centred means. The others describe the last time: mean, standard deviation, share of
    cells above 0, covariance with the progress of the cells, covariance with their depth, mean of the cells above 0,
    and log of the mean of expm1. Progress is the direction that best separates the last two times (diagonal
    discriminant).
    """
    stats = history.statistics
    mean, sd, detected, log_mean = (stats[:, :, i] for i in range(len(STATISTICS)))
    ended = history.time_of == len(history.times) - 1
    weights = history.weights[ended]
    X = history.cells[ended]
    variance = (sd[:, -1] ** 2 + sd[:, -2] ** 2) / 2
    direction = (mean[:, -1] - mean[:, -2]) / (variance + max(variance.mean(), 1e-12))
    progress = _covariance(X, X @ direction, weights, mean[:, -1])
    depth = _covariance(X, np.asarray(X.mean(axis=1)).ravel(), weights, mean[:, -1])
    above = mean[:, -1] / np.where(detected[:, -1] > 0, detected[:, -1], 1.0)
    last = np.stack([mean[:, -1], sd[:, -1], detected[:, -1], progress, depth, above, log_mean[:, -1]], axis=1)
    return np.concatenate([mean - mean.mean(axis=1, keepdims=True), last], axis=1)


def _covariance(X: np.ndarray, score: np.ndarray, weights: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Covariance of each gene with a score of the cells, in standard deviations of the score."""
    score = np.asarray(score, dtype=np.float64)
    score = score - weights @ score
    spread = np.sqrt(weights @ score**2)
    if spread < 1e-12:
        return np.zeros_like(mean)
    return np.asarray(X.T @ (weights * score)) / spread
