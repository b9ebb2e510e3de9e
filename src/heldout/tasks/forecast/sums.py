"""Sums over cells, which add up over times: means, principal components and the spread of cells follow from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import linalg

from heldout._core.arrays import as_dense
from heldout._core.types import is_sparse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from heldout._core.types import Matrix, Sparse

_DENSE = 0.1
"""Share of values above 0 from which sparse cells are multiplied as dense ones."""

ROWS = 1024
"""Cells that are copied or dense at once. With more, their memory is new each time, which costs more than products."""


@dataclass(frozen=True)
class CellSums:
    """Sums over groups of cells: of genes and of products of two genes.

    Parameters
    ----------
    sizes
        Number of cells of each group, (G,).
    totals
        Sums of the genes of each group, (G × p) float64.
    products
        Sums of the products of two genes over all groups, (p × p). Only the upper triangle is filled.
    """

    sizes: np.ndarray
    totals: np.ndarray
    products: np.ndarray

    @classmethod
    def of(cls, X: Matrix) -> CellSums:
        """Sums over one group of dense or sparse cells (n × p)."""
        return cls(np.array([X.shape[0]]), total(X)[None], _products(X))

    def __add__(self, other: CellSums) -> CellSums:
        return CellSums(
            np.concatenate([self.sizes, other.sizes]),
            np.concatenate([self.totals, other.totals]),
            self.products + other.products,
        )

    def __sub__(self, part: CellSums) -> CellSums:
        """The sums without a part of the cells of each group."""
        return CellSums(self.sizes - part.sizes, self.totals - part.totals, self.products - part.products)

    @property
    def mean(self) -> np.ndarray:
        """Mean of all cells, (p,)."""
        return np.asarray(self.totals.sum(axis=0) / self.sizes.sum())

    def components(self, n_comps: int) -> np.ndarray:
        """Principal components of all cells, (k × p) orthonormal, the first one first."""
        p = len(self.mean)
        centred = self.products - self.sizes.sum() * np.outer(self.mean, self.mean)
        vectors = linalg.eigh(centred, lower=False, subset_by_index=[p - min(n_comps, p), p - 1])[1]
        return np.asarray(vectors[:, ::-1].T)

    @property
    def means(self) -> np.ndarray:
        """Mean of each group, (G × p)."""
        return np.asarray(self.totals / self.sizes[:, None])

    def places(self, components: np.ndarray, middle: np.ndarray) -> np.ndarray:
        """Coordinates of the mean of each group, as seen from a point (p,), (G × k)."""
        return np.asarray((self.means - middle) @ components.T)

    def variance(self, components: np.ndarray) -> np.ndarray:
        """Variance of the coordinates of cells around the mean of their group, (k,)."""
        squares = self._squares(components) - ((self.totals @ components.T) ** 2 / self.sizes[:, None]).sum(axis=0)
        return np.asarray(squares / (self.sizes.sum() - len(self.sizes)))

    def variance_around(self, others: CellSums, components: np.ndarray) -> np.ndarray:
        """Variance of the coordinates of cells around the mean of the same group of other cells, (k,)."""
        middles = others.means @ components.T
        squares = self._squares(components) - 2 * (middles * (self.totals @ components.T)).sum(axis=0)
        squares += (self.sizes[:, None] * middles**2).sum(axis=0)
        return np.asarray(squares / (self.sizes * (1 + 1 / others.sizes)).sum())

    def _squares(self, components: np.ndarray) -> np.ndarray:
        """Sum of the squared coordinates of all cells, (k,)."""
        return np.einsum("kp,pk->k", components, linalg.blas.dsymm(1.0, self.products, components.T, lower=0))


def total(X: Matrix) -> np.ndarray:
    """Sum of cells, (p,) float64. scipy sums a sparse float32 matrix in float32, with every dtype."""
    return np.asarray(X.T @ np.ones(X.shape[0]) if is_sparse(X) else X.sum(axis=0, dtype=np.float64))


def _products(X: Matrix) -> np.ndarray:
    """Upper triangle of X transposed times X, float64."""
    if is_sparse(X) and is_sparse_enough(X):
        return as_dense(X.T @ X.astype(np.float64))
    products = np.zeros((X.shape[1], X.shape[1]), order="F")
    for _, block in dense_blocks(X):
        products = linalg.blas.dsyrk(1.0, block.T, 1.0, products, overwrite_c=True)  # block.T is in Fortran order
    return products


def is_sparse_enough(X: Sparse) -> bool:
    """Whether almost all values are 0, so that products of the sparse cells are faster than those of dense blocks."""
    return bool(X.nnz <= _DENSE * X.shape[0] * X.shape[1])


def dense_blocks(X: Matrix) -> Iterator[tuple[slice, np.ndarray]]:
    """Cells as dense arrays of at most :data:`ROWS` rows, with their row numbers."""
    n = X.shape[0]
    for first in range(0, n, ROWS):
        rows = slice(first, first + ROWS)
        yield rows, as_dense(X if n <= ROWS else X[rows])
