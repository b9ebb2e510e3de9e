"""Dask arrays, computed one block of rows at a time; by the ``dask.distributed.Client`` in scope, if there is one."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from scipy import sparse

from heldout._core.compressed import check_matrix
from heldout._core.types import is_dask, is_sparse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from heldout._core.types import DaskArray, Matrix, MatrixOrDask, Sparse

T = TypeVar("T")


def has_sparse_blocks(X: MatrixOrDask) -> bool:
    """Whether a matrix in memory, or each block of a dask array, is sparse."""
    return is_sparse(X._meta if is_dask(X) else X)


def by_rows(X: DaskArray, name: str = "adata.X") -> DaskArray:
    """Return the dask array in blocks that hold complete rows; refuse blocks of unknown size."""
    if any(np.isnan(size) for sizes in X.chunks for size in sizes):
        msg = f"{name} is a dask array whose blocks have unknown sizes. Call its compute_chunk_sizes() first."
        raise ValueError(msg)
    return X if X.numblocks[1] == 1 else X.rechunk({1: -1})


def block_rows(X: DaskArray) -> list[slice]:
    """Return the rows of each block."""
    ends = np.cumsum(X.chunks[0])
    return [slice(int(end) - size, int(end)) for end, size in zip(ends, X.chunks[0], strict=True)]


def over_blocks(
    X: DaskArray, function: Callable[..., T], *row_values: np.ndarray, wanted: np.ndarray | None = None
) -> Iterator[tuple[slice, T]]:
    """Yield ``function(block, *row_values[rows])`` for each block of rows, in order.

    Two blocks per worker are computed at a time. This bounds the memory and keeps the workers busy.

    Parameters
    ----------
    X
        Dask array of dense, csr or csc blocks. A csc block is passed to ``function`` as csr.
    function
        Called with a block and the parts of ``row_values`` that belong to its rows; runs in a worker.
    row_values
        Arrays (n_obs, …).
    wanted
        Mask (n_obs,). A block without a wanted row is skipped and not computed.
    """
    import dask

    X = by_rows(X)
    call = dask.delayed(_call)
    todo = [
        (rows, call(function, block, *(array[rows] for array in row_values)))
        for rows, block in zip(block_rows(X), X.to_delayed().ravel(), strict=True)
        if wanted is None or wanted[rows].any()
    ]
    yield from zip((rows for rows, _ in todo), computed([task for _, task in todo]), strict=True)


def computed(tasks: list[Any]) -> Iterator[Any]:
    """Yield the results of delayed tasks in order. Two tasks per worker are computed at a time."""
    size = 2 * n_workers()
    for first in range(0, len(tasks), size):
        yield from together(tasks[first : first + size])


def together(tasks: list[Any]) -> tuple[Any, ...]:
    """Compute delayed tasks together. A step that several tasks need is computed once."""
    import dask
    import dask.threaded

    worker = _worker()
    if worker is not None:  # a worker that waits for other workers can wait for ever
        return dask.compute(*tasks, scheduler=dask.threaded.get, num_workers=worker.state.nthreads)
    if client() is not None or dask.config.get("scheduler", None) is not None:
        return dask.compute(*tasks)
    return dask.compute(*tasks, scheduler=dask.threaded.get)  # the default of dask, without its search for a cluster


def to_memory(X: DaskArray) -> Matrix:
    """Compute a dask array into one csr or dense matrix. Only a few blocks are in memory in addition to the result."""
    if not has_sparse_blocks(X):
        dense = np.empty(X.shape, dtype=X.dtype)
        for rows, block in over_blocks(X, itself):
            dense[rows] = block
        return dense
    kind: Any = sparse.csr_matrix
    n = 0
    data, indices = np.empty(0, dtype=X.dtype), np.empty(0, dtype=np.int32)
    indptr = np.zeros(X.shape[0] + 1, dtype=np.int64)
    blocks: Iterator[tuple[slice, Sparse]] = over_blocks(X, itself)
    for rows, block in blocks:
        kind, end = type(block), n + block.nnz
        if end > len(data):  # pages of an array take no memory until something is written to them
            room = max(end, int(1.1 * end / rows.stop * X.shape[0]))
            data, indices = _with_room(data, n, room), _with_room(indices, n, room)
        data[n:end], indices[n:end] = block.data, block.indices
        indptr[rows.start + 1 : rows.stop + 1] = n + block.indptr[1:]
        n = end
    return kind((data[:n], indices[:n], indptr), shape=X.shape)


def _with_room(values: np.ndarray, n: int, room: int) -> np.ndarray:
    longer = np.empty(room, dtype=values.dtype)
    longer[:n] = values[:n]
    return longer


def itself(block: Any) -> Any:
    """Return the block as it is."""
    return block


def _call(function: Callable[..., T], block: Matrix, *row_values: np.ndarray) -> T:
    check_matrix(block, "A block of the dask array")
    return function(as_rows(block), *row_values)


def as_rows(block: Matrix) -> Matrix:
    """Return a csc block as csr, and half precision as single precision."""
    if is_sparse(block) and block.format != "csr":
        block = block.tocsr()
    return block.astype(np.float32) if block.dtype == np.float16 else block


def client() -> Any:
    """Return the ``dask.distributed.Client`` in scope, or None. In a worker it is None."""
    distributed = sys.modules.get("distributed")
    if distributed is None or _worker() is not None:
        return None
    try:
        return distributed.get_client()
    except ValueError:  # no client in scope
        return None


def _worker() -> Any:
    """Return the worker of a cluster that runs this task, or None."""
    distributed = sys.modules.get("distributed")
    try:
        return None if distributed is None else distributed.get_worker()
    except ValueError:
        return None


def n_workers() -> int:
    """Count the threads that compute blocks: those of this worker, of the cluster in scope, or of this machine."""
    import dask
    from dask.system import CPU_COUNT

    worker, cluster = _worker(), client()
    if worker is not None:
        return int(worker.state.nthreads)
    if cluster is not None:
        return max(1, sum(cluster.nthreads().values()))
    return int(dask.config.get("num_workers", None) or CPU_COUNT)
