"""Move cells to another mean and keep them possible: no negative values, and zeros where expression is low."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

_N_STEPS = 12
_EXTRA_SHARE = 0.1
"""Weight of the other train cells among the values that a gene can take."""


@dataclass(frozen=True)
class Marginals:
    """Values of each gene in some cells, and how they change if the mean changes.

    The distribution of a gene at another mean is the distribution in the cells, tilted exponentially: values are
    weighted by exp(θ · value), with the θ that gives the mean. A cell keeps its rank. So a gene that falls gets more
    zeros, and a gene that rises gets fewer. Some values of other train cells are included with a low weight, because a
    gene can rise above all values that these cells have.

    Parameters
    ----------
    cells
        Cells that are moved, (n × G), without negative values.
    others
        Other train cells, (k × G).
    """

    cells: np.ndarray
    others: np.ndarray

    @cached_property
    def _values(self) -> tuple[np.ndarray, np.ndarray]:
        """Sorted values of each gene, (n + k × G), and the logarithm of their weights."""
        n, k = len(self.cells), len(self.others)
        share = _EXTRA_SHARE if k else 0.0
        weights = np.concatenate([np.full(n, (1 - share) / n), np.full(k, share / max(k, 1))])
        values = np.concatenate([self.cells, self.others])
        order = np.argsort(values, axis=0, kind="stable")
        return np.take_along_axis(values, order, axis=0), np.log(weights)[order]

    def moved(self, ranks: np.ndarray, rows: np.ndarray, mean: np.ndarray) -> np.ndarray:
        """Some of the cells, (len(rows) × G), moved so that all cells would have about this mean, (G,).

        ``ranks`` (n × G) has the rank of each cell by each gene, between 0 and 1, from :func:`ranks_of`.
        """
        values, weights = self._values
        cumulative = np.cumsum(_tilted(values, weights, mean), axis=0)
        cumulative /= cumulative[-1]
        result = np.empty((len(rows), values.shape[1]))
        for gene in range(values.shape[1]):
            at = np.searchsorted(cumulative[:, gene], ranks[rows, gene])
            result[:, gene] = values[np.minimum(at, len(values) - 1), gene]
        return result


def ranks_of(cells: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Rank of each cell by each gene, (n × G), above 0 and below 1; equal values are in random order."""
    n = len(cells)
    order = np.lexsort((rng.random(cells.shape), cells), axis=0)
    ranks = np.empty(cells.shape)
    np.put_along_axis(ranks, order, np.broadcast_to((np.arange(n) + 0.5)[:, None] / n, cells.shape), axis=0)
    return ranks


def with_mean(cells: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Multiply each gene of cells without negative values so that its mean is ``mean``, at least 0, (n × G).

    Zeros remain zeros. If a gene is zero in all cells, one cell gets all of its expression.
    """
    found = cells.mean(axis=0)
    result = cells * np.divide(mean, found, out=np.zeros_like(found), where=found > 0)
    silent = (found <= 0) & (mean > 0)
    result[np.flatnonzero(silent) % len(cells), np.flatnonzero(silent)] = mean[silent] * len(cells)
    return result


def with_zeros_of(cells: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Cells in which each gene has at least as many zeros as in the reference, (n × G): its lowest values become 0."""
    n_zeros = (reference == 0).sum(axis=0)
    highest = np.sort(cells, axis=0)[np.maximum(n_zeros - 1, 0), np.arange(cells.shape[1])]
    return np.where(cells <= np.where(n_zeros > 0, np.maximum(highest, 0), 0), 0, cells)


def _tilted(values: np.ndarray, weights: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Weights that give each gene its mean, not normalised, (n × G), as far as the values allow.

    Newton steps, which bisection replaces where they leave the interval in which the solution is.
    """
    spread = np.maximum(values.std(axis=0), 1e-6)
    low, high, theta = -50 / spread, 50 / spread, np.zeros(len(spread))
    for step in range(_N_STEPS + 1):
        tilted = theta * values
        tilted += weights
        tilted -= tilted.max(axis=0)
        np.exp(tilted, out=tilted)
        if step == _N_STEPS:
            break
        total = tilted.sum(axis=0)
        found = np.einsum("ng,ng->g", tilted, values) / total
        variance = np.einsum("ng,ng,ng->g", tilted, values, values) / total - found**2
        low, high = np.where(found > mean, low, theta), np.where(found > mean, theta, high)
        newton = theta + np.divide(mean - found, variance, out=np.full_like(mean, np.inf), where=variance > 0)
        theta = np.where((newton > low) & (newton < high), newton, (low + high) / 2)
    return tilted
