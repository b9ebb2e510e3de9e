"""Batches in which all groups have the same weight: single cells, and bags of cells of one group."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from heldout._core.blocks import ROWS, Batch, BatchBlocks, to_tensor

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
        return len(self._cut([self.batch_size * self.n_bags] * self._n_batches))

    def __iter__(self) -> Iterator[list[Batch]]:
        for sizes in self._cut([self.batch_size * self.n_bags] * self._n_batches):
            yield self.batches_of_bags([self._draw() for _ in sizes])

    @property
    def _n_batches(self) -> int:
        """Number of batches with as many cells as there are rows."""
        return -(-len(self.rows) // (self.batch_size * self.n_bags))

    def _draw(self) -> list[np.ndarray]:
        """Rows of the bags of one batch."""
        assert self.rng is not None
        bags = []
        for number in range(self.n_bags):
            groups = self.members[number % len(self.members)]
            rows = groups[int(self.rng.integers(len(groups)))]
            bags.append(self.rng.choice(rows, self.batch_size, replace=len(rows) < self.batch_size))
        return bags

    @staticmethod
    def _cut(sizes: list[int]) -> list[list[int]]:
        """Sizes of batches, cut into blocks of about ``ROWS`` rows."""
        blocks: list[list[int]] = []
        for size in sizes:
            if blocks and sum(blocks[-1]) + size <= ROWS:
                blocks[-1].append(size)
            else:
                blocks.append([size])
        return blocks

    def batches_of_bags(self, batches: list[list[np.ndarray]]) -> list[Batch]:
        """Gather the cells of some batches at once, with the number of the bag of each cell."""
        of_batch = [np.concatenate(bags) for bags in batches]
        X = to_tensor(self.X[np.concatenate(of_batch)])
        parts = torch.split(X, [len(rows) for rows in of_batch])
        return [
            {
                "X": part,
                "bag": torch.from_numpy(np.repeat(np.arange(len(bags)), [len(cells) for cells in bags])),
                **{name: values[rows] for name, values in self.columns.items()},
            }
            for part, rows, bags in zip(parts, of_batch, batches, strict=True)
        ]


class WholeGroups(Bags):
    """Every group once, as a bag with all its cells, for validation."""

    def __len__(self) -> int:
        return len(self._cut(self._sizes))

    def __iter__(self) -> Iterator[list[Batch]]:
        bags = [rows for groups in self.members for rows in groups]
        at = 0
        for sizes in self._cut(self._sizes):
            yield self.batches_of_bags([bags[at : at + len(sizes)]])
            at += len(sizes)

    @property
    def _sizes(self) -> list[int]:
        return [len(rows) for groups in self.members for rows in groups]
