"""Check the parts of a sparse matrix before a matrix is made of them.

scipy and compiled loops trust indices and pointers. A wrong index or pointer reads or writes outside the memory of the
matrix, which ends the process without an error message.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scipy import sparse

if TYPE_CHECKING:
    import numpy as np


def problem_of_parts(data: Any, indices: Any, indptr: Any, shape: tuple[int, int]) -> str | None:
    """Say why these stored arrays cannot be a sparse matrix of ``shape`` (n_major × n_minor), or return None.

    Only lengths and types are read, so the arrays can be on disk.
    """
    for name, part in (("data", data), ("indices", indices), ("indptr", indptr)):
        if getattr(part, "ndim", None) != 1:
            return f"{name!r} is not an array with one dimension."
        if part.dtype.kind not in ("iufb" if name == "data" else "iu"):
            return f"{name!r} has the type {part.dtype}, but must have {'numbers' if name == 'data' else 'integers'}."
    n_major, n_minor = shape
    if indptr.shape[0] != n_major + 1:
        return f"'indptr' has {indptr.shape[0]} entries, but must have {n_major + 1}."
    if data.shape[0] != indices.shape[0]:
        return f"'data' has {data.shape[0]} entries and 'indices' has {indices.shape[0]}. They must be equal."
    if data.shape[0] > n_major * n_minor:
        return f"it has {data.shape[0]} entries, but only {n_major * n_minor} pairs of a cell and a gene."
    return None


def problem_of_numbers(indices: np.ndarray, indptr: np.ndarray, n_minor: int) -> str | None:
    """Say which index or pointer is outside the matrix, or return None."""
    if len(indptr) and (indptr[0] != 0 or indptr[-1] != len(indices) or (indptr[1:] < indptr[:-1]).any()):
        return f"'indptr' must increase from 0 to the number of entries ({len(indices)}), but does not."
    if len(indices) and (indices.min() < 0 or indices.max() >= n_minor):
        wrong = indices.max() if indices.max() >= n_minor else indices.min()
        return f"'indices' has {wrong}, but must be in [0, {n_minor - 1}]."
    return None


def compressed(data: Any, indices: Any, indptr: Any, shape: tuple[int, int], *, by_column: bool = False) -> Any:
    """Load stored parts into a csr matrix, or into a csc matrix if ``by_column``.

    Raises
    ------
    ValueError
        If lengths, types, indices or pointers do not belong to a matrix of this shape. The message says which.
    """
    major = shape[::-1] if by_column else shape
    problem = problem_of_parts(data, indices, indptr, major)
    if problem is None:
        indices, indptr = indices[:], indptr[:]
        problem = problem_of_numbers(indices, indptr, major[1])
    if problem is not None:
        raise ValueError(problem)
    kind = sparse.csc_matrix if by_column else sparse.csr_matrix
    return kind((data[:], indices, indptr), shape=shape)


def check_matrix(X: Any, where: str) -> None:
    """Refuse a csr or csc matrix in memory whose indices or pointers are outside the matrix.

    Raises
    ------
    ValueError
        With the name of the matrix and the problem.
    """
    if getattr(X, "format", None) not in ("csr", "csc"):
        return
    major = X.shape if X.format == "csr" else X.shape[::-1]
    problem = problem_of_parts(X.data, X.indices, X.indptr, major) or problem_of_numbers(X.indices, X.indptr, major[1])
    if problem is not None:
        msg = f"{where} is not a valid sparse matrix: {problem} The file may be damaged. Read or download it again."
        raise ValueError(msg)
