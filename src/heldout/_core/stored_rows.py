"""A csr matrix in a zarr store on disk, read a block of rows at a time."""

from __future__ import annotations

import os
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

_FORKED = False


def _forked() -> None:
    global _FORKED
    _FORKED = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


def fast() -> dict[str, Any]:
    """How the arrays of a store are opened: zarrs takes its chunks, and none is searched for a value, for none is empty.

    In a process that was forked zarrs would wait for threads that were not copied, so there zarr takes them itself.
    """
    pipeline = {} if _FORKED else {"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"}
    return {**pipeline, "array.write_empty_chunks": True}


class StoredRows:
    """Rows of ``X`` of a store.

    anndata reads them too, but takes as long again between two blocks as reading them takes.

    Parameters
    ----------
    path
        The store.
    dataset
        What anndata makes of its ``X``; it tells others where blocks come from.
    """

    def __init__(self, path: Path, dataset: Any) -> None:
        self.path, self.dataset, self.kind = path.resolve(), dataset, type(dataset[:1])
        self.changed = (self.path / "X" / "indptr" / "zarr.json").stat().st_mtime_ns

    def __dask_tokenize__(self) -> tuple[str, int]:
        return str(self.path), self.changed

    @property
    def dtype(self) -> np.dtype:
        """Of the values."""
        return self._opened()[0].dtype

    @property
    def n_entries(self) -> int:
        """Number of stored values."""
        return int(self._opened()[0].shape[0])

    def _opened(self) -> tuple[Any, Any, np.ndarray]:
        return _open(self.path, self.changed, os.getpid())

    def rows(self, start: int, stop: int) -> Any:
        """Some of them, one after the other, as csr."""
        data, indices, indptr = self._opened()
        ends = indptr[start : stop + 1]
        entries = slice(int(ends[0]), int(ends[-1]))
        try:
            parts = (data[entries], indices[entries], (ends - ends[0]).astype(np.int32))
        except RuntimeError as problem:
            msg = f"{self.path} cannot be read in the rows {start} to {stop - 1} ({problem}). Is the store damaged? Make it again."
            raise OSError(msg) from problem
        return self.kind(parts, shape=(stop - start, self.dataset.shape[1]))


@lru_cache(maxsize=4)
def _open(path: Path, changed: int, pid: int) -> tuple[Any, Any, np.ndarray]:
    """Arrays of a store and where its rows begin, once in a process and again when the store was made anew."""
    import zarr

    with zarr.config.set(fast()):
        group: Any = zarr.open_group(path, mode="r")["X"]
        return group["data"], group["indices"], group["indptr"][:]


def rows_of(stored: StoredRows, block_info: Any = None) -> Any:
    """The block that dask asks for."""
    return stored.rows(*block_info[None]["array-location"][0])
