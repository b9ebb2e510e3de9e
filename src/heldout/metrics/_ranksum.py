"""Rank-sum tests of many groups of cells against one set of controls, which is sorted only once per gene."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from heldout._core.types import is_sparse

if TYPE_CHECKING:
    from collections.abc import Iterator

_GENES = 64
"""Number of columns of a dense matrix that are copied at a time. Each copied column is contiguous in memory."""


def rank_sums(
    cells: Any, codes: np.ndarray, control: Any, *, tie_correct: bool, continuity: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return z and the two-sided p of each group (rows) and gene (columns); 0 and 1 where no value varies.

    U of a group is the number of pairs (cell, control) in which the cell is higher; a tie counts one half. The position
    of each cell among the sorted controls gives U by bisection. Zeros are the most frequent value, so they are counted
    and not sorted.
    """
    from scipy.special import ndtr  # slow to import

    sizes = np.bincount(codes).astype(np.float64)
    n_control, n_genes = control.shape
    u, ties = np.zeros((2, len(sizes), n_genes))
    for gene, ((rows, values), (_, others)) in enumerate(zip(_nonzeros(cells), _nonzeros(control), strict=True)):
        u[:, gene], ties[:, gene] = _one_gene(values, codes[rows], sizes, np.sort(others), n_control)
    n = (sizes + n_control)[:, None]
    pairs = (sizes * n_control)[:, None]
    spread = n + 1 - (ties / (n * (n - 1)) if tie_correct else 0)
    error = np.sqrt(np.maximum(pairs * spread / 12, 0))
    deviation = u - pairs / 2
    if continuity:
        deviation = np.sign(deviation) * np.maximum(np.abs(deviation) - 0.5, 0)
    score = np.divide(deviation, error, out=np.zeros_like(deviation), where=ties < n**3 - n)
    return score, 2 * ndtr(-np.abs(score))


def _one_gene(
    values: np.ndarray, codes: np.ndarray, sizes: np.ndarray, others: np.ndarray, n_control: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return U and the sum of t³ - t over ties for each group.

    ``values`` are the nonzero values of the cells, ``others`` the sorted nonzero values of the controls.
    """
    n_groups = len(sizes)
    zeros = sizes - np.bincount(codes, minlength=n_groups)
    zero_controls = n_control - len(others)
    below = np.searchsorted(others, 0)
    lower, upper = (np.searchsorted(others, values, side) for side in ("left", "right"))
    same = upper - lower
    wins = lower + same / 2 + np.where(values > 0, zero_controls, 0)
    u = np.bincount(codes, wins, minlength=n_groups) + zeros * (below + zero_controls / 2)
    # First count the ties among the controls, then add the ties that the cells of each group cause.
    runs = np.diff(np.flatnonzero(np.concatenate([[True], others[1:] != others[:-1], [True]]))) if len(others) else 0
    ties = np.sum(_cubes(runs)) + _cubes(zero_controls + zeros)
    if len(values):
        order = np.lexsort((values, codes))
        sorted_values, sorted_codes = values[order], codes[order]
        new = np.ones(len(order), dtype=bool)
        new[1:] = (sorted_values[1:] != sorted_values[:-1]) | (sorted_codes[1:] != sorted_codes[:-1])
        first = np.flatnonzero(new)
        in_group, in_controls = np.diff(np.append(first, len(order))), same[order][first]
        added = _cubes(in_group + in_controls) - _cubes(in_controls)
        ties = ties + np.bincount(sorted_codes[first], added, minlength=n_groups)
    return u, ties


def _cubes(n: Any) -> Any:
    """Return n³ - n in float64."""
    count = np.asarray(n, dtype=np.float64)
    return count**3 - count


def _nonzeros(X: Any) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the rows and values of the nonzero entries of each column."""
    if not is_sparse(X):
        for first in range(0, X.shape[1], _GENES):
            for column in np.ascontiguousarray(X[:, first : first + _GENES].T):
                rows = np.flatnonzero(column)
                yield rows, column[rows]
        return
    columns = sparse.csc_array(X)
    for first, last in zip(columns.indptr[:-1], columns.indptr[1:], strict=True):
        rows, values = columns.indices[first:last], columns.data[first:last]
        kept = values != 0
        yield rows[kept], values[kept]
