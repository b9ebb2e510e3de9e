"""Inner loops, compiled at the first call and cached on disk for the next process. They release the GIL."""

from __future__ import annotations

import numba
import numpy as np


def kept(function):  # type: ignore[no-untyped-def]
    """Compile a function, and cache the code on disk if a folder for it can be written."""
    try:
        return numba.njit(nogil=True, cache=True)(function)
    except RuntimeError:
        return numba.njit(nogil=True)(function)


_TABLE = 64
"""Logarithms of counts below this number, which are most counts, come from a table that is made for each cell."""


@kept
def _fill(table, factor):  # type: ignore[no-untyped-def]
    """Fill the table with the logarithms of small counts of one cell."""
    for count in range(len(table)):
        table[count] = np.log1p(np.float32(count) * factor)


@kept
def log_sums(data, indices, indptr, rows, n_columns, total):  # type: ignore[no-untyped-def]
    """Compute sum, sum of squares and number of the log-normalised entries of each column over some rows of csr counts.

    All rows are checked. The last value returned is 0 for counts, or the first problem: 1 for a value that is not
    finite, 2 for a negative value, 3 for a value that is not an integer.
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
    """Return the log-normalised entries of some columns of csr counts, as data, indices and indptr.

    ``place`` is the new number of each column, -1 for columns that are left out.
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
            # Entries that are left out are written and then overwritten, because an unpredictable branch takes longer.
            logs[to] = table[int(count)] if count < _TABLE else np.log1p(np.float32(count) * factor)
            columns[to] = column
            to += column >= 0
    return logs[:-1], columns[:-1], ends


@kept
def count_genes(data, indices, indptr, counted, mito):  # type: ignore[no-untyped-def]
    """Count for each row of csr counts: the ``counted`` columns in it, the sum over them, and the sum over ``mito``."""
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
