"""Inner loops that are compiled when first called, and kept for the next process; other threads run meanwhile."""

from __future__ import annotations

import numba
import numpy as np


def kept(function):  # type: ignore[no-untyped-def]
    """Compile, and keep the code on disk where there is a folder for it."""
    try:
        return numba.njit(nogil=True, cache=True)(function)
    except RuntimeError:
        return numba.njit(nogil=True)(function)


_TABLE = 64
"""Counts below it, nearly all there are, take their logarithm from a table that is made for each cell."""


@kept
def _fill(table, factor):  # type: ignore[no-untyped-def]
    """Logarithms of small counts of one cell."""
    for count in range(len(table)):
        table[count] = np.log1p(np.float32(count) * factor)


@kept
def log_sums(data, indices, indptr, rows, n_columns, total):  # type: ignore[no-untyped-def]
    """Sum, sum of squares and number of the log-normalised entries of each column over some rows of csr counts.

    All rows are looked at: the last value returned is 0 for counts, 1 if one is not finite, 2 if negative, 3 if not whole.
    """
    sums, squares = np.zeros(n_columns), np.zeros(n_columns)
    n_entries = np.zeros(n_columns, dtype=np.int64)
    table = np.empty(_TABLE, dtype=np.float32)
    for row in range(len(indptr) - 1):
        counts = 0.0
        for at in range(indptr[row], indptr[row + 1]):
            value = data[at]
            if not np.isfinite(value):
                return sums, squares, n_entries, 1
            if value < 0:
                return sums, squares, n_entries, 2
            if value != np.floor(value):
                return sums, squares, n_entries, 3
            counts += value
        if not rows[row] or counts == 0:
            continue
        factor = np.float32(total / counts)
        _fill(table, factor)
        for at in range(indptr[row], indptr[row + 1]):
            count = data[at]
            if count != 0:
                value = np.float64(table[int(count)] if count < _TABLE else np.log1p(np.float32(count) * factor))
                column = indices[at]
                sums[column] += value
                squares[column] += value * value
                n_entries[column] += 1
    return sums, squares, n_entries, 0


@kept
def log_columns(data, indices, indptr, place, total):  # type: ignore[no-untyped-def]
    """Log-normalised entries of some columns of csr counts, as data, indices and indptr.

    ``place`` is where each column goes, -1 for those that are left out.
    """
    n_rows = len(indptr) - 1
    ends, factors = np.zeros(n_rows + 1, dtype=np.int32), np.empty(n_rows, dtype=np.float32)
    for row in range(n_rows):
        n, counts = 0, 0.0
        for at in range(indptr[row], indptr[row + 1]):
            n += place[indices[at]] >= 0
            counts += data[at]
        ends[row + 1] = ends[row] + n
        factors[row] = total / counts if counts > 0 else total
    logs, columns = np.empty(ends[-1] + 1, dtype=np.float32), np.empty(ends[-1] + 1, dtype=np.int32)
    table = np.empty(_TABLE, dtype=np.float32)
    for row in range(n_rows):
        factor, to = factors[row], ends[row]
        _fill(table, factor)
        for at in range(indptr[row], indptr[row + 1]):
            count, column = data[at], place[indices[at]]
            # What is left out is written too, and then written over: a branch that nobody can foresee takes longer.
            logs[to] = table[int(count)] if count < _TABLE else np.log1p(np.float32(count) * factor)
            columns[to] = column
            to += column >= 0
    return logs[:-1], columns[:-1], ends


@kept
def count_genes(data, indices, indptr, counted, mito):  # type: ignore[no-untyped-def]
    """Of each row of csr counts: how many of the ``counted`` columns are in it, the sum over them, and over ``mito``."""
    n_rows = len(indptr) - 1
    n_genes, total, total_mito = np.zeros(n_rows, dtype=np.int64), np.zeros(n_rows), np.zeros(n_rows)
    for row in range(n_rows):
        n, all_counts, mito_counts = 0, 0.0, 0.0
        for at in range(indptr[row], indptr[row + 1]):
            column = indices[at]
            if counted[column]:
                n += 1
                all_counts += data[at]
                if mito[column]:
                    mito_counts += data[at]
        n_genes[row], total[row], total_mito[row] = n, all_counts, mito_counts
    return n_genes, total, total_mito
