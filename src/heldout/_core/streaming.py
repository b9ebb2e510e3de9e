"""Mini-batches from a dask array that is never loaded as a whole."""

from __future__ import annotations

import logging
from functools import cached_property
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from heldout._core.blocks import Batch, BatchBlocks
from heldout._core.lazy import as_rows, block_rows, by_rows, client, together
from heldout._core.types import is_sparse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from heldout._core.types import Matrix

logger = logging.getLogger("heldout")

POOL = 32
"""Blocks of the array that are in memory, and shuffled, together."""


class StreamedBlocks(BatchBlocks):
    """Mini-batches of some rows of a dask array; replaces :class:`heldout._core.blocks.BatchBlocks`.

    Each epoch visits every row once. The blocks of the array come in random order. 32 of them are read at a time, and
    their rows are shuffled together. So a batch is a random sample of the rows of 32 random blocks, not of all rows.
    With 32 blocks or fewer there is no difference. Without a seed the order is that of ``rows``, which must be
    ascending. ``read`` returns the wanted rows of some blocks; by default dask computes them.
    """

    def __init__(
        self,
        X: Any,
        rows: np.ndarray,
        columns: dict[str, np.ndarray],
        batch_size: int,
        *,
        seed: int | None = None,
        read: Callable[[list[tuple[int, np.ndarray, np.ndarray]]], list[Matrix]] | None = None,
    ) -> None:
        super().__init__(X, rows, columns, batch_size, seed=seed)
        self.array = by_rows(X)
        self.read = self._read_with_dask if read is None else read
        edges = [(part.start, part.stop) for part in block_rows(self.array)]
        bounds = np.searchsorted(rows, np.array(edges, dtype=np.int64).reshape(-1, 2))
        self.parts = [
            (number, rows[start:stop] - first, rows[start:stop])
            for number, ((first, _), (start, stop)) in enumerate(zip(edges, bounds, strict=True))
            if stop > start
        ]

    def __iter__(self) -> Iterator[list[Batch]]:
        waiting: list[tuple[Matrix, np.ndarray]] = []
        n, left = 0, self.n_rows
        for X, rows in self._pools():
            waiting.append((X, rows))
            n += len(rows)
            if n < self.block and n < left:
                continue
            X, rows = _joined(waiting)
            at = 0
            while left and (n - at >= self.block or n - at >= left):
                end = at + min(self.block, left)
                yield self.batches_of(X[at:end], rows[at:end])
                left -= end - at
                at = end
            waiting, n = [(X[at:], rows[at:])], n - at

    def _pools(self) -> Iterator[tuple[Matrix, np.ndarray]]:
        """Rows of some blocks, shuffled together, with their numbers."""
        order = np.arange(len(self.parts)) if self.rng is None else self.rng.permutation(len(self.parts))
        for first in range(0, len(order), POOL):
            chosen = [self.parts[number] for number in order[first : first + POOL]]
            X, rows = _joined(list(zip(self.read(chosen), (rows for _, _, rows in chosen), strict=True)))
            if self.rng is not None:
                shuffled = self.rng.permutation(len(rows))
                X, rows = X[shuffled], rows[shuffled]
            yield X, rows

    @cached_property
    def _blocks(self) -> np.ndarray:
        return self.array.to_delayed().ravel()

    def _read_with_dask(self, chosen: list[tuple[int, np.ndarray, np.ndarray]]) -> list[Matrix]:
        """The wanted rows of some blocks."""
        import dask

        take = dask.delayed(_rows_of)
        return list(together([take(self._blocks[number], inside) for number, inside, _ in chosen]))


def streamed(
    X: Any, rows: np.ndarray, columns: dict[str, np.ndarray], batch_size: int, *, seed: int | None = None
) -> StreamedBlocks:
    """Mini-batches of some rows of a dask array; annbatch reads them where possible.

    It is possible if annbatch is installed, ``X`` is computed block by block from a csr matrix in a zarr store, and no
    cluster is in use. The batches are the same.
    """
    if find_spec("annbatch") is not None and client() is None:
        from heldout._core.annbatch_blocks import AnnbatchReader, source_of

        X = by_rows(X)
        source = source_of(X)
        if source is not None:
            logger.info("annbatch reads the blocks of X")
            return StreamedBlocks(X, rows, columns, batch_size, seed=seed, read=AnnbatchReader(X, source))
    return StreamedBlocks(X, rows, columns, batch_size, seed=seed)


def _rows_of(block: Matrix, rows: np.ndarray) -> Matrix:
    return as_rows(block)[rows]


def _joined(parts: list[tuple[Matrix, np.ndarray]]) -> tuple[Matrix, np.ndarray]:
    if len(parts) == 1:
        return parts[0]
    blocks: list[Any] = [X for X, _ in parts]
    joined = sparse.vstack(blocks, format="csr") if is_sparse(blocks[0]) else np.concatenate(blocks)
    return joined, np.concatenate([rows for _, rows in parts])
