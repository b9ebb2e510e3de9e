"""Mini-batches of perturbed cells, each with a control cell of its context and its targets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from heldout._core.arrays import take
from heldout._core.blocks import Batch, BatchBlocks, to_tensor
from heldout._core.streaming import streamed
from heldout._core.types import is_dask, is_sparse
from heldout.tasks.perturbation.predictions import MOST_CONTROLS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from heldout._core.types import Matrix
    from heldout.tasks.perturbation.observed import Cells


class PairedBlocks(BatchBlocks):
    """Mini-batches of cells with random train controls of the same contexts, as lists of batches.

    A batch has ``X`` and ``controls``, (batch × G) float32, ``targets``, (batch × T) float32 with 1 for each target,
    and ``context``, (batch,) int64. A cell gets another control in each epoch; without a seed it always gets the same.
    ``X`` of the AnnData stays sparse or dask: rows become dense in batches only, and only the controls are loaded as a
    whole.

    Parameters
    ----------
    cells
        The cells that a method may see.
    rows
        Rows to iterate over, e.g. ``cells.train``. Rows of a dask array must be sorted.
    targets
        Names of the columns of ``targets``. Other targets are left out, e.g. those that train has not seen.
    batch_size
        Number of rows in a batch. In training a last batch of one row is left out.
    seed
        Seed of the shuffling and of the controls. None keeps the order of ``rows``.

    Raises
    ------
    ValueError
        If a context of the rows has no train controls.
    """

    def __init__(
        self, cells: Cells, rows: np.ndarray, targets: Sequence[str], batch_size: int, *, seed: int | None = None
    ) -> None:
        X = take(cells.X, None, cells.columns)
        with_cells = {"perturbation": cells.perturbation, "context": cells.context}
        self.cells: BatchBlocks
        if is_dask(X):
            self.cells = streamed(X, rows, with_cells, batch_size, seed=seed)
        else:
            X = X.tocsr() if is_sparse(X) and X.format == "csc" else X
            self.cells = BatchBlocks(X, rows, with_cells, batch_size, seed=seed)
        self.n_rows, self.batch_size, self.seed, self.epoch = self.cells.n_rows, batch_size, seed, 0
        number = {target: i for i, target in enumerate(targets)}
        members = np.zeros((len(cells.targets) + 1, len(number)), dtype=np.float32)  # the last row is for controls (-1)
        for i, of_perturbation in enumerate(cells.targets):
            members[i, [number[target] for target in of_perturbation if target in number]] = 1
        self.members = torch.from_numpy(members)
        self.pools = {context: _pool(cells, context) for context in np.unique(cells.context[rows]).tolist()}

    def __len__(self) -> int:
        return len(self.cells)

    def __iter__(self) -> Iterator[list[Batch]]:
        rng = np.random.default_rng(0 if self.seed is None else [self.seed, self.epoch])
        self.epoch += 1
        for block in self.cells:
            yield [self._paired(batch, rng) for batch in block]

    def _paired(self, batch: Batch, rng: np.random.Generator) -> Batch:
        context = batch["context"].numpy()
        controls = torch.empty_like(batch["X"])
        for number in np.unique(context):
            rows, pool = np.flatnonzero(context == number), self.pools[int(number)]
            controls[rows] = to_tensor(pool[rng.integers(pool.shape[0], size=len(rows))])
        return {
            "X": batch["X"],
            "controls": controls,
            "targets": self.members[batch["perturbation"]],
            "context": batch["context"],
        }


def _pool(cells: Cells, context: int) -> Matrix:
    """Train controls of a context; a random part if there are very many."""
    rows = cells.controls(context)
    if not len(rows):
        msg = f"Context {context} has no train controls, which each batch needs. Make a split with controls in train."
        raise ValueError(msg)
    if len(rows) > MOST_CONTROLS:
        rows = np.sort(np.random.default_rng(0).permutation(rows)[:MOST_CONTROLS])
    pool = cells.fetch(rows)
    return pool.tocsr() if is_sparse(pool) else pool
