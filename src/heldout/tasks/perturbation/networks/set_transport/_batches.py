"""Batches of sets: measured cells of a perturbation, and control cells of its context."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from heldout._core.blocks import Batch, BatchBlocks, to_tensor
from heldout._core.types import is_sparse
from heldout.splitting._read_screen import CONTROL
from heldout.tasks.perturbation.pairs import Pair, Pairs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from heldout.tasks.perturbation.networks._condition import Conditions
    from heldout.tasks.perturbation.observed import Cells


class SetBlocks(BatchBlocks):
    """Batches of whole sets, as lists of batches with the cells of a set in consecutive rows.

    A batch has ``X``, measured cells, and ``controls``, train controls of the same context, (batch × G) float32, and
    the tensors of :class:`heldout.tasks.perturbation.networks._condition.Conditions`. In each epoch the cells of each
    perturbation are shuffled and cut into sets. The last set of a perturbation is filled with cells that are drawn
    again. Controls are a perturbation, too, without targets.

    Parameters
    ----------
    cells
        The cells that a method may see.
    rows
        Rows to iterate over.
    conditions
        The targets and contexts that the network knows.
    batch_size, set_size
        Number of cells in a batch and in a set.
    most
        Largest number of cells of each perturbation in each context. They are kept in memory.
    seed
        Seed of the draws. None gives the same sets in each epoch.
    """

    def __init__(
        self,
        cells: Cells,
        rows: np.ndarray,
        conditions: Conditions,
        batch_size: int,
        set_size: int,
        most: int,
        *,
        seed: int | None,
    ) -> None:
        self.set_size, self.seed, self.epoch = set_size, seed, 0
        self.sets_in_batch = max(1, batch_size // set_size)
        self.batch_size = self.sets_in_batch * set_size
        groups = _groups(cells, rows, most)
        self.pairs = Pairs.of([pair for pair, _ in groups])
        self.encoded, _ = conditions.encode(self.pairs)
        self.rows_of_set = [rows_of_group for _, rows_of_group in groups]
        used = {context: cells.in_order(cells.controls(context)) for context in np.unique(self.pairs.context).tolist()}
        self.pools = {context: np.random.default_rng(0).permutation(of)[:most] for context, of in used.items()}
        kept = np.unique(np.concatenate([*self.rows_of_set, *self.pools.values()]))
        self.place = np.full(len(cells.perturbation), -1)
        self.place[kept] = np.arange(len(kept))
        X = cells.fetch(kept)
        self.X = X.tocsr() if is_sparse(X) else X
        self.n_sets = sum(-(-len(of_group) // set_size) for of_group in self.rows_of_set)
        self.n_rows = self.n_sets * set_size

    def __len__(self) -> int:
        return -(-self.n_sets // self.sets_in_batch)

    def __iter__(self) -> Iterator[list[Batch]]:
        rng = np.random.default_rng(0 if self.seed is None else [self.seed, self.epoch])
        self.epoch += 1
        sets = [(group, rows) for group, of in enumerate(self.rows_of_set) for rows in _cut(of, self.set_size, rng)]
        order = np.arange(len(sets)) if self.seed is None else rng.permutation(len(sets))
        for first in range(0, len(sets), self.sets_in_batch):
            yield [self._batch([sets[i] for i in order[first : first + self.sets_in_batch]], rng)]

    def _batch(self, sets: list[tuple[int, np.ndarray]], rng: np.random.Generator) -> Batch:
        pools = [self.pools[int(self.pairs.context[group])] for group, _ in sets]
        starts = [_cut(pool, self.set_size, rng)[0] for pool in pools]
        group = torch.from_numpy(np.repeat([group for group, _ in sets], self.set_size))
        return {
            "X": self._dense(np.concatenate([rows for _, rows in sets])),
            "controls": self._dense(np.concatenate(starts)),
            **{name: values[group] for name, values in self.encoded.items()},
        }

    def _dense(self, rows: np.ndarray) -> torch.Tensor:
        return to_tensor(self.X[self.place[rows]])


def _groups(cells: Cells, rows: np.ndarray, most: int) -> list[tuple[Pair, np.ndarray]]:
    """Rows of each perturbation in each context, at most ``most``, in an order that the names of the cells fix."""
    rows = rows[np.argsort(np.argsort(cells.measured.order, kind="stable")[rows], kind="stable")]
    dose = cells.dose
    rng, groups = np.random.default_rng(0), []
    of_row = np.zeros(len(rows)) if dose is None else np.nan_to_num(dose[rows])
    keys = np.stack([cells.perturbation[rows], cells.context[rows], of_row], axis=1)
    for key in np.unique(keys, axis=0):
        of_group = rng.permutation(rows[(keys == key).all(axis=1)])[:most]
        number, context = int(key[0]), int(key[1])
        targets = () if number == CONTROL else cells.targets[number]
        groups.append((Pair(targets, context, None if dose is None else float(key[2])), of_group))
    return groups


def _cut(rows: np.ndarray, size: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Shuffle rows and cut them into sets; the last set is filled with rows that are drawn again."""
    n_sets = -(-len(rows) // size)
    shuffled = rng.permutation(rows)
    filled = np.concatenate([shuffled, rng.choice(rows, n_sets * size - len(rows))])
    return list(filled.reshape(n_sets, size))
