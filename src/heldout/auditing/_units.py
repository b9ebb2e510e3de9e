"""The independent units of an audit: groups, or the samples of a group where it has several labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from heldout._core.partition import PARTITIONS
from heldout._core.store import as_names, factorize

_MAX_LEVELS = 10
"""Numeric covariates with more distinct values than this are cut into quartiles."""


@dataclass(frozen=True)
class AuditUnits:
    """The U independent units, sorted by name.

    A unit is a group. If cells of one group have several labels (e.g. a donor before and after treatment), each pair of
    group and label is a unit, and labels can be permuted only within the group. Cells that are not in train, val or
    test belong to no unit.

    Parameters
    ----------
    names, groups
        Name of each unit and of its group, (U,) text.
    of_cell
        Unit number of each cell, (n,). -1 for cells without a unit.
    labels
        Label of each unit, (U,) text, or None.
    counts
        Number of cells of each unit in each partition, (U × 4).
    paired
        Whether a group has several labels.
    """

    names: np.ndarray
    groups: np.ndarray
    of_cell: np.ndarray
    labels: np.ndarray | None
    counts: np.ndarray
    paired: bool

    @classmethod
    def of(cls, groups: np.ndarray, labels: np.ndarray | None, codes: np.ndarray) -> AuditUnits:
        """Build the units from the group, label and partition code of each cell in train, val and test."""
        used = np.isin(codes, [PARTITIONS.index(name) for name in ("train", "val", "test")])
        groups, labels = groups[used], None if labels is None else labels[used]
        group_names, group_of_cell = factorize(groups)
        if labels is None:
            names, unit_groups, of_cell, unit_labels, paired = group_names, group_names, group_of_cell, None, False
        else:
            label_names, label_of_cell = factorize(labels)
            pairs, of_cell = np.unique(np.stack([group_of_cell, label_of_cell]), axis=1, return_inverse=True)
            of_cell = of_cell.ravel()
            unit_groups, unit_labels = group_names[pairs[0]], label_names[pairs[1]]
            paired = pairs.shape[1] > len(group_names)
            names = np.array([f"{g} {y}" for g, y in zip(unit_groups, unit_labels, strict=True)], dtype=object)
            names = names if paired else unit_groups
        counts = np.zeros((len(names), len(PARTITIONS)), dtype=np.int64)
        np.add.at(counts, (of_cell, codes[used]), 1)
        of_every_cell = np.full(len(codes), -1)
        of_every_cell[used] = of_cell
        return cls(names, unit_groups, of_every_cell, unit_labels, counts, paired)

    def within(self, *partitions: str) -> np.ndarray:
        """Mask (U,) of the units with cells in any of these partitions."""
        return self.counts[:, [PARTITIONS.index(p) for p in partitions]].sum(axis=1) > 0

    @property
    def test_only(self) -> np.ndarray:
        """Mask (U,) of the units with cells in test and none in train or val."""
        return self.within("test") & ~self.within("train", "val")

    def values(self, column: pd.Series) -> np.ndarray | None:
        """Value of a column for each unit, (U,) text. None if a unit has several values or a used cell has none.

        Numbers that vary within units are averaged. Numbers with more than ten distinct values are cut into quartiles.
        """
        used = self.of_cell >= 0
        column = column[used]
        if column.isna().any():
            return None
        if pd.api.types.is_numeric_dtype(column.dtype) and not pd.api.types.is_bool_dtype(column.dtype):
            numbers = column.to_numpy(dtype=float)
            if not np.isfinite(numbers).all():
                return None
            first = self._any(numbers)
            constant = np.array_equal(first[self.of_cell[used]], numbers)
            if constant and len(np.unique(numbers)) <= _MAX_LEVELS:
                return as_names(first)
            return _quartiles(first if constant else np.bincount(self.of_cell[used], numbers) / self.counts.sum(axis=1))
        codes, unique = pd.factorize(as_names(column), sort=True)
        first = self._any(codes)
        return unique[first] if np.array_equal(first[self.of_cell[used]], codes) else None

    def _any(self, values: np.ndarray) -> np.ndarray:
        """Value of one cell of each unit, (U,), from the values of all used cells."""
        result = np.empty(len(self.names), dtype=values.dtype)
        result[self.of_cell[self.of_cell >= 0]] = values
        return result


def _quartiles(values: np.ndarray) -> np.ndarray:
    edges = np.unique(np.quantile(values, [0.25, 0.5, 0.75]))
    digits = next((k for k in range(4, 17) if len({f"{edge:.{k}g}" for edge in edges}) == len(edges)), 17)
    edge_texts = [f"{edge:.{digits}g}" for edge in edges]
    texts = [*(f"up to {edge}" for edge in edge_texts), f"above {edge_texts[-1]}"]
    return np.array(texts, dtype=object)[np.searchsorted(edges, values)]
