"""Mini-batches of cells with the conditions of a network, and with control cells of the same contexts."""

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
    from collections.abc import Iterator

    from heldout._core.types import Matrix
    from heldout.tasks.perturbation.networks._condition import Conditions
    from heldout.tasks.perturbation.observed import Cells


class PairedBlocks(BatchBlocks):
    """Mini-batches of cells with random train controls of the same contexts, as lists of batches.

    A batch has ``X`` and ``controls``, (batch × G) float32; ``row``, ``number`` and ``in``, (batch,) int64, the numbers
    of the cells, of their perturbations (-1: control) and of their contexts; and ``targets``, ``vectors``, ``unseen``,
    ``context`` and ``dose``, the tensors of :class:`heldout.tasks.perturbation.networks._condition.Conditions`. A cell
    gets another control in each epoch; without a seed it always gets the same. ``X`` of the AnnData stays sparse or
    dask: rows become dense in batches only, and only the controls are loaded as a whole.

    A subclass adds columns in :meth:`more`.

    Parameters
    ----------
    cells
        The cells that a method may see.
    rows
        Rows to iterate over, e.g. ``cells.train``. Rows of a dask array must be sorted.
    conditions
        The targets and contexts that the network knows.
    batch_size
        Number of rows in a batch. In training a last batch of one row is left out.
    seed
        Seed of the shuffling and of the controls. None keeps the order of ``rows``.
    controls
        Whether a batch has ``controls``. Without them no control cells are loaded.

    Raises
    ------
    ValueError
        If a context of the rows has no train controls.
    """

    def __init__(
        self,
        cells: Cells,
        rows: np.ndarray,
        conditions: Conditions,
        batch_size: int,
        *,
        seed: int | None = None,
        controls: bool = True,
    ) -> None:
        X = take(cells.X, None, cells.columns)
        of_cells = {"row": np.arange(len(cells.perturbation)), "number": cells.perturbation, "in": cells.context}
        dose = cells.dose
        if dose is not None:
            of_cells["dose"] = conditions.encode_dose(dose)
        self.cells: BatchBlocks
        if is_dask(X):
            self.cells = streamed(X, rows, of_cells, batch_size, seed=seed)
        else:
            X = X.tocsr() if is_sparse(X) and X.format == "csc" else X
            self.cells = BatchBlocks(X, rows, of_cells, batch_size, seed=seed)
        self.n_rows, self.batch_size, self.seed, self.epoch = self.cells.n_rows, batch_size, seed, 0
        # the last row is for controls, whose number is -1
        self.encoded, _ = conditions.encode_targets([*cells.targets, ()])
        self.conditions = conditions
        numbers = np.unique(cells.context[rows]).tolist() if controls else []
        self.pools = {context: _pool(cells, context) for context in numbers}

    def __len__(self) -> int:
        return len(self.cells)

    def __iter__(self) -> Iterator[list[Batch]]:
        rng = np.random.default_rng(0 if self.seed is None else [self.seed, self.epoch])
        self.epoch += 1
        for block in self.cells:
            yield [self._with_conditions(batch, rng) for batch in block]

    def more(self, batch: Batch, rng: np.random.Generator) -> Batch:
        """Further columns of a batch, each with one entry for each row. There are none here."""
        return {}

    def _with_conditions(self, batch: Batch, rng: np.random.Generator) -> Batch:
        context = batch["in"].numpy()
        number = batch["number"]
        made = {
            "X": batch["X"],
            **{name: batch[name] for name in ("row", "number", "in")},
            "targets": self.encoded["targets"][number],
            "vectors": self.encoded["vectors"][number],
            "unseen": self.encoded["unseen"][number],
            "context": torch.from_numpy(self.conditions.encode_context(context)[0]),
            "dose": batch.get("dose", torch.zeros(len(context))),
        }
        if self.pools:
            made["controls"] = controls = torch.empty_like(batch["X"])
            for c in np.unique(context):
                rows, pool = np.flatnonzero(context == c), self.pools[int(c)]
                controls[rows] = to_tensor(pool[rng.integers(pool.shape[0], size=len(rows))])
        return {**made, **self.more(made, rng)}


def _pool(cells: Cells, context: int) -> Matrix:
    """Train controls of a context, in an order that does not depend on the rows; a random part of very many."""
    rows = cells.in_order(cells.controls(context))
    if not len(rows):
        msg = f"Context {context} has no train controls, which each batch needs. Make a split with controls in train."
        raise ValueError(msg)
    if len(rows) > MOST_CONTROLS:
        rows = np.random.default_rng(0).permutation(rows)[:MOST_CONTROLS]
    pool = cells.fetch(rows)
    return pool.tocsr() if is_sparse(pool) else pool
