"""The spread of cells that components were not fitted on, as a share of the spread of those that they were fitted on.

Principal components follow the noise of the cells that they were fitted on. With many genes and few cells, these cells
spread far more along them than any other cells do. A forecast that repeats such cells would be worse than one that
shrinks them, though nothing changed.
"""

from __future__ import annotations

from functools import reduce
from operator import add
from typing import TYPE_CHECKING

import numpy as np
from scipy import linalg

from heldout._core.arrays import as_dense
from heldout.tasks.forecast.sums import CellSums

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from heldout._core.types import Matrix

FOLDS = 10
"""Each fold is one of this number of parts of the cells of each time."""

_ENOUGH = 500
"""Cells that are left out in all, if there are as many. A variance is then known within 6 %."""

_NOTHING = 1e-9
"""Variance of a component without any spread, as a share of that of the first."""


def spread_of(parts: Iterable[tuple[CellSums, CellSums]], n_comps: int) -> np.ndarray:
    """Share of the standard deviation within times that cells have along components fitted without them, (k,).

    Parameters
    ----------
    parts
        For each fold the cells that the components are fitted on, and those that were left out. Groups are times.
    n_comps
        Number of components.
    """
    inside, outside = np.zeros(n_comps), np.zeros(n_comps)
    for kept, left in parts:
        components = kept.components(n_comps)
        found = len(components)
        inside[:found] += kept.variance(components)
        outside[:found] += left.variance_around(kept, components)
    known = inside > _NOTHING * inside[0]
    ratio = np.divide(outside, inside, out=np.ones(n_comps), where=known)
    if known.any():
        ratio[~known] = ratio[known][-1]  # more components than the cells of a fold have
    return np.sqrt(ratio.clip(0, 1))


def folds_of(cells: Sequence[Matrix]) -> Iterator[tuple[CellSums, CellSums]]:
    """Leave out a tenth of the cells of each time in turn, until enough cells were left out.

    Parameters
    ----------
    cells
        Cells of each time, T matrices (n_t × p).
    """
    whole = added(CellSums.of(X) for X in cells)
    for fold in range(int(np.ceil(FOLDS * min(1.0, _ENOUGH / whole.sizes.sum())))):
        left = added(CellSums.of(left_out(X, fold)) for X in cells)
        yield whole - left, left


def left_out(X: Matrix, fold: int) -> Matrix:
    """The cells of a time that are left out."""
    return X[fold::FOLDS]


def added(sums: Iterable[CellSums]) -> CellSums:
    """The sums of several times."""
    return reduce(add, sums)


def fewer_columns(cells: Sequence[Matrix]) -> list[np.ndarray]:
    """Cells with one column for each cell, and the same distances and components, T arrays (n_t × n)."""
    sizes = np.cumsum([X.shape[0] for X in cells])
    wide = [X.astype(np.float64) for X in cells]  # products of integers overflow, and those of float32 are not exact
    inner = np.block([[as_dense(X @ Y.T) for Y in wide] for X in wide])
    inner[np.diag_indices_from(inner)] += 1e-10 * np.trace(inner) / len(inner) or 1.0  # for cells that are the same
    return np.split(linalg.cholesky(inner, lower=True), sizes[:-1])
