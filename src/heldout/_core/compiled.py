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


@kept
def log_sums(data, indices, indptr, rows, n_columns, total):  # type: ignore[no-untyped-def]
    """Sum, sum of squares and number of the log-normalised entries of each column over some rows of csr counts.

    All rows are looked at: the last value returned is 0 for counts, 1 if one is not finite, 2 if negative, 3 if not whole.
    """
    sums, squares = np.zeros(n_columns), np.zeros(n_columns)
    n_entries = np.zeros(n_columns, dtype=np.int64)
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
        for at in range(indptr[row], indptr[row + 1]):
            if data[at] != 0:
                value = np.float64(np.log1p(np.float32(data[at]) * factor))
                column = indices[at]
                sums[column] += value
                squares[column] += value * value
                n_entries[column] += 1
    return sums, squares, n_entries, 0
