"""Rank sums of many groups of cells against one set of controls, gene by gene, without ranking the controls anew."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

if TYPE_CHECKING:
    from collections.abc import Iterator


def rank_sums(
    cells: Any, codes: np.ndarray, control: Any, *, tie_correct: bool, continuity: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Z and two-sided p of each group (rows) and gene (columns); 0 and 1 where nothing varies.

    U of a group is the number of its pairs with a control in which it is higher, ties counting one half. The sorted controls
    give that for each value of a cell by bisection; zeros, most of all values, are counted rather than sorted.
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
    away = u - pairs / 2
    if continuity:
        away = np.sign(away) * np.maximum(np.abs(away) - 0.5, 0)
    score = np.divide(away, error, out=np.zeros_like(away), where=ties < n**3 - n)
    return score, 2 * ndtr(-np.abs(score))


def _one_gene(
    values: np.ndarray, codes: np.ndarray, sizes: np.ndarray, others: np.ndarray, n_control: int
) -> tuple[np.ndarray, np.ndarray]:
    """U and the sum of t³ - t over ties, of each group, from the values that are not zero; ``others`` are sorted."""
    n_groups = len(sizes)
    zeros = sizes - np.bincount(codes, minlength=n_groups)
    zero_controls = n_control - len(others)
    below = np.searchsorted(others, 0)
    lower, upper = (np.searchsorted(others, values, side) for side in ("left", "right"))
    same = upper - lower
    wins = lower + same / 2 + np.where(values > 0, zero_controls, 0)
    u = np.bincount(codes, wins, minlength=n_groups) + zeros * (below + zero_controls / 2)
    # Ties among the controls alone, and what each group adds to them.
    runs = np.diff(np.flatnonzero(np.concatenate([[True], others[1:] != others[:-1], [True]]))) if len(others) else 0
    ties = np.sum(_cubes(runs)) + _cubes(zero_controls + zeros)
    if len(values):
        order = np.lexsort((values, codes))
        sorted_values, sorted_codes = values[order], codes[order]
        new = np.ones(len(order), dtype=bool)
        new[1:] = (sorted_values[1:] != sorted_values[:-1]) | (sorted_codes[1:] != sorted_codes[:-1])
        first = np.flatnonzero(new)
        own, shared = np.diff(np.append(first, len(order))), same[order][first]
        ties = ties + np.bincount(sorted_codes[first], _cubes(own + shared) - _cubes(shared), minlength=n_groups)
    return u, ties


def _cubes(n: Any) -> Any:
    """n³ - n in float64."""
    count = np.asarray(n, dtype=np.float64)
    return count**3 - count


def _nonzeros(X: Any) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows and values of each column's entries that are not zero."""
    if not sparse.issparse(X):
        for column in X.T:
            rows = np.flatnonzero(column)
            yield rows, column[rows]
        return
    columns = sparse.csc_array(X)
    for first, last in zip(columns.indptr[:-1], columns.indptr[1:], strict=True):
        rows, values = columns.indices[first:last], columns.data[first:last]
        kept = values != 0
        yield rows[kept], values[kept]
