"""Number of cells, means and variances of many groups of cells in one pass. Dense, csr, csc and dask arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from heldout._core.arrays import row_chunks, sparse_moments, take, variance
from heldout._core.lazy import together
from heldout._core.types import is_dask, is_sparse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from heldout._core.types import DaskArray, Matrix, MatrixOrDask, Sparse

_ROWS, _ENTRIES = 4096, 2**20


@dataclass(frozen=True)
class GroupMoments:
    """Number of cells of each group, (k,), and mean and variance (ddof 1) of each gene in it, (k × n_genes), float64.

    The mean of a group without cells, and the variance of a group with fewer than two cells, are NaN.
    """

    n: np.ndarray
    mean: np.ndarray
    var: np.ndarray | None


def group_moments(
    X: MatrixOrDask, codes: np.ndarray, n_groups: int, *, columns: np.ndarray | None = None, var: bool = True
) -> GroupMoments:
    """Compute the moments of the rows of each group, for ``columns`` only if they are given.

    Deviations are taken from the mean of the group, and parts of a group are merged with Chan's formula. A variance
    far below the square of its mean therefore keeps its digits. A dask array is read once, block by block.

    Parameters
    ----------
    X
        Dense, csr or csc, or a dask array of dense, csr or csc blocks.
    codes
        Group of each row, from 0 to ``n_groups - 1``. Rows with a negative number are skipped.
    n_groups
        Number of groups, k.
    columns
        Numbers of the columns; None for all.
    var
        Compute variances too. If False, ``var`` of the result is None.
    """
    codes = np.asarray(codes).astype(np.int64)
    if X.shape[0] != len(codes) and not np.isnan(X.shape[0]):
        msg = f"codes has {len(codes)} entries, but X has {X.shape[0]} rows. They must be the same number."
        raise ValueError(msg)
    if codes.size and codes.max() >= n_groups:
        msg = f"codes must be < n_groups={n_groups}, got {codes.max()}."
        raise ValueError(msg)
    n = np.bincount(codes[codes >= 0], minlength=n_groups)
    with np.errstate(invalid="ignore"):  # infinite values have no variance; callers check for them
        if is_dask(X):
            mean, m2 = _of_dask(X, codes, n_groups, columns=columns, var=var)
        elif is_sparse(X) and X.format == "csc":
            mean, m2 = _of_csc(X, codes, n, columns=columns, var=var)
        else:
            totals = _Totals(n_groups, X.shape[1] if columns is None else len(columns), var=var)
            totals.add(X, codes, columns)
            mean, m2 = totals.mean, totals.m2
        if m2 is not None:
            for group in np.flatnonzero(n > 1):
                m2[group] = variance(m2[group], mean[group], int(n[group]))
            m2[n < 2] = np.nan
    mean[n == 0] = np.nan
    return GroupMoments(n, mean, m2)


class _Totals:
    """Mean and sum of squared deviations of the rows of each group, added up part by part."""

    def __init__(self, n_groups: int, width: int, *, var: bool) -> None:
        self.n = np.zeros(n_groups, dtype=np.int64)
        self.mean = np.zeros((n_groups, width))
        self.m2 = np.zeros((n_groups, width)) if var else None

    def add(self, X: Matrix, codes: np.ndarray, columns: np.ndarray | None) -> None:
        """Add the rows of a matrix. Rows of the same group are taken together, so that few parts are merged."""
        X = _canonical(X) if is_sparse(X) else X
        order = np.argsort(codes, kind="stable")
        order = order[np.searchsorted(codes[order], 0) :]
        width = self.mean.shape[1]
        for rows in row_chunks(len(order), _ROWS if is_sparse(X) else max(1, _ENTRIES // max(width, 1))):
            block = take(take(X, order[rows], None), None, columns)
            groups = codes[order[rows]]
            edges = np.concatenate([[0], np.flatnonzero(np.diff(groups)) + 1, [len(groups)]])
            for first, end in zip(edges[:-1], edges[1:], strict=True):
                mean, m2 = _of_part(block, first, end, var=self.m2 is not None)
                self._merge(int(groups[first]), int(end - first), mean, m2)

    def _merge(self, group: int, k: int, mean: np.ndarray, m2: np.ndarray | None) -> None:
        n = int(self.n[group])
        self.n[group] += k
        if n == 0:
            self.mean[group] = mean
            if self.m2 is not None:
                self.m2[group] = m2
            return
        delta = mean - self.mean[group]
        self.mean[group] += delta * (k / (n + k))
        if self.m2 is not None:
            self.m2[group] += m2 + delta**2 * (n * k / (n + k))


def _of_part(block: Matrix, first: int, end: int, *, var: bool) -> tuple[np.ndarray, np.ndarray | None]:
    """Compute mean and sum of squared deviations of some rows of a dense or csr block."""
    k, p = int(end - first), block.shape[1]
    if is_sparse(block):
        at = slice(block.indptr[first], block.indptr[end])
        indices, data = block.indices[at], block.data[at].astype(np.float64)
        return sparse_moments(indices, data, k, p) if var else (np.bincount(indices, data, minlength=p) / k, None)
    rows = block[first:end].astype(np.float64)
    mean = rows.mean(axis=0)
    return mean, ((rows - mean) ** 2).sum(axis=0) if var else None


def _canonical(X: Sparse) -> Sparse:
    """Add up duplicate entries, in a copy."""
    if not X.has_canonical_format:
        X = X.copy()
        X.sum_duplicates()
    return X


def _of_dask(
    X: DaskArray, codes: np.ndarray, n_groups: int, *, columns: np.ndarray | None, var: bool
) -> tuple[np.ndarray, np.ndarray | None]:
    """Compute totals for each stripe of column blocks. Usually there is one stripe, and its totals are the result."""
    columns = np.arange(X.shape[1]) if columns is None else np.asarray(columns)
    edges = np.cumsum([0, *X.chunks[1]])
    stripes = []
    for j in range(X.numblocks[1]):
        at = np.flatnonzero((columns >= edges[j]) & (columns < edges[j + 1]))
        totals = _Totals(n_groups, len(at), var=var)
        for block, of_block in _blocks(X, j, codes) if len(at) else ():
            totals.add(block, of_block, columns[at] - edges[j])
        if len(at) == len(columns):
            return totals.mean, totals.m2
        stripes.append((at, totals))
    mean = np.empty((n_groups, len(columns)))
    m2 = np.empty((n_groups, len(columns))) if var else None
    for at, totals in stripes:
        mean[:, at] = totals.mean
        if m2 is not None:
            m2[:, at] = totals.m2
    return mean, m2


def _blocks(X: DaskArray, j: int, codes: np.ndarray) -> Iterator[tuple[Matrix, np.ndarray]]:
    """Yield the blocks of a stripe of columns with the groups of their rows; skip blocks without a wanted row."""
    first, tasks = 0, X.to_delayed()
    for i, size in enumerate(X.chunks[0]):
        wanted = np.isnan(size) or (codes[first : first + size] >= 0).any()
        block = together([tasks[i, j]])[0] if wanted else None
        rows = size if block is None else block.shape[0]
        if block is not None:
            yield (block.tocsr() if is_sparse(block) else block), codes[first : first + rows]
        first += rows
    if first != len(codes):
        msg = f"codes has {len(codes)} entries, but X has {first} rows. They must be the same number."
        raise ValueError(msg)


def _of_csc(
    X: Sparse, codes: np.ndarray, n: np.ndarray, *, columns: np.ndarray | None, var: bool
) -> tuple[np.ndarray, np.ndarray | None]:
    """Compute mean and squared deviations a few columns at a time. Skipped rows form an extra group."""
    X = _canonical(X)
    columns = np.arange(X.shape[1]) if columns is None else np.asarray(columns)
    k = len(n) + 1
    of_row = np.where(codes < 0, k - 1, codes)
    cells = np.maximum(n, 1)
    mean = np.empty((len(n), len(columns)))
    m2 = np.empty((len(n), len(columns))) if var else None
    width = max(1, min(_ENTRIES // k, _ENTRIES * X.shape[1] // max(X.nnz, 1)))
    for first in range(0, len(columns), width):
        at = slice(first, first + width)
        block: Sparse = X[:, columns[at]]
        p = block.shape[1]
        bins = np.repeat(np.arange(p) * k, np.diff(block.indptr)) + of_row[block.indices]
        data = block.data.astype(np.float64)
        sums = np.bincount(bins, data, minlength=p * k).reshape(p, k)
        means = sums / np.append(cells, 1)
        mean[:, at] = means[:, :-1].T
        if m2 is not None:
            squares = np.bincount(bins, (data - means.ravel()[bins]) ** 2, minlength=p * k)
            absent = cells - np.bincount(bins, minlength=p * k).reshape(p, k)[:, :-1]
            m2[:, at] = (squares.reshape(p, k)[:, :-1] + absent * means[:, :-1] ** 2).T
    return mean, m2
