"""Matrices: fetch them, tell what they hold, and compute moments in one pass. Dense, csr, csc and dask arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
from scipy import sparse

from heldout._core.compressed import check_matrix
from heldout._core.lazy import by_rows, itself, over_blocks, to_memory
from heldout._core.store import suggest
from heldout._core.types import is_dask, is_sparse

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from anndata import AnnData

    from heldout._core.types import DaskArray, Matrix, MatrixOrDask, Sparse

_CHUNK, _CHUNK_CSC = 4096, 2**16
_ENTRIES = 2**20
_SAMPLE, _SAMPLE_OF_MULTIPLES = 2000, 200
_HIGHEST_LOG = 20.0
"""Highest value of log-normalised expression: log1p of a total of 5e8."""


@overload
def get_matrix(adata: AnnData, layer: str | None = None, *, dask: Literal[False] = False) -> Matrix: ...


@overload
def get_matrix(adata: AnnData, layer: str | None = None, *, dask: Literal[True]) -> MatrixOrDask: ...


def get_matrix(adata: AnnData, layer: str | None = None, *, dask: bool = False) -> MatrixOrDask:
    """Fetch ``X`` or a layer and check its type, and the indices of a sparse matrix in memory.

    anndata does not check indices that it reads from a file, and compiled loops trust them. A dask array is refused
    unless ``dask`` is True.
    """
    if layer is not None and layer not in adata.layers:
        known = [name for name in adata.layers if name is not None]  # anndata 0.13 lists X among the layers, as None
        msg = f"layer={layer!r} is not in adata.layers. {suggest(layer, known)}"
        raise ValueError(msg)
    X = adata.X if layer is None else adata.layers[layer]
    where = "adata.X" if layer is None else f"adata.layers[{layer!r}]"
    if X is None:
        msg = f"{where} is None. Pass the layer that holds the data."
        raise ValueError(msg)
    if dask and is_dask(X):
        return by_rows(X, where)
    if is_dask(X):
        msg = f"{where} is a dask array, which this function does not support. Load it: {where} = {where}.compute()."
        raise TypeError(msg)
    if not (isinstance(X, np.ndarray) or (is_sparse(X) and X.format in {"csr", "csc"})):
        msg = (
            f"{where} is a {type(X).__name__}. It must be a numpy array or a scipy csr or csc matrix. "
            "Load or convert it first."
        )
        raise TypeError(msg)
    check_matrix(X, where)
    return X.astype(np.float32) if X.dtype == np.float16 else X  # sums of half precision overflow at 65,504


def values(X: Matrix) -> np.ndarray:
    """Return the stored entries: all entries of a dense matrix, those with a value of a sparse one."""
    return X.data if is_sparse(X) else X


def row_chunks(n: int, size: int = _CHUNK) -> Iterator[slice]:
    """Yield consecutive slices that cover ``n`` rows."""
    for first in range(0, n, size):
        yield slice(first, min(first + size, n))


def row_blocks(X: MatrixOrDask, size: int = _CHUNK) -> Iterator[tuple[slice, Matrix]]:
    """Yield blocks of rows with their slices: ``size`` rows of a matrix in memory, or each block of a dask array."""
    if is_dask(X):
        yield from over_blocks(X, itself)
        return
    for rows in row_chunks(X.shape[0], size):
        yield rows, X[rows]


def loaded(X: MatrixOrDask) -> Matrix:
    """Return the matrix in memory; a dask array is computed."""
    return to_memory(X) if is_dask(X) else X


@overload
def take(X: Matrix, rows: np.ndarray | slice | None, columns: np.ndarray | None) -> Matrix: ...


@overload
def take(X: DaskArray, rows: np.ndarray | slice | None, columns: np.ndarray | None) -> DaskArray: ...


@overload
def take(X: MatrixOrDask, rows: np.ndarray | slice | None, columns: np.ndarray | None) -> MatrixOrDask: ...


def take(X: MatrixOrDask, rows: np.ndarray | slice | None, columns: np.ndarray | None) -> MatrixOrDask:
    """Select rows and columns by number. Columns are not copied if all of them are selected in order."""
    if columns is not None and np.array_equal(columns, np.arange(X.shape[1])):
        columns = None
    if is_sparse(X) and X.format == "csc":
        X = X if columns is None else X[:, columns]
        return X if rows is None else X[rows]
    X = X if rows is None else X[rows]
    return X if columns is None else X[:, columns]


def as_dense(X: Matrix) -> np.ndarray:
    """Return a matrix in memory as a dense float64 array. A dense float64 array is not copied."""
    return np.asarray(X.toarray() if is_sparse(X) else X, dtype=np.float64)


def lognormalised(block: Matrix, total: float, columns: np.ndarray | None = None) -> Matrix:
    """Normalise counts of a dense or csr block to ``total`` per cell, take log1p, and return the columns as float32."""
    sums = np.asarray(block.sum(axis=1), dtype=np.float64).ravel()
    factor = (total / np.where(sums > 0, sums, 1)).astype(np.float32)
    block = take(block, None, columns).astype(np.float32)
    if not is_sparse(block):
        return np.log1p(block * factor[:, None])
    block.data *= np.repeat(factor, np.diff(block.indptr))
    np.log1p(block.data, out=block.data)
    return block


@dataclass(frozen=True)
class MatrixState:
    """What the values of a matrix are.

    ``total`` is the sum that all cells share: of ``expm1(x)`` for ``lognormalised``, of ``x`` for ``normalised``.
    """

    kind: Literal["counts", "normalised", "lognormalised", "centred", "other"]
    total: float | None = None

    def __str__(self) -> str:
        words = {
            "counts": "raw counts",
            "normalised": f"counts normalised to {self.total:g} per cell, not logged" if self.total else "",
            "lognormalised": f"log1p of counts normalised to {self.total:g} per cell" if self.total else "",
            "centred": "values below zero (centred or scaled)",
            "other": "non-negative values, neither counts nor log-normalised to a common total",
        }
        return words[self.kind]


def describe(X: MatrixOrDask, *, name: str = "adata.X") -> MatrixState:
    """Tell counts from normalised, log-normalised and centred values.

    Raises
    ------
    ValueError
        If there are NaN or infinite entries, or if all entries are zero.
    """
    return _state(*_look(X), name=name)


def describe_train(X: MatrixOrDask, train: np.ndarray, *, name: str = "adata.X") -> tuple[MatrixState, MatrixState]:
    """Describe all rows, for checks, and the train rows alone, for a record that must not depend on the other rows.

    The matrix is read once. ``train`` is a mask (n,). The same errors as of :func:`describe` are raised.
    """
    chosen, of_train = _every(np.arange(X.shape[0]), X.shape[0]), _every(np.flatnonzero(train), X.shape[0])
    blocks: Iterable[Any]
    if is_dask(X):
        blocks = (found for _, found in over_blocks(X, _look_at_both, chosen, train, of_train))
    else:
        size = _CHUNK_CSC if is_sparse(X) and X.format == "csc" else _CHUNK
        blocks = (_look_at_both(block, chosen[r], train[r], of_train[r]) for r, block in row_blocks(X, size))
    whole, part = (_joined(list(found)) for found in zip(*blocks, strict=True))
    return _state(*whole, name=name), _state(*part, name=f"the train cells of {name}")


def _state(low: float, high: float, sample: Matrix, *, name: str) -> MatrixState:
    if not np.isfinite(low + high):
        msg = f"{name} has NaN or infinite values. Find them with np.isfinite and drop or repair those cells or genes."
        raise ValueError(msg)
    if low < 0:
        return MatrixState("centred")
    if high == 0:
        msg = f"All values of {name} are zero. Pass the layer that holds the data."
        raise ValueError(msg)
    stored = values(sample)
    if np.array_equal(stored, np.round(stored)):
        return MatrixState("counts")
    total = _common_total(sample)
    if total is not None and (high > _HIGHEST_LOG or _is_round(total) or _multiples(sample)):
        return MatrixState("normalised", total)
    if high < 50:
        total = _common_total(sample.expm1() if is_sparse(sample) else np.expm1(sample))
        if total is not None:
            return MatrixState("lognormalised", total)
    return MatrixState("other")


def _look(X: MatrixOrDask) -> tuple[float, float, Matrix]:
    """Return the lowest and the highest entry (NaN if any entry is NaN), and a sample of rows at equal distances."""
    chosen = _every(np.arange(X.shape[0]), X.shape[0])
    if not is_dask(X):
        return _look_at_block(X, chosen)
    return _joined([found for _, found in over_blocks(X, _look_at_block, chosen)])


def _every(rows: np.ndarray, n: int) -> np.ndarray:
    """Return a mask (n,) of a sample of these rows, at equal distances."""
    chosen = np.zeros(n, dtype=bool)
    chosen[rows[:: max(1, len(rows) // _SAMPLE)]] = True
    return chosen


def _joined(found: list[tuple[float, float, Matrix]]) -> tuple[float, float, Matrix]:
    low, high, samples = zip(*found, strict=True)
    joined = sparse.vstack(samples, format="csr") if is_sparse(samples[0]) else np.concatenate(samples)
    return float(np.min(low)), float(np.max(high)), joined


def _look_at_both(
    block: Matrix, chosen: np.ndarray, train: np.ndarray, of_train: np.ndarray
) -> tuple[tuple[float, float, Matrix], tuple[float, float, Matrix]]:
    part = block if train.all() else block[np.flatnonzero(train)]
    return _look_at_block(block, chosen), _look_at_block(part, of_train[train])


def _look_at_block(block: Matrix, chosen: np.ndarray) -> tuple[float, float, Matrix]:
    stored = values(block)
    low, high = (float(stored.min()), float(stored.max())) if stored.size else (0.0, 0.0)
    return low, high, block[np.flatnonzero(chosen)]


def highest(X: MatrixOrDask) -> float:
    """Return the highest stored entry."""
    return _look(X)[1] if is_dask(X) else float(values(X).max())


def _common_total(sample: Matrix, tolerance: float = 1e-3) -> float | None:
    totals = np.asarray(sample.sum(axis=1), dtype=np.float64).ravel()
    totals = totals[totals > 0]
    middle = float(np.median(totals)) if len(totals) else np.nan
    if not len(totals) or np.abs(totals / middle - 1).max() > tolerance:
        return None
    if _is_round(middle):
        return float(f"{middle:.1g}")
    return None if _is_one_cell(sample) else float(f"{middle:.7g}")


def _is_round(total: float) -> bool:
    """Whether a total has one significant digit, like 10,000. It is then no accident that cells have it."""
    return bool(np.isclose(total, float(f"{total:.1g}"), rtol=1e-5))


def _is_one_cell(sample: Matrix) -> bool:
    """Whether all rows with entries are the same. A single cell always has one total."""
    rows = np.flatnonzero(np.asarray(sample.sum(axis=1)).ravel() > 0)
    first = sample[np.repeat(rows[:1], len(rows))]
    return bool((first != sample[rows]).sum() == 0)


def _multiples(sample: Matrix) -> bool:
    """Whether most rows hold multiples of their smallest entry above 0, as counts that were divided by a number do."""
    dense = as_dense(sample[:_SAMPLE_OF_MULTIPLES])
    dense = dense[dense.max(axis=1) > 0]
    unit = np.where(dense > 0, dense, np.inf).min(axis=1, keepdims=True)
    ratio = dense / unit
    return bool(np.mean((np.abs(ratio - np.round(ratio)) <= 1e-3 * np.maximum(ratio, 1)).all(axis=1)) > 0.5)


@dataclass(frozen=True)
class Moments:
    """Mean, variance (ddof 1) and number of non-zero entries of each gene over ``n`` cells; each (n_genes,)."""

    n: int
    mean: np.ndarray
    var: np.ndarray
    n_nonzero: np.ndarray


def moments(X: MatrixOrDask, mask: np.ndarray | None = None) -> Moments:
    """Compute the moments of each column over the rows in ``mask``, in float64 and one pass, without copying ``X``."""
    mask = np.ones(X.shape[0], dtype=bool) if mask is None else mask
    if is_sparse(X) and X.format == "csc":
        return _moments_csc(X, mask)
    return merged(_parts(X, mask), X.shape[1])


Part = tuple[int, np.ndarray, np.ndarray, np.ndarray]
"""Number of rows; mean, sum of squared deviations and number of non-zero entries of each column."""


def merged(parts: Iterable[Part], p: int) -> Moments:
    """Merge the moments of blocks of rows into those of ``p`` columns (Chan's formula)."""
    n, mean, m2 = 0, np.zeros(p), np.zeros(p)
    nonzero = np.zeros(p, dtype=np.int64)
    for k, block_mean, block_m2, block_nonzero in parts:
        if not k:
            continue
        delta = block_mean - mean
        m2 += block_m2 + delta**2 * (n * k / (n + k))
        mean += delta * (k / (n + k))
        n, nonzero = n + k, nonzero + block_nonzero
    return Moments(n, mean, variance(m2, mean, n), nonzero)


def _parts(X: MatrixOrDask, mask: np.ndarray) -> Iterator[Part]:
    """Yield the moments of consecutive blocks of rows; for a dask array, of its blocks."""
    if is_dask(X):
        yield from (part for _, part in over_blocks(X, block_moments, mask, wanted=mask))
        return
    size = _CHUNK if is_sparse(X) else max(1, _ENTRIES // max(X.shape[1], 1))
    for rows in row_chunks(X.shape[0], size):
        if mask[rows].any():
            yield block_moments(X[rows], mask[rows])


def variance(m2: np.ndarray, mean: np.ndarray, n: int) -> np.ndarray:
    """Compute variances from sums of squared deviations; 0 for a constant column, not the rounding error."""
    var = m2 / max(n - 1, 1)
    var[var <= (n * np.finfo(np.float64).eps * mean) ** 2] = 0
    return var


def block_moments(block: Matrix, keep: np.ndarray) -> Part:
    """Compute the moments of the rows in ``keep`` of a dense or csr block."""
    block = block if keep.all() else block[keep]
    k, p = block.shape
    if not is_sparse(block):
        block = block.astype(np.float64)
        mean = block.mean(axis=0) if k else np.zeros(p)
        return k, mean, ((block - mean) ** 2).sum(axis=0), (block != 0).sum(axis=0)
    data = block.data.astype(np.float64)
    mean, m2 = sparse_moments(block.indices, data, max(k, 1), p)
    return k, mean, m2, np.bincount(block.indices[data != 0], minlength=p)


def sparse_moments(indices: np.ndarray, data: np.ndarray, k: int, p: int) -> tuple[np.ndarray, np.ndarray]:
    """Compute mean and sum of squared deviations of ``p`` columns over ``k`` rows from their stored entries."""
    mean = np.bincount(indices, data, minlength=p) / k
    squares = np.bincount(indices, (data - mean[indices]) ** 2, minlength=p)
    return mean, squares + (k - np.bincount(indices, minlength=p)) * mean**2


def _moments_csc(X: Sparse, mask: np.ndarray) -> Moments:
    n = int(mask.sum())
    width = max(1, _ENTRIES * X.shape[1] // max(X.nnz, 1))
    parts = []
    for first in range(0, X.shape[1], width):
        block = X[:, first : first + width]
        inside = mask[block.indices]
        of_gene = np.repeat(np.arange(block.shape[1]), np.diff(block.indptr))[inside]
        data = block.data[inside].astype(np.float64)
        mean = np.bincount(of_gene, data, minlength=block.shape[1]) / max(n, 1)
        squares = np.bincount(of_gene, (data - mean[of_gene]) ** 2, minlength=block.shape[1])
        m2 = squares + (n - np.bincount(of_gene, minlength=block.shape[1])) * mean**2
        nonzero = np.bincount(of_gene[data != 0], minlength=block.shape[1])
        parts.append((mean, variance(m2, mean, n), nonzero))
    mean, var, nonzero = (np.concatenate(part) for part in zip(*parts, strict=True))
    return Moments(n, mean, var, nonzero)
