"""Mini-batches from a dask array that is never loaded as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from heldout._core.lazy import as_rows, block_rows, by_rows
from heldout._core.training import Batch, Blocks, to_tensor

if TYPE_CHECKING:
    from collections.abc import Iterator

    from heldout._core.arrays import Matrix

POOL = 32
"""Blocks of the array that are in memory, and shuffled, together."""


class StreamedBlocks(Blocks):
    """Mini-batches of some rows of a dask array; takes the place of :class:`heldout._core.training.Blocks`.

    How random it is: each epoch visits every row once. The array's blocks come in random order; 32 of them at a time
    are read, and their rows are shuffled together. So a batch is a random sample of the rows of 32 random blocks, not of all
    rows; with 32 blocks or fewer there is no difference. Without a seed the order is that of ``rows``, which must ascend.
    """

    def __init__(
        self, X: Any, rows: np.ndarray, beside: dict[str, np.ndarray], batch_size: int, *, seed: int | None = None
    ) -> None:
        super().__init__(X, rows, beside, batch_size, seed=seed)
        self.X = by_rows(X)
        blocks = self.X.to_delayed().ravel()
        edges = [(part.start, part.stop) for part in block_rows(self.X)]
        bounds = np.searchsorted(rows, np.array(edges, dtype=np.int64).reshape(-1, 2))
        self.parts = [
            (blocks[number], first, rows[start:stop])
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
                yield self._of(X[at:end], rows[at:end])
                left -= end - at
                at = end
            waiting, n = [(X[at:], rows[at:])], n - at

    def _pools(self) -> Iterator[tuple[Matrix, np.ndarray]]:
        """Rows of some blocks, shuffled together, with their numbers."""
        import dask

        order = np.arange(len(self.parts)) if self.rng is None else self.rng.permutation(len(self.parts))
        take = dask.delayed(_rows_of)
        for first in range(0, len(order), POOL):
            chosen = [self.parts[number] for number in order[first : first + POOL]]
            blocks = dask.compute(*(take(block, rows - start) for block, start, rows in chosen))
            X, rows = _joined(list(zip(blocks, (rows for _, _, rows in chosen), strict=True)))
            if self.rng is not None:
                shuffled = self.rng.permutation(len(rows))
                X, rows = X[shuffled], rows[shuffled]
            yield X, rows

    def _of(self, X: Matrix, rows: np.ndarray) -> list[Batch]:
        batches = [slice(first, first + self.batch_size) for first in range(0, len(rows), self.batch_size)]
        return [
            {"X": to_tensor(X[batch]), **{name: values[rows[batch]] for name, values in self.beside.items()}}
            for batch in batches
        ]


def _rows_of(block: Matrix, rows: np.ndarray) -> Matrix:
    return as_rows(block)[rows]


def _joined(parts: list[tuple[Matrix, np.ndarray]]) -> tuple[Matrix, np.ndarray]:
    if len(parts) == 1:
        return parts[0]
    blocks = [X for X, _ in parts]
    joined = sparse.vstack(blocks, format="csr") if sparse.issparse(blocks[0]) else np.concatenate(blocks)
    return joined, np.concatenate([rows for _, rows in parts])
