"""Sums over pairs of cells, computed in blocks so that memory use does not depend on the number of cells."""

from __future__ import annotations

from math import fsum
from typing import TYPE_CHECKING

import numpy as np

from heldout._core.threads import thread_policy

if TYPE_CHECKING:
    from collections.abc import Callable

_CLOSE = 1e-4
"""Pairs whose squared distance is below this share of |x|² + |y|² are computed again without the cancellation."""


def mean_over_pairs(X: np.ndarray, Y: np.ndarray | None, f: Callable[[np.ndarray], np.ndarray], *, block: int) -> float:
    """Return the mean of ``f(squared distance)`` over all pairs (x, y).

    If ``Y`` is None, the mean is over pairs of different rows of ``X``. ``f`` gets a block of squared distances, which
    it may overwrite.
    """
    other = X if Y is None else Y
    X2, Y2 = np.einsum("ij,ij->i", X, X), np.einsum("ij,ij->i", other, other)
    sums = []
    for i in range(0, len(X), block):
        rows = slice(i, i + block)
        for j in range(i if Y is None else 0, len(other), block):
            columns = slice(j, j + block)
            same = Y is None and i == j
            with thread_policy(X[rows].size * len(other[columns])):
                squared = _squared_distances(X[rows], other[columns], X2[rows], Y2[columns], same=same)
            values = f(squared)
            if same:
                np.fill_diagonal(values, 0)
            sums.append(float(values.sum()) * (2 if Y is None and i != j else 1))
    return fsum(sums) / (len(X) * (len(X) - 1) if Y is None else len(X) * len(other))


def _squared_distances(X: np.ndarray, Y: np.ndarray, X2: np.ndarray, Y2: np.ndarray, *, same: bool) -> np.ndarray:
    from scipy.spatial.distance import cdist  # slow to import

    squared = X @ Y.T
    squared *= -2
    scale = X2[:, None] + Y2
    squared += scale
    scale *= _CLOSE
    close = squared < scale
    if same:
        np.fill_diagonal(squared, 0)
        np.fill_diagonal(close, val=False)
    n_close = int(np.count_nonzero(close))
    if n_close * X.shape[1] > squared.size:
        return np.asarray(cdist(X, Y, "sqeuclidean"))
    if n_close:
        rows, columns = np.nonzero(close)
        difference = X[rows] - Y[columns]
        squared[rows, columns] = np.einsum("ij,ij->i", difference, difference)
    return squared


def in_fixed_order(X: np.ndarray) -> np.ndarray:
    """Sort the rows by their values, so that a random draw of rows does not depend on the order of the input."""
    rows = np.ascontiguousarray(X + 0.0)  # turns -0.0 into 0.0, which has other bytes
    return X[np.argsort(rows.view(f"V{rows.shape[1] * 8}").ravel(), kind="stable")]


def draw_rows(X: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """Draw ``n`` rows without replacement; return all rows if there are at most ``n``."""
    return X if len(X) <= n else in_fixed_order(X)[rng.choice(len(X), n, replace=False)]
