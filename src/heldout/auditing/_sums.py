"""Sums over the cells of each unit, computed in one pass, and the names of the genes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from heldout._core.arrays import row_chunks, take
from heldout._core.lazy import block_rows
from heldout._core.types import is_dask, is_sparse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from heldout._core.types import MatrixOrDask
    from heldout.auditing._case import Case

_ENTRIES = 2**21
_CELLS = 4096
_SYMBOLS = ("gene_symbol", "gene_symbols", "gene_name", "gene_names", "feature_name", "symbol", "gene_short_name")
_ENSEMBL = re.compile(r"ENS[A-Z]*G\d{6,}")


@dataclass(frozen=True)
class UnitSums:
    """Sums over the cells of each unit.

    Parameters
    ----------
    n
        Number of cells, (U,).
    detected
        Number of cells that detect each gene, (U × p).
    total, squares
        Sum and sum of squares of the log-normalised values of each gene, (U × p).
    """

    n: np.ndarray
    detected: np.ndarray
    total: np.ndarray
    squares: np.ndarray

    @property
    def rate(self) -> np.ndarray:
        """Share of the cells that detect the gene, (U × p)."""
        return self.detected / np.maximum(self.n, 1)[:, None]

    @property
    def mean(self) -> np.ndarray:
        """Mean log-normalised value, (U × p)."""
        return self.total / np.maximum(self.n, 1)[:, None]


def blocks_of_rows(X: MatrixOrDask) -> Iterator[slice]:
    """Slices of rows that are small compared with the matrix. A csc matrix has few, because each reads all entries."""
    n, p = X.shape
    if is_dask(X):
        return iter(block_rows(X))
    if not is_sparse(X):
        return row_chunks(n, max(1, _ENTRIES // max(p, 1)))
    return row_chunks(n, _CELLS if X.format == "csr" else max(_CELLS, -(-n // 8)))


def unit_sums(case: Case, *partitions: str) -> UnitSums:
    """Sum over the cells of each unit in these partitions without a copy of the matrix."""
    X, _ = case.matrix
    wanted = case.mask(*partitions)
    n_units = len(case.units.names)
    detected, total, squares = (np.zeros((n_units, X.shape[1])) for _ in range(3))
    for rows in blocks_of_rows(X):
        keep = wanted[rows]
        if not keep.any():
            continue
        block = case.lognormalised(rows)
        block = block if keep.all() else take(block, np.flatnonzero(keep), None)
        member = _indicator(case.units.of_cell[rows][keep], n_units)
        if is_sparse(block):
            block = sparse.csr_array(block)
            total += (member @ block).toarray()
            powered = sparse.csr_array((block.data**2, block.indices, block.indptr), shape=block.shape)
            squares += (member @ powered).toarray()
            powered.data = (block.data != 0).astype(block.dtype)
            detected += (member @ powered).toarray()
        else:
            total += member @ block
            squares += member @ block**2
            detected += member @ (block != 0).astype(float)
    n = np.bincount(case.units.of_cell[wanted], minlength=n_units)
    return UnitSums(n, detected, total, squares)


def _indicator(unit_of_cell: np.ndarray, n_units: int) -> sparse.csr_array:
    """Indicator matrix of the unit of each cell, (U × m)."""
    m = len(unit_of_cell)
    return sparse.csr_array((np.ones(m), (unit_of_cell, np.arange(m))), shape=(n_units, m))


def gene_symbols(case: Case) -> np.ndarray:
    """Names of the genes, (p,): ``var_names``, or a column of symbols if ``var_names`` are Ensembl identifiers."""
    var = case.adata.var
    names = np.asarray(var.index, dtype=object).astype(str)
    if not sum(bool(_ENSEMBL.match(name)) for name in names[:100]) > min(len(names), 100) / 2:
        return names
    known = {str(column).lower(): column for column in var.columns}
    for column in _SYMBOLS:
        if column in known:
            symbols = np.asarray(var[known[column]].astype(object), dtype=object)
            missing = np.array([not isinstance(symbol, str) or not symbol for symbol in symbols])
            return np.where(missing, names, symbols).astype(str)
    return names
