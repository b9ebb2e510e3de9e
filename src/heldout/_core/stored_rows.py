"""Read a csr matrix in a zarr store one block of rows at a time."""

from __future__ import annotations

import os
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from heldout._core.compressed import problem_of_numbers, problem_of_parts

if TYPE_CHECKING:
    from pathlib import Path

_FORKED = False


def _forked() -> None:
    global _FORKED
    _FORKED = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


def fast() -> dict[str, Any]:
    """Return the zarr settings for opening the arrays of a store.

    The zarrs package reads the chunks. Chunks are not searched for values when they are written, because none is empty.
    In a forked process zarrs would wait for threads that were not copied, so zarr reads the chunks there.
    """
    pipeline = {} if _FORKED else {"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"}
    return {**pipeline, "array.write_empty_chunks": True}


class StoredRows:
    """Reads rows of ``X`` of a store.

    anndata can read them too, but takes about twice as long.

    Parameters
    ----------
    path
        Path of the store.
    dataset
        The ``X`` that anndata opens lazily. It tells other modules where the blocks come from.
    """

    def __init__(self, path: Path, dataset: Any) -> None:
        self.path, self.dataset, self.kind = path.resolve(), dataset, type(dataset[:1])
        self.changed = (self.path / "X" / "indptr" / "zarr.json").stat().st_mtime_ns

    def __dask_tokenize__(self) -> tuple[str, int]:
        return str(self.path), self.changed

    @property
    def dtype(self) -> np.dtype:
        """Type of the values."""
        return self._opened()[0].dtype

    @property
    def n_entries(self) -> int:
        """Number of stored values."""
        return int(self._opened()[0].shape[0])

    def _opened(self) -> tuple[Any, Any, np.ndarray]:
        return _open(self.path, self.changed, os.getpid())

    def rows(self, start: int, stop: int) -> Any:
        """Return consecutive rows as csr."""
        data, indices, indptr = self._opened()
        ends = indptr[start : stop + 1]
        entries = slice(int(ends[0]), int(ends[-1]))
        try:
            parts = (data[entries], indices[entries], (ends - ends[0]).astype(np.int32))
        except RuntimeError as problem:
            raise OSError(self._damaged(start, stop, problem)) from problem
        shape = (stop - start, self.dataset.shape[1])
        wrong = problem_of_parts(*parts, shape) or problem_of_numbers(parts[1], parts[2], shape[1])
        if wrong is not None:
            raise OSError(self._damaged(start, stop, wrong))
        return self.kind(parts, shape=shape)

    def _damaged(self, start: int, stop: int, problem: object) -> str:
        return (
            f"Rows {start} to {stop - 1} of {self.path} cannot be read ({problem}). The store may be damaged. "
            "Make it again."
        )


@lru_cache(maxsize=4)
def _open(path: Path, changed: int, pid: int) -> tuple[Any, Any, np.ndarray]:
    """Open the arrays of a store and load where its rows begin: once per process, and again if the store changed."""
    import zarr

    with zarr.config.set(fast()):
        group: Any = zarr.open_group(path, mode="r")["X"]
        return group["data"], group["indices"], group["indptr"][:]


def rows_of(stored: StoredRows, block_info: Any = None) -> Any:
    """Return the block that dask asks for."""
    return stored.rows(*block_info[None]["array-location"][0])
