"""Batches in which all groups have the same weight: single cells, and bags of cells of one group."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from heldout._core.blocks import Batch, BatchBlocks, to_tensor

if TYPE_CHECKING:
    from collections.abc import Iterator

    from heldout._core.types import Matrix


def members_of(rows: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> list[list[np.ndarray]]:
    """Rows of each group, by class: ``[class][group]``. A group of two classes is cut into two."""
    pairs, of_row = np.unique(np.stack([labels[rows], groups[rows]]), axis=1, return_inverse=True)
    of_row = of_row.ravel()
    order = np.argsort(of_row, kind="stable")
    parts = np.split(rows[order], np.cumsum(np.bincount(of_row))[:-1])
    return [[part for part, label in zip(parts, pairs[0], strict=True) if label == c] for c in np.unique(pairs[0])]


class BalancedBlocks(BatchBlocks):
    """Rows drawn so that each class has the same number of rows, and each group in its class too."""

    def __init__(
        self,
        X: Matrix,
        rows: np.ndarray,
        columns: dict[str, np.ndarray],
        batch_size: int,
        *,
        seed: int,
        groups: np.ndarray,
    ) -> None:
        super().__init__(X, rows, columns, batch_size, seed=seed)
        self.members = members_of(rows, columns["labels"], groups)

    def order(self) -> np.ndarray:
        """Draw anew for each epoch, as many rows as there are. The cells of a small group are drawn several times."""
        assert self.rng is not None
        n_classes = len(self.members)
        drawn = []
        for groups in self.members:
            n = -(-len(self.rows) // (n_classes * len(groups)))
            drawn += [self._draw(rows, n) for rows in groups]
        return self.rng.permutation(np.concatenate(drawn))[: len(self.rows)]

    def _draw(self, rows: np.ndarray, n: int) -> np.ndarray:
        assert self.rng is not None
        times = [self.rng.permutation(rows) for _ in range(-(-n // len(rows)))]
        return np.concatenate(times)[:n]


class Bags(BatchBlocks):
    """Batches of bags, which have some cells of one group. Classes take turns; groups of a class have equal weight."""

    def __init__(
        self,
        X: Matrix,
        rows: np.ndarray,
        columns: dict[str, np.ndarray],
        bag_size: int,
        n_bags: int,
        *,
        seed: int,
        groups: np.ndarray,
    ) -> None:
        super().__init__(X, rows, columns, bag_size, seed=seed)
        self.members, self.n_bags = members_of(rows, columns["labels"], groups), n_bags

    def __len__(self) -> int:
        return -(-len(self.rows) // (self.batch_size * self.n_bags))

    def __iter__(self) -> Iterator[list[Batch]]:
        assert self.rng is not None
        for _ in range(len(self)):
            bags = []
            for number in range(self.n_bags):
                groups = self.members[number % len(self.members)]
                rows = groups[int(self.rng.integers(len(groups)))]
                bags.append(self.rng.choice(rows, self.batch_size, replace=len(rows) < self.batch_size))
            yield [self.batch_of(bags)]

    def batch_of(self, bags: list[np.ndarray]) -> Batch:
        """Cells of some bags, with the number of the bag of each cell."""
        rows = np.concatenate(bags)
        bag = np.repeat(np.arange(len(bags)), [len(cells) for cells in bags])
        columns = {name: values[rows] for name, values in self.columns.items()}
        return {"X": to_tensor(self.X[rows]), "bag": torch.from_numpy(bag), **columns}


class WholeGroups(Bags):
    """Every group once, as a bag with all its cells, for validation."""

    def __len__(self) -> int:
        return sum(map(len, self.members))

    def __iter__(self) -> Iterator[list[Batch]]:
        for groups in self.members:
            for rows in groups:
                yield [self.batch_of([rows])]
