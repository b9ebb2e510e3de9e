"""The space of a forecast: principal components of the train cells, and the way back to genes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from heldout._core.arrays import as_dense
from heldout._core.types import is_sparse

if TYPE_CHECKING:
    from heldout._core.types import Matrix


_DENSE = 0.1
"""Share of values above 0 from which sparse cells are multiplied as dense ones."""

_ROWS = 4096
"""Cells that are dense at once."""


@dataclass(frozen=True)
class Space:
    """Affine map between genes and coordinates: ``mean`` (n_genes,) and orthonormal ``components`` (k × n_genes)."""

    mean: np.ndarray
    components: np.ndarray

    def encode(self, X: Matrix) -> np.ndarray:
        """Coordinates (n × k) of cells (n × n_genes)."""
        return np.asarray(X @ self.components.T, dtype=np.float64) - self.mean @ self.components.T

    def decode(self, coordinates: np.ndarray) -> np.ndarray:
        """Cells (n × n_genes) of coordinates (n × k)."""
        return coordinates @ self.components + self.mean


def fit_space(X: Matrix, n_comps: int) -> Space:
    """Principal components of dense or sparse cells (n × n_genes), exact, the largest loading of each positive.

    With at most ``n_comps`` genes all directions are kept, so nothing is lost.
    """
    mean = np.asarray(X.mean(axis=0), dtype=np.float64).ravel()
    n, n_genes = X.shape
    if n_genes <= max(n, 6000):
        product = _products(X)
        _, vectors = np.linalg.eigh(product - n * np.outer(mean, mean))
        components = vectors[:, ::-1].T[:n_comps]
    else:
        components = np.linalg.svd(as_dense(X) - mean, full_matrices=False)[2][:n_comps]
    signs = np.sign(components[np.arange(len(components)), np.abs(components).argmax(axis=1)])
    return Space(mean, np.ascontiguousarray(components * signs[:, None]))


def _products(X: Matrix) -> np.ndarray:
    """X transposed times X, float64. Products of sparse matrices are slow unless almost all values are 0."""
    if is_sparse(X) and X.nnz > _DENSE * X.shape[0] * X.shape[1]:
        total = np.zeros((X.shape[1], X.shape[1]))
        for first in range(0, X.shape[0], _ROWS):
            block = as_dense(X[first : first + _ROWS]).astype(np.float64)
            total += block.T @ block
        return total
    return as_dense(X.T @ X)
