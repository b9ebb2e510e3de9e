"""The space of a forecast: principal components of the train cells, and the way back to genes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import linalg

from heldout._core.arrays import as_dense
from heldout._core.types import is_sparse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from heldout._core.types import Matrix, Sparse


_DENSE = 0.1
"""Share of values above 0 from which sparse cells are multiplied as dense ones."""

ROWS = 1024
"""Cells that are copied or dense at once. With more, their memory is new each time, which costs more than products."""

_FEW_GENES = 3000
"""Up to this number of genes, sums are kept: 72 MB for each past time."""


@dataclass(frozen=True)
class Space:
    """Affine map between genes and coordinates: ``mean`` (n_genes,) and orthonormal ``components`` (k × n_genes)."""

    mean: np.ndarray
    components: np.ndarray

    def encode(self, X: Matrix) -> np.ndarray:
        """Coordinates (n × k) of cells (n × n_genes)."""
        return encode_in([self], X)[0]

    def decode(self, coordinates: np.ndarray) -> np.ndarray:
        """Cells (n × n_genes) of coordinates (n × k)."""
        return coordinates @ self.components + self.mean


def encode_in(spaces: Sequence[Space], X: Matrix) -> list[np.ndarray]:
    """Coordinates (n × k) of cells (n × n_genes) in each space. The cells are read once."""
    axes = np.concatenate([space.components for space in spaces]).T
    if not is_sparse(X) or _is_sparse_enough(X):
        found = np.asarray(X @ axes, dtype=np.float64)
    else:
        found = np.empty((X.shape[0], axes.shape[1]))
        for rows, block in _dense_blocks(X):
            np.matmul(block, axes, out=found[rows])
    of_space = np.split(found, np.cumsum([len(space.components) for space in spaces])[:-1], axis=1)
    return [part - space.mean @ space.components.T for space, part in zip(spaces, of_space, strict=True)]


@dataclass(frozen=True)
class CellSums:
    """Sums over cells, which add up over times: number of cells, genes (p,), and products of two genes (p × p).

    Only the upper triangle of the products is filled.
    """

    n: int
    total: np.ndarray
    products: np.ndarray

    @classmethod
    def of(cls, X: Matrix) -> CellSums:
        """Sums over dense or sparse cells (n × p), float64."""
        n = X.shape[0]  # scipy sums a sparse float32 matrix in float32, with every dtype
        total = X.T @ np.ones(n) if is_sparse(X) else X.sum(axis=0, dtype=np.float64)
        return cls(n, np.asarray(total), _products(X))

    def __add__(self, other: CellSums) -> CellSums:
        return CellSums(self.n + other.n, self.total + other.total, self.products + other.products)

    def space(self, n_comps: int) -> Space:
        """Principal components, the largest loading of each positive."""
        mean, p = self.total / self.n, len(self.total)
        centred = self.products - self.n * np.outer(mean, mean)
        _, vectors = linalg.eigh(centred, lower=False, subset_by_index=[p - min(n_comps, p), p - 1])
        return _signed(mean, vectors[:, ::-1].T)


def _by_sums(n: int, n_genes: int) -> bool:
    """Whether components follow from sums, and not from all cells at once, which few cells of many genes need."""
    return n_genes <= max(n, 6000)


def fit_space(X: Matrix, n_comps: int) -> Space:
    """Principal components of dense or sparse cells (n × n_genes), exact, the largest loading of each positive.

    With at most ``n_comps`` genes all directions are kept, so nothing is lost.
    """
    if _by_sums(*X.shape):
        return CellSums.of(X).space(n_comps)
    mean = np.asarray(X.mean(axis=0), dtype=np.float64).ravel()
    return _signed(mean, np.linalg.svd(as_dense(X) - mean, full_matrices=False)[2][:n_comps])


class Spaces:
    """Principal components of the cells of the first n times. The cells of each time are read and multiplied once.

    Parameters
    ----------
    read
        The cells of the times from i to j, without j, (n × n_genes).
    sizes
        Number of cells of each time, (T,).
    n_genes
        Number of genes.
    kept
        Numbers of times whose sums will be asked for again. With many genes none are kept.
    """

    def __init__(
        self, read: Callable[[int, int], Matrix], sizes: np.ndarray, n_genes: int, kept: Iterable[int]
    ) -> None:
        self._read, self._sizes, self._n_genes = read, sizes, n_genes
        self._wanted = frozenset(kept if n_genes <= _FEW_GENES else ())
        self._kept: dict[int, CellSums] = {}

    @property
    def n_times(self) -> int:
        """Number of times."""
        return len(self._sizes)

    def fit(self, n: int, n_comps: int) -> Space:
        """Components of the cells of the first ``n`` times. With few cells there are fewer, unless all are kept."""
        n_cells = int(self._sizes[:n].sum())
        if n_comps < self._n_genes:
            n_comps = min(n_comps, n_cells - 1)
        if _by_sums(n_cells, self._n_genes):
            return self._until(n).space(n_comps)
        return fit_space(self._read(0, n), n_comps)

    def _until(self, n: int) -> CellSums:
        first = max((m for m in self._kept if m <= n), default=0)
        found = self._kept.get(first)
        for i in range(first, n):
            of_time = CellSums.of(self._read(i, i + 1))
            found = of_time if found is None else found + of_time
            if i + 1 in self._wanted:
                self._kept[i + 1] = found
        assert found is not None
        return found


def _signed(mean: np.ndarray, components: np.ndarray) -> Space:
    signs = np.sign(components[np.arange(len(components)), np.abs(components).argmax(axis=1)])
    return Space(mean, np.ascontiguousarray(components * signs[:, None]))


def _products(X: Matrix) -> np.ndarray:
    """Upper triangle of X transposed times X, float64."""
    if is_sparse(X) and _is_sparse_enough(X):
        return as_dense(X.T @ X.astype(np.float64))
    total = np.zeros((X.shape[1], X.shape[1]), order="F")
    for _, block in _dense_blocks(X):
        total = linalg.blas.dsyrk(1.0, block.T, 1.0, total, overwrite_c=True)  # block.T is in Fortran order
    return total


def _is_sparse_enough(X: Sparse) -> bool:
    """Whether almost all values are 0, so that products of the sparse cells are faster than those of dense blocks."""
    return bool(X.nnz <= _DENSE * X.shape[0] * X.shape[1])


def _dense_blocks(X: Matrix) -> Iterator[tuple[slice, np.ndarray]]:
    n = X.shape[0]
    for first in range(0, n, ROWS):
        rows = slice(first, first + ROWS)
        yield rows, as_dense(X if n <= ROWS else X[rows])
