"""How far cells that components were not fitted on spread, as a share of those that they were fitted on.

Principal components follow the noise of the cells that they were fitted on. With many genes and few cells, these cells,
and the means of their times, are far more spread along them than other cells and their means are. A forecast that
repeats such cells would be worse than one that shrinks them, though nothing changed.
"""

from __future__ import annotations

from dataclasses import dataclass
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
"""Variance of a component without any spread, as a share of the largest."""


@dataclass(frozen=True)
class Shrinkage:
    """What the coordinates of train cells are multiplied by, so that they lie as other cells do.

    Parameters
    ----------
    within
        Factor of the distance of a cell to the mean of its time, (k,), 0 to 1.
    between
        Factor of the distance of the mean of a time to the mean of all cells, (k,), 0 to 1.
    """

    within: np.ndarray
    between: np.ndarray


def shrinkage_of(parts: Iterable[tuple[CellSums, CellSums]], n_comps: int) -> Shrinkage:
    """Compare cells that were left out with those that components were fitted on.

    Variances within times are compared as they are. A mean of other cells varies between times by its signal, which is
    the covariance of the means of both kinds of cells, and by the noise of as many cells as there are in the fit.

    Parameters
    ----------
    parts
        For each fold the cells that the components are fitted on, and those that were left out. Groups are times.
    n_comps
        Number of components.
    """
    inside, outside, between, signal, noise = np.zeros((5, n_comps))
    for kept, left in parts:
        components = kept.components(n_comps)
        rows = slice(len(components))
        variance = left.variance_around(kept, components)
        inside[rows] += kept.variance(components)
        outside[rows] += variance
        noise[rows] += variance * (1 / kept.sizes).mean()
        places = kept.places(components, kept.mean)
        between[rows] += _covariance(places, places, kept.sizes)
        signal[rows] += _covariance(places, left.places(components, kept.mean), kept.sizes)
    return Shrinkage(_root(outside, inside), _root(signal.clip(0) + noise, between))


def _covariance(first: np.ndarray, second: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Covariance of two kinds of means over times, in which a time counts by its number of cells, (k,)."""
    weights = (sizes / sizes.sum())[:, None]
    total = (weights * (first - (weights * first).sum(axis=0)) * (second - (weights * second).sum(axis=0))).sum(axis=0)
    return np.asarray(total * len(sizes) / max(len(sizes) - 1, 1))


def _root(of_others: np.ndarray, of_fitted: np.ndarray) -> np.ndarray:
    """Root of the ratio of two variances, at most 1. Components that a fold does not have are as the last known one."""
    known = of_fitted > _NOTHING * of_fitted.max(initial=0)
    ratio = np.divide(of_others, of_fitted, out=np.ones(len(known)), where=known)
    if known.any():
        ratio[~known] = ratio[known][-1]
    return np.sqrt(ratio.clip(0, 1))


def folds_of(cells: Sequence[Matrix], whole: CellSums | None = None) -> Iterator[tuple[CellSums, CellSums]]:
    """Leave out a tenth of the cells of each time in turn, until enough cells were left out.

    Parameters
    ----------
    cells
        Cells of each time, T matrices (n_t × p).
    whole
        Sums over all of them, if they are known.
    """
    whole = added(CellSums.of(X) for X in cells) if whole is None else whole
    for fold in range(int(np.ceil(FOLDS * min(1.0, _ENOUGH / whole.sizes.sum())))):
        left = added(CellSums.of(left_out(X, fold)) for X in cells)
        yield whole - left, left


def left_out(X: Matrix, fold: int) -> Matrix:
    """A tenth of the cells of a time, drawn without regard to their order, always the same."""
    return X[np.sort(np.random.default_rng(0).permutation(X.shape[0])[fold::FOLDS])]


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
