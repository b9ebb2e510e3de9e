"""Types that several modules share: matrices in memory and dask arrays of them, and how to tell them apart.

scipy and dask have no type information, so their side is described here, as far as this package uses it. What a
type checker knows after ``is_sparse(X)`` or ``is_dask(X)`` is what the code may do with ``X``.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from scipy import sparse

if TYPE_CHECKING:
    from typing_extensions import TypeIs


class Sparse(Protocol):
    """A scipy csr or csc matrix or array, (n × p)."""

    T: Any
    shape: tuple[int, int]
    dtype: np.dtype
    format: str
    nnz: int
    data: np.ndarray
    indices: np.ndarray
    indptr: np.ndarray
    has_canonical_format: bool

    def __getitem__(self, key: Any) -> Any: ...
    def __gt__(self, other: Any) -> Any: ...
    def __matmul__(self, other: Any) -> Any: ...
    def __mul__(self, other: Any) -> Any: ...
    def __ne__(self, other: object) -> Any: ...
    def astype(self, dtype: Any, *, copy: bool = True) -> Sparse: ...
    def copy(self) -> Sparse: ...
    def expm1(self) -> Sparse: ...
    def log1p(self) -> Sparse: ...
    def max(self, axis: int | None = None) -> Any: ...
    def mean(self, axis: int | None = None) -> Any: ...
    def min(self, axis: int | None = None) -> Any: ...
    def multiply(self, other: Any) -> Any: ...
    def sum(self, axis: int | None = None) -> Any: ...
    def sum_duplicates(self) -> None: ...
    def toarray(self) -> np.ndarray: ...
    def tocoo(self) -> Any: ...
    def tocsc(self) -> Sparse: ...
    def tocsr(self) -> Sparse: ...


class DaskArray(Protocol):
    """A dask array of dense, csr or csc blocks, (n × p)."""

    _meta: Any
    chunks: tuple[tuple[int, ...], ...]
    dtype: np.dtype
    name: str
    numblocks: tuple[int, ...]
    shape: tuple[int, int]

    def __getitem__(self, key: Any) -> DaskArray: ...
    def astype(self, dtype: Any) -> DaskArray: ...
    def compute(self, **options: Any) -> Any: ...
    def map_blocks(self, function: Any, *args: Any, **options: Any) -> DaskArray: ...
    def rechunk(self, chunks: Any) -> DaskArray: ...
    def to_delayed(self) -> np.ndarray: ...
    def __dask_graph__(self) -> Any: ...


Matrix = np.ndarray | Sparse
"""A matrix in memory, (n × p)."""

MatrixOrDask = Matrix | DaskArray
"""A matrix in memory, or a dask array."""


def is_sparse(X: object) -> TypeIs[Sparse]:
    """Whether this is a scipy sparse matrix or array in memory."""
    return bool(sparse.issparse(X))


def is_dask(X: object) -> TypeIs[DaskArray]:
    """Whether this is a dask array. Its owner has imported dask, so nothing is imported here."""
    dask = sys.modules.get("dask.array")
    return dask is not None and isinstance(X, dask.Array)
