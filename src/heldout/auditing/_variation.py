"""Variation between units of a class, compared with cells that are permuted between these units."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from heldout.auditing._exchange import p_value, smallest_of
from heldout.metrics.labellings import labellings, observed_row

if TYPE_CHECKING:
    from collections.abc import Iterator

LOW = 0.8
N_PERMUTATIONS, N_LABELLINGS = 99, 2000


@dataclass(frozen=True)
class UnitCells:
    """The cells of some units.

    Parameters
    ----------
    unit
        Unit of each cell, (m,).
    codes, blocks, test
        Class of each unit, block within which its label can be permuted, and whether it is in test only, (U,).
    place
        Random number of each cell, (m,), which does not depend on the order of the cells.
    """

    unit: np.ndarray
    codes: np.ndarray
    blocks: np.ndarray
    test: np.ndarray
    place: np.ndarray

    @property
    def n(self) -> np.ndarray:
        """Number of cells of each unit, (U,)."""
        return np.bincount(self.unit)

    @property
    def sets(self) -> np.ndarray:
        """Units that are judged together: all, each class, and the test units, (2 + K, U) or (1 + K, U)."""
        classes = [self.codes == c for c in range(self.codes.max() + 1)]
        return np.array([np.ones(len(self.codes), bool), *classes, *([self.test] if self.test.any() else [])])


@dataclass(frozen=True)
class Variation:
    """The variation between the units of one matrix.

    Parameters
    ----------
    ratio
        Smallest ratio of the variation of each set of units to its mean over permuted cells.
    low
        Whether each set varies less than permuted cells do.
    of_unit
        The same ratio for each unit, (U,), with the statistic of the set that varies least.
    p_label, smallest
        P-value of the association of the units with their labels, and the smallest p-value that these units can reach.
    """

    ratio: np.ndarray
    low: np.ndarray
    of_unit: np.ndarray = field(repr=False)
    p_label: float
    smallest: float


def variation(
    X: np.ndarray, cells: UnitCells, strata: list[np.ndarray], level: float, rng: np.random.Generator
) -> Variation:
    """Compare the variation between units with permuted cells, and with permuted labels.

    There are two statistics for each grouping of the cells in ``strata``: the variation between the means of units,
    and the variation between the means of the cells that a unit has in a stratum. A set of units is low if its
    statistic is at most 0.8 times that of permuted cells, below each of 99 permutations, and below the quantile of a
    gamma distribution with their mean and variance at this level, divided by the number of statistics and sets.
    """
    from scipy.stats import gamma

    sets = cells.sets.astype(float)
    ratio, low = np.full(len(sets), np.inf), np.zeros(len(sets), dtype=bool)
    lowest = [(np.inf, np.ones(len(cells.codes)), strata[0], False)] * len(sets)
    for stratum in strata:
        drawn = np.array(list(_statistics(X, cells, stratum, rng)))
        for s in range(2):
            of_sets = drawn[:, s] @ sets.T
            observed, null = of_sets[0], of_sets[1:]
            mean, var = null.mean(axis=0), np.maximum(null.var(axis=0), 1e-30)
            p = gamma.cdf(observed, mean**2 / var, scale=var / np.maximum(mean, 1e-30))
            now = observed / np.maximum(mean, 1e-30)
            is_low = (now <= LOW) & (observed < null.min(axis=0)) & (p <= level / (2 * len(strata) * len(sets)))
            of_unit = drawn[0, s] / np.maximum(drawn[1:, s].mean(axis=0), 1e-30)
            for i in np.flatnonzero((is_low & ~low) | ((is_low == low) & (now < ratio))):
                ratio[i], low[i], lowest[i] = now[i], is_low[i], (now[i], of_unit, stratum, s == 1)
    best = int(np.argmin(np.where(low, ratio, np.inf))) if low.any() else 0
    _, of_unit, stratum, in_parts = lowest[best]
    p_label = _p_label(X, cells, stratum if in_parts else None, of_unit, rng) if low.any() else (1.0, 0.0)
    return Variation(ratio, low, of_unit, *p_label)


def _statistics(X: np.ndarray, cells: UnitCells, stratum: np.ndarray, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Both statistics of each unit, (2, U): as observed, and after permutations of the cells within strata."""
    groups = np.unique(cells.codes[cells.unit] * (stratum.max() + 1) + stratum, return_inverse=True)[1]
    centre = _means(X, groups)
    residual = X - centre[groups]
    of_class = _means(X, cells.codes[cells.unit])[cells.codes]
    pairs, pair = np.unique(np.stack([cells.unit, groups]), axis=1, return_inverse=True)
    pair, n_pair = pair.ravel(), np.bincount(pair.ravel())
    of_unit = _member(pairs[0])
    offset = of_unit @ (n_pair[:, None] * centre[pairs[1]]) - cells.n[:, None] * of_class
    order = np.lexsort((cells.place, groups))
    of_cell = pair
    for _ in range(1 + N_PERMUTATIONS):
        sums = _member(of_cell) @ residual
        whole = ((of_unit @ sums + offset) ** 2).mean(axis=1) / cells.n
        yield np.stack([whole, of_unit @ ((sums**2).mean(axis=1) / n_pair)])
        mixed = np.lexsort((rng.random(len(pair))[cells.place], groups))
        of_cell = np.empty_like(pair)
        of_cell[order] = pair[mixed]


def _member(of_cell: np.ndarray) -> sparse.csr_array:
    """Indicators (groups × m) of the group of each cell."""
    return sparse.csr_array((np.ones(len(of_cell)), (of_cell, np.arange(len(of_cell)))))


def _means(X: np.ndarray, of_cell: np.ndarray) -> np.ndarray:
    return np.asarray(_member(of_cell) @ X) / np.bincount(of_cell)[:, None]


def _p_label(
    X: np.ndarray, cells: UnitCells, stratum: np.ndarray | None, of_unit: np.ndarray, rng: np.random.Generator
) -> tuple[float, float]:
    """P-value of the label, for the units and for how much they vary, and the smallest possible p-value.

    With a stratum, the means of units are those beyond the mean of each stratum.
    """
    codes = cells.codes
    drawn, _ = labellings(codes, cells.blocks, rng, limit=N_LABELLINGS)
    size = np.log(np.maximum(of_unit, 1e-12))
    means = _means(X if stratum is None else X - _means(X, stratum)[stratum], cells.unit)
    centred = means - means.mean(axis=0)
    explained, spread = np.zeros(len(drawn)), np.zeros((len(drawn), codes.max() + 1))
    total = np.maximum((centred**2).sum(axis=0), 1e-12)
    for c in range(codes.max() + 1):
        inside = (drawn == c).astype(float)
        n_inside = inside.sum(axis=1)
        explained += ((inside @ centred) ** 2 / n_inside[:, None] / total).mean(axis=1)
        spread[:, c] = inside @ size / n_inside
    both = [explained, np.ptp(spread, axis=1)]
    at = observed_row(drawn, codes)
    p = min(1.0, 2 * min(p_value(statistic[at], statistic) for statistic in both))
    return p, 2 * min(smallest_of(statistic) for statistic in both)
