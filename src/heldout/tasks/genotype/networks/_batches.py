"""Batches in which libraries count the same: single cells drawn evenly, and bags of cells of one library."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from heldout._core.training import Batch, Blocks, to_tensor

if TYPE_CHECKING:
    from collections.abc import Iterator

    from heldout._core.types import Matrix


def members_of(rows: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> list[list[np.ndarray]]:
    """Rows of each group (or of each part of it with one label), by class: ``[class][group]``."""
    pairs, of_row = np.unique(np.stack([labels[rows], groups[rows]]), axis=1, return_inverse=True)
    of_row = of_row.ravel()
    order = np.argsort(of_row, kind="stable")
    parts = np.split(rows[order], np.cumsum(np.bincount(of_row))[:-1])
    return [[part for part, label in zip(parts, pairs[0], strict=True) if label == c] for c in np.unique(pairs[0])]


class BalancedBlocks(Blocks):
    """Rows drawn so that each class, and each group in its class, gives the same number."""

    def __init__(
        self,
        X: Matrix,
        rows: np.ndarray,
        beside: dict[str, np.ndarray],
        batch_size: int,
        *,
        seed: int,
        groups: np.ndarray,
    ) -> None:
        super().__init__(X, rows, beside, batch_size, seed=seed)
        self.members = members_of(rows, beside["labels"], groups)

    def order(self) -> np.ndarray:
        """A new draw each epoch, as many rows as there are; a small group's cells come several times."""
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


class Bags(Blocks):
    """Batches of bags, each some cells of one group; classes take turns, groups of a class are drawn evenly."""

    def __init__(
        self,
        X: Matrix,
        rows: np.ndarray,
        beside: dict[str, np.ndarray],
        bag_size: int,
        n_bags: int,
        *,
        seed: int,
        groups: np.ndarray,
    ) -> None:
        super().__init__(X, rows, beside, bag_size, seed=seed)
        self.members, self.n_bags = members_of(rows, beside["labels"], groups), n_bags

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
        """Cells of some bags, with the number of their bag."""
        rows = np.concatenate(bags)
        bag = np.repeat(np.arange(len(bags)), [len(one) for one in bags])
        beside = {name: values[rows] for name, values in self.beside.items()}
        return {"X": to_tensor(self.X[rows]), "bag": torch.from_numpy(bag), **beside}


class WholeGroups(Bags):
    """Every group once, with all its cells, as a bag of its own; for val."""

    def __len__(self) -> int:
        return sum(map(len, self.members))

    def __iter__(self) -> Iterator[list[Batch]]:
        for groups in self.members:
            for rows in groups:
                yield [self.batch_of([rows])]
