"""The space of a forecast: principal components of the train cells, and the way back to genes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from heldout._core.arrays import as_dense
from heldout._core.types import is_sparse
from heldout.tasks.forecast.spread import FOLDS, fewer_columns, folds_of, left_out, spread_of
from heldout.tasks.forecast.sums import CellSums, dense_blocks, is_sparse_enough

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from heldout._core.types import Matrix

_FEW_GENES = 3000
"""Up to this number of genes, sums are kept: 144 MB for each past time."""

_FEW_CELLS = 5000
"""Up to this number of cells, they stay in memory while spaces are fitted."""


@dataclass(frozen=True)
class Space:
    """Affine map between genes and coordinates.

    Parameters
    ----------
    mean
        Mean of the cells that the space was fitted on, (n_genes,).
    components
        Orthonormal axes, (k × n_genes).
    spread
        How far other cells spread along each axis within a time, as a share of those that the space was fitted on,
        (k,). None if both spread alike.
    """

    mean: np.ndarray
    components: np.ndarray
    spread: np.ndarray | None = None

    def encode(self, X: Matrix) -> np.ndarray:
        """Coordinates (n × k) of cells (n × n_genes)."""
        return encode_in([self], X)[0]

    def decode(self, coordinates: np.ndarray) -> np.ndarray:
        """Cells (n × n_genes) of coordinates (n × k)."""
        return coordinates @ self.components + self.mean

    def as_new(self, coordinates: np.ndarray, middle: np.ndarray | None = None) -> np.ndarray:
        """Coordinates (n × k) of cells that the space was fitted on, with the spread of other cells.

        Parameters
        ----------
        coordinates
            Coordinates of cells of one time, (n × k).
        middle
            Mean of all cells of this time that the space was fitted on, (k,). None if these are all.
        """
        if self.spread is None:
            return coordinates
        middle = coordinates.mean(axis=0) if middle is None else middle
        return middle + self.spread * (coordinates - middle)


def encode_in(spaces: Sequence[Space], X: Matrix) -> list[np.ndarray]:
    """Coordinates (n × k) of cells (n × n_genes) in each space. The cells are read once."""
    axes = np.concatenate([space.components for space in spaces]).T
    if not is_sparse(X) or is_sparse_enough(X):
        found = np.asarray(X @ axes, dtype=np.float64)
    else:
        found = np.empty((X.shape[0], axes.shape[1]))
        for rows, block in dense_blocks(X):
            np.matmul(block, axes, out=found[rows])
    of_space = np.split(found, np.cumsum([len(space.components) for space in spaces])[:-1], axis=1)
    return [part - space.mean @ space.components.T for space, part in zip(spaces, of_space, strict=True)]


def _by_sums(n: int, n_genes: int) -> bool:
    """Whether components follow from sums, and not from all cells at once, which few cells of many genes need."""
    return n_genes <= max(n, 6000)


def fit_space(X: Matrix, n_comps: int) -> Space:
    """Principal components of dense or sparse cells (n × n_genes), exact, the largest loading of each positive.

    With at most ``n_comps`` genes all directions are kept, so nothing is lost.
    """
    return _of_sums(CellSums.of(X), n_comps) if _by_sums(*X.shape) else _of_cells(as_dense(X), n_comps)


class Spaces:
    """Principal components of the cells of the first n times. The cells of each time are read and multiplied once.

    Parameters
    ----------
    read
        The cells of a time, (n × n_genes).
    sizes
        Number of cells of each time, (T,).
    n_genes
        Number of genes.
    kept
        Numbers of times whose sums will be asked for again. With many genes none are kept.
    """

    def __init__(self, read: Callable[[int], Matrix], sizes: np.ndarray, n_genes: int, kept: Iterable[int]) -> None:
        n_cells = sizes.sum()
        self._read = cache(read) if n_cells <= _FEW_CELLS or n_genes > n_cells else read
        self._sizes, self._n_genes = sizes, n_genes
        self._wanted = frozenset(kept if n_genes <= _FEW_GENES else ())
        self._kept: dict[int, tuple[CellSums, CellSums]] = {}

    @property
    def n_times(self) -> int:
        """Number of times."""
        return len(self._sizes)

    def fit(self, n: int, n_comps: int) -> Space:
        """Components of the cells of the first ``n`` times. With few cells there are fewer, unless all are kept."""
        n_cells = int(self._sizes[:n].sum())
        every = n_comps >= self._n_genes
        n_comps = self._n_genes if every else min(n_comps, n_cells - 1)
        sums = self._until(n) if _by_sums(n_cells, self._n_genes) else None
        if sums is None:
            space = _of_cells(np.concatenate([as_dense(self._read(i)) for i in range(n)]), n_comps)
        else:
            space = _of_sums(sums[0], n_comps)
        return space if every else replace(space, spread=self.spread(n, len(space.components), sums))

    def spread(self, n: int, n_comps: int, sums: tuple[CellSums, CellSums] | None = None) -> np.ndarray | None:
        """Spread of cells along components that were fitted without them, see :class:`Space`.

        Parameters
        ----------
        n
            Number of times.
        n_comps
            Number of components.
        sums
            Sums over the cells and over those that are left out, if they are known.
        """
        n_cells = int(self._sizes[:n].sum())
        if self._sizes[:n].min() < FOLDS:
            return None
        if n_cells > _FEW_CELLS and self._n_genes <= n_cells:
            whole, left = self._until(n) if sums is None else sums
            return spread_of([(whole - left, left)], n_comps)
        cells = [self._read(i) for i in range(n)]
        return spread_of(folds_of(cells if self._n_genes <= n_cells else fewer_columns(cells)), n_comps)

    def _until(self, n: int) -> tuple[CellSums, CellSums]:
        """Sums over the cells of the first n times, and over the tenth of them that is left out."""
        first = max((m for m in self._kept if m <= n), default=0)
        found = self._kept.get(first)
        for i in range(first, n):
            X = self._read(i)
            both = CellSums.of(X), CellSums.of(left_out(X, 0))
            found = both if found is None else (found[0] + both[0], found[1] + both[1])
            if i + 1 in self._wanted:
                self._kept[i + 1] = found
        assert found is not None
        return found


def _of_sums(sums: CellSums, n_comps: int) -> Space:
    return _signed(sums.mean, sums.components(n_comps))


def _of_cells(X: np.ndarray, n_comps: int) -> Space:
    """With many more genes than cells, the products of genes would be too many."""
    mean = X.mean(axis=0, dtype=np.float64)
    return _signed(mean, np.linalg.svd(X - mean, full_matrices=False)[2][:n_comps])


def _signed(mean: np.ndarray, components: np.ndarray) -> Space:
    signs = np.sign(components[np.arange(len(components)), np.abs(components).argmax(axis=1)])
    return Space(mean, np.ascontiguousarray(components * signs[:, None]))
