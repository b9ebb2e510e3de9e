"""Measured cells that a fit keeps, and how they are stored as arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from heldout._core.method import with_prefix
from heldout.tasks.perturbation.pairs import Pair
from heldout.tasks.perturbation.predictions import dense_rows

if TYPE_CHECKING:
    from collections.abc import Mapping

    from heldout.tasks.perturbation.observed import Cells


@dataclass(frozen=True)
class StoredCells:
    """Some train cells of each perturbation in each context.

    Parameters
    ----------
    X
        The cells, csr float32, (n × G).
    ends
        First row of each group, and the number of rows at the end, (groups + 1,).
    pairs
        Perturbation of each group.
    """

    X: Any
    ends: np.ndarray
    pairs: list[Pair]

    @classmethod
    def of(cls, cells: Cells, rng: np.random.Generator, most: int) -> StoredCells:
        """Draw cells of train; which cells these are does not depend on the order of the rows."""
        groups = cells.train_groups(rng, most)
        X = sparse.csr_matrix(cells.fetch(np.concatenate([rows for _, rows in groups])), dtype=np.float32)
        X.sort_indices()
        return cls(X, np.cumsum([0, *(len(of_group) for _, of_group in groups)]), [pair for pair, _ in groups])

    def arrays(self) -> dict[str, np.ndarray]:
        """Arrays for :meth:`load`."""
        return {**arrays_of(self.X), "groups": self.ends}

    def to_json(self) -> list[list[Any]]:
        """Targets, context and dose of each group."""
        return [[list(pair.targets), pair.context, pair.dose] for pair in self.pairs]

    @classmethod
    def load(cls, arrays: Mapping[str, np.ndarray], stored: list[list[Any]], n_genes: int) -> StoredCells:
        """Inverse of :meth:`arrays` and :meth:`to_json`."""
        return cls(
            matrix_of(arrays, n_genes),
            arrays["groups"],
            [Pair(tuple(targets), context, dose) for targets, context, dose in stored],
        )

    def dense(self, group: int) -> np.ndarray:
        """Cells of a group, float64, (n × G)."""
        return dense_rows(self.X, np.arange(self.ends[group], self.ends[group + 1]))

    def some(self, n: int) -> np.ndarray:
        """A few cells, as many of each perturbation as possible, float64, (n × G)."""
        sizes = np.diff(self.ends)
        place = np.arange(len(self.X.indptr) - 1) - np.repeat(self.ends[:-1], sizes)
        return dense_rows(self.X, np.sort(np.argsort(place, kind="stable")[:n]))


def arrays_of(X: sparse.csr_matrix, prefix: str = "") -> dict[str, np.ndarray]:
    """Cells, csr, as arrays with a prefix in their names."""
    return with_prefix({"values": X.data, "genes": X.indices, "cells": X.indptr}, prefix)


def matrix_of(arrays: Mapping[str, np.ndarray], n_genes: int, prefix: str = "") -> sparse.csr_matrix:
    """Inverse of :func:`arrays_of`, (n × G)."""
    values, genes, cells = (arrays[f"{prefix}{name}"] for name in ("values", "genes", "cells"))
    return sparse.csr_matrix((values, genes, cells), shape=(len(cells) - 1, n_genes))
