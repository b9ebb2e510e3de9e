"""Mini-batches of the rows of a matrix, and train and validation batches by the split."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from lightning.pytorch import LightningDataModule

from heldout._core.types import is_sparse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from heldout._core.types import Matrix

ROWS = 2048
"""Minimum number of rows in a block: one gather serves many batches and still needs little memory."""

Batch = dict[str, torch.Tensor]


class BatchBlocks:
    """Mini-batches of some rows of a matrix and of arrays with the same rows, as dense tensors, several at a time.

    It replaces a torch DataLoader, whose row-by-row fetching costs more than a step of a small network. It yields lists
    of batches: the rows of all batches of a list are gathered at once, and Lightning does its bookkeeping once for each
    list. Only one block is in memory in addition to the matrix.

    Parameters
    ----------
    X
        Matrix (n_obs × n_features), dense or csr.
    rows
        Row numbers to iterate over.
    columns
        Arrays (n_obs,) or (n_obs × k) that are batched together with the matrix, by name.
    batch_size
        Number of rows in a batch. In training a last batch of one row is left out, because batch norm needs two rows.
    seed
        Seed of the shuffling, with a new order in each epoch. None keeps the order of ``rows``.
    """

    def __init__(
        self, X: Matrix, rows: np.ndarray, columns: dict[str, np.ndarray], batch_size: int, *, seed: int | None = None
    ) -> None:
        self.X, self.rows, self.batch_size = X, rows, batch_size
        self.columns = {name: torch.from_numpy(np.asarray(values)) for name, values in columns.items()}
        self.rng = None if seed is None else np.random.default_rng(seed)
        single = self.rng is not None and len(rows) > 1 and len(rows) % batch_size == 1
        self.n_rows = len(rows) - single
        self.block = batch_size * max(1, ROWS // batch_size)

    def __len__(self) -> int:
        return -(-self.n_rows // self.block)

    def __iter__(self) -> Iterator[list[Batch]]:
        rows = self.order()
        for start in range(0, self.n_rows, self.block):
            block = rows[start : min(start + self.block, self.n_rows)]
            yield self.batches_of(self.X[block], block)

    def order(self) -> np.ndarray:
        """Rows of an epoch. A subclass may draw them in another way, but must return the same number of rows."""
        return self.rows if self.rng is None else self.rng.permutation(self.rows)

    def batches_of(self, X: Matrix, rows: np.ndarray) -> list[Batch]:
        """Cut the rows of a block, and their row numbers, into batches."""
        batches = [slice(first, first + self.batch_size) for first in range(0, len(rows), self.batch_size)]
        return [
            {"X": to_tensor(X[batch]), **{name: values[rows[batch]] for name, values in self.columns.items()}}
            for batch in batches
        ]


def to_tensor(X: Matrix) -> torch.Tensor:
    """Dense float32 tensor of some rows."""
    return torch.from_numpy(np.ascontiguousarray(X.toarray() if is_sparse(X) else X, dtype=np.float32))


class SplitDataModule(LightningDataModule):
    """Train and validation batches by the split. Rows in test or unused are never read.

    ``train_blocks`` and ``val_blocks`` replace the usual :class:`BatchBlocks` of these rows.
    """

    def __init__(
        self,
        X: Any,
        train: np.ndarray,
        val: np.ndarray,
        columns: dict[str, np.ndarray],
        batch_size: int,
        *,
        seed: int,
        train_blocks: BatchBlocks | None = None,
        val_blocks: BatchBlocks | None = None,
    ) -> None:
        super().__init__()
        self.train_idx, self.val_idx = train, val
        self.n_train, self.n_val = len(train), len(val)
        self._train = BatchBlocks(X, train, columns, batch_size, seed=seed) if train_blocks is None else train_blocks
        self._val = BatchBlocks(X, val, columns, max(batch_size, ROWS)) if val_blocks is None else val_blocks

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Move a block to a device. Tensors are on the CPU already, and Lightning would look at each of them."""
        if device.type == "cpu":
            return batch
        return super().transfer_batch_to_device(batch, device, dataloader_idx)

    def train_dataloader(self) -> BatchBlocks:
        """Shuffled train batches."""
        return self._train

    def val_dataloader(self) -> BatchBlocks:
        """Validation batches in order."""
        return self._val
