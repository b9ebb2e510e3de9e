"""Principal components of train cells, with the same number of cells from each group where there are many."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from heldout._core.arrays import loaded, take

if TYPE_CHECKING:
    from heldout._core.types import Matrix
    from heldout.tasks.genotype.interface import Data

MOST_CELLS = 10_000
"""Number of cells of which components are computed. They are loaded into memory."""


def train_sample(data: Data, seed: int, *, most: int = MOST_CELLS) -> Matrix:
    """Train cells in memory, at most ``most``. Groups with many cells give up cells first."""
    return loaded(take(data.X, sampled(data, data.train, seed, most=most), None))


def sampled(data: Data, rows: np.ndarray, seed: int, *, most: int = MOST_CELLS) -> np.ndarray:
    """Draw at most ``most`` of these row numbers, in ascending order. Groups with many cells give up cells first."""
    if len(rows) <= most:
        return rows
    assert data.groups is not None
    groups = data.groups[rows]
    order = np.random.default_rng(seed).permutation(len(rows))
    order = order[np.argsort(groups[order], kind="stable")]
    starts = np.flatnonzero(np.r_[True, np.diff(groups[order]) > 0])
    place = np.arange(len(rows)) - np.repeat(starts, np.diff(np.r_[starts, len(rows)]))
    return np.asarray(np.sort(rows[order[np.argsort(place, kind="stable")[:most]]]))


def train_axes(sample: Matrix, n_comps: int, seed: int) -> dict[str, np.ndarray]:
    """``mean``, (p,), and ``components``, (k × p), of a sample of cells. k is smaller if there are few cells or genes.

    Axes without any variance are 0.
    """
    from sklearn.decomposition import PCA

    most = min(sample.shape) - 1
    k = max(min(n_comps, most), 1)
    solver = "arpack" if k < min(sample.shape) else "full"
    fitted = PCA(k, svd_solver=solver, random_state=seed).fit(sample)
    components = np.where(fitted.explained_variance_[:, None] > 0, fitted.components_, 0.0)
    signs = np.sign(components[np.arange(k), np.abs(components).argmax(axis=1)])
    return {
        "mean": np.asarray(fitted.mean_, dtype=np.float64),
        "components": np.asarray(components * signs[:, None], dtype=np.float64),
    }


def scores_of(axes: dict[str, np.ndarray], X: Matrix) -> np.ndarray:
    """Coordinates of cells along the axes, (n × k)."""
    return np.asarray(X @ axes["components"].T - axes["mean"] @ axes["components"].T, dtype=np.float64)
