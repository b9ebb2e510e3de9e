"""The space of a forecast: principal components of the train cells, and the way back to genes."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from heldout._core.arrays import as_dense
from heldout._core.types import is_sparse
from heldout.tasks.forecast.shrinkage import FOLDS, Shrinkage, fewer_columns, folds_of, left_out, shrinkage_of
from heldout.tasks.forecast.sums import CellSums, dense_blocks, is_sparse_enough, total

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from heldout._core.types import Matrix

logger = logging.getLogger("heldout")

_FEW_GENES = 3000
"""Up to this number of genes, sums are kept: 144 MB for each past time."""

_MANY_GENES = 6000
"""With more genes, the products of all pairs take gigabytes."""

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
    shrinkage
        How cells that the space was fitted on are moved to where other cells are. None if they stay.
    means
        Coordinates of the mean of each time of these cells, (T × k).
    """

    mean: np.ndarray
    components: np.ndarray
    shrinkage: Shrinkage | None = None
    means: np.ndarray | None = None

    def encode(self, X: Matrix) -> np.ndarray:
        """Coordinates (n × k) of cells (n × n_genes)."""
        return encode_in([self], X)[0]

    def decode(self, coordinates: np.ndarray) -> np.ndarray:
        """Cells (n × n_genes) of coordinates (n × k)."""
        return coordinates @ self.components + self.mean

    def as_new(self, coordinates: np.ndarray, i: int) -> np.ndarray:
        """Coordinates (n × k) of cells of the time number ``i``, as if the space had not been fitted on them."""
        if self.shrinkage is None or self.means is None:
            return coordinates
        return self.shrinkage.between * self.means[i] + self.shrinkage.within * (coordinates - self.means[i])


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
    return n_genes <= max(n, _MANY_GENES)


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
    shrinks
        Whether spaces say where other cells than their own are.
    """

    def __init__(
        self,
        read: Callable[[int], Matrix],
        sizes: np.ndarray,
        n_genes: int,
        kept: Iterable[int],
        *,
        shrinks: bool = True,
    ) -> None:
        n_cells = sizes.sum()
        self._read = cache(read) if n_cells <= _FEW_CELLS or n_genes > n_cells else read
        self._sizes, self._n_genes, self._shrinks = sizes, n_genes, shrinks
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
        if not _by_sums(n_cells, self._n_genes):
            cells = np.concatenate([as_dense(self._read(i)) for i in range(n)])
            return self.shrunk(_of_cells(cells, n_comps), n)
        sums = self._until(n)
        return self.shrunk(_of_sums(sums[0], n_comps), n, sums)

    def shrunk(self, space: Space, n: int, sums: tuple[CellSums, CellSums] | None = None) -> Space:
        """The space, with what is known of cells that it was not fitted on. With all directions they are the same.

        Parameters
        ----------
        space
            Components of the cells of the first ``n`` times.
        n
            Number of times.
        sums
            Sums over the cells and over those that are left out, if they are known.
        """
        n_comps = len(space.components)
        if not self._shrinks or n_comps >= self._n_genes or self._sizes[:n].min() < FOLDS:
            return space
        n_cells = int(self._sizes[:n].sum())
        if sums is None and _MANY_GENES < self._n_genes <= n_cells:  # components that were fitted elsewhere
            logger.warning(
                "use_rep has %d genes, too many to see how far cells spread that its components were not fitted on. "
                "Persistence then looks worse than it is. Fit the components on at most %d genes.",
                self._n_genes,
                _MANY_GENES,
            )
            return space
        if n_cells > _FEW_CELLS and self._n_genes <= n_cells:
            whole, left = self._until(n) if sums is None else sums
            return _placed(space, whole.means, shrinkage_of([(whole - left, left)], n_comps))
        cells = [self._read(i) for i in range(n)]
        means = np.array([total(X) / X.shape[0] for X in cells])
        if self._n_genes > n_cells:
            folds = folds_of(fewer_columns(cells))
        else:
            folds = folds_of(cells, None if sums is None else sums[0])
        return _placed(space, means, shrinkage_of(folds, n_comps))

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


def _placed(space: Space, means: np.ndarray, shrinkage: Shrinkage) -> Space:
    return replace(space, shrinkage=shrinkage, means=(means - space.mean) @ space.components.T)


def _of_sums(sums: CellSums, n_comps: int) -> Space:
    return _signed(sums.mean, sums.components(n_comps))


def _of_cells(X: np.ndarray, n_comps: int) -> Space:
    """With many more genes than cells, the products of genes would be too many."""
    mean = X.mean(axis=0, dtype=np.float64)
    return _signed(mean, np.linalg.svd(X - mean, full_matrices=False)[2][:n_comps])


def _signed(mean: np.ndarray, components: np.ndarray) -> Space:
    signs = np.sign(components[np.arange(len(components)), np.abs(components).argmax(axis=1)])
    return Space(mean, np.ascontiguousarray(components * signs[:, None]))
