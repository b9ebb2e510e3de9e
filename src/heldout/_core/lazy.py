"""Dask arrays, a block of rows at a time. A ``dask.distributed.Client`` in scope computes the blocks."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from scipy import sparse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from heldout._core.types import Matrix

T = TypeVar("T")


def is_dask(X: Any) -> bool:
    """Whether this is a dask array; whoever has one has imported dask."""
    dask = sys.modules.get("dask.array")
    return dask is not None and isinstance(X, dask.Array)


def is_sparse(X: Matrix) -> bool:
    """Whether a matrix, or each block of a dask array, is sparse."""
    return sparse.issparse(X._meta if is_dask(X) else X)


def by_rows(X: Any, name: str = "adata.X") -> Any:
    """The dask array in blocks that hold whole rows; refuses blocks of unknown size."""
    if any(np.isnan(size) for sizes in X.chunks for size in sizes):
        msg = f"{name} is a dask array whose blocks have unknown sizes. Call its compute_chunk_sizes() first."
        raise ValueError(msg)
    return X if X.numblocks[1] == 1 else X.rechunk({1: -1})


def block_rows(X: Any) -> list[slice]:
    """Rows of each block."""
    ends = np.cumsum(X.chunks[0])
    return [slice(int(end) - size, int(end)) for end, size in zip(ends, X.chunks[0], strict=True)]


def over_blocks(
    X: Any, function: Callable[..., T], *beside: np.ndarray, wanted: np.ndarray | None = None
) -> Iterator[tuple[slice, T]]:
    """Results of ``function(block, *beside[rows])`` for the blocks of rows, in order.

    Two blocks a worker are computed at a time, so that memory stays bounded and workers stay busy.

    Parameters
    ----------
    X
        Dask array of dense, csr or csc blocks. A csc block is given as csr.
    function
        Called with a block and the parts of ``beside`` that belong to its rows; runs in a worker.
    beside
        Arrays (n_obs, …).
    wanted
        Mask (n_obs,); a block without a wanted row is left out and not computed.
    """
    import dask

    X = by_rows(X)
    call = dask.delayed(_call)
    todo = [
        (rows, call(function, block, *(array[rows] for array in beside)))
        for rows, block in zip(block_rows(X), X.to_delayed().ravel(), strict=True)
        if wanted is None or wanted[rows].any()
    ]
    yield from zip((rows for rows, _ in todo), computed([task for _, task in todo]), strict=True)


def computed(tasks: list[Any]) -> Iterator[Any]:
    """Results of delayed tasks, in order, two a worker at a time, so that memory stays bounded and workers stay busy."""
    size = 2 * n_workers()
    for first in range(0, len(tasks), size):
        yield from together(tasks[first : first + size])


def together(tasks: list[Any]) -> tuple[Any, ...]:
    """Results of delayed tasks; what several of them need is computed once."""
    import dask
    import dask.threaded

    own = _worker()
    if own is not None:  # one that waited for the others could wait for ever
        return dask.compute(*tasks, scheduler=dask.threaded.get, num_workers=own.state.nthreads)
    if client() is not None or dask.config.get("scheduler", None) is not None:
        return dask.compute(*tasks)
    return dask.compute(*tasks, scheduler=dask.threaded.get)  # what dask would choose, without a look for a cluster


def to_memory(X: Any) -> Matrix:
    """The dask array as one csr or dense matrix; blocks are let go as they come, so there is room for a few only."""
    if not is_sparse(X):
        dense = np.empty(X.shape, dtype=X.dtype)
        for rows, block in over_blocks(X, itself):
            dense[rows] = block
        return dense
    kind, n = sparse.csr_matrix, 0
    data, indices = np.empty(0, dtype=X.dtype), np.empty(0, dtype=np.int32)
    indptr = np.zeros(X.shape[0] + 1, dtype=np.int64)
    for rows, block in over_blocks(X, itself):
        kind, end = type(block), n + block.nnz
        if end > len(data):  # pages of an array that nothing was written to take no memory
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


def itself(block: Matrix) -> Matrix:
    """The block."""
    return block


def _call(function: Callable[..., T], block: Matrix, *beside: np.ndarray) -> T:
    return function(as_rows(block), *beside)


def as_rows(block: Matrix) -> Matrix:
    """A csc block as csr; half precision as single."""
    if sparse.issparse(block) and block.format != "csr":
        block = block.tocsr()
    return block.astype(np.float32) if block.dtype == np.float16 else block


def client() -> Any:
    """The ``dask.distributed.Client`` in scope, or None; None in a worker too."""
    distributed = sys.modules.get("distributed")
    if distributed is None or _worker() is not None:
        return None
    try:
        return distributed.get_client()
    except ValueError:  # no client in scope
        return None


def _worker() -> Any:
    """The worker of a cluster whose task this is, or None."""
    distributed = sys.modules.get("distributed")
    try:
        return None if distributed is None else distributed.get_worker()
    except ValueError:
        return None


def n_workers() -> int:
    """Threads that compute blocks: of the cluster whose client is in scope, of this worker of one, or of this machine."""
    import dask
    from dask.system import CPU_COUNT

    own, cluster = _worker(), client()
    if own is not None:
        return int(own.state.nthreads)
    if cluster is not None:
        return max(1, sum(cluster.nthreads().values()))
    return int(dask.config.get("num_workers", None) or CPU_COUNT)
