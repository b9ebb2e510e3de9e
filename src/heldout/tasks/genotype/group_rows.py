"""Rows of fits on groups: the cells of a group with one class, and their mean profile."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from heldout._core.arrays import take
from heldout._core.grouped import group_moments
from heldout._core.types import is_dask, is_sparse
from heldout.tasks.genotype.penalty import Rows

if TYPE_CHECKING:
    from heldout.tasks.genotype.interface import Data


def rows_of_train(data: Data, method: str, *, balanced: bool = True) -> tuple[Rows, np.ndarray]:
    """Group, class and unit of each row of a fit on groups, (R,), and the row of each train cell.

    Raises
    ------
    ValueError
        If groups are not known.
    """
    if data.groups is None:
        msg = f"{method} needs groups. Pass group_key, or use a split that was made by group."
        raise ValueError(msg)
    return rows_of(data, data.train, balanced=balanced)


def rows_of(data: Data, cells: np.ndarray, *, balanced: bool = True) -> tuple[Rows, np.ndarray]:
    """Group, class and unit of each row that some cells make up, (R,), and the row of each of these cells."""
    assert data.groups is not None
    groups, labels = data.groups[cells], data.labels[cells]
    pairs, first, row_of = np.unique(np.stack([groups, labels]), axis=1, return_index=True, return_inverse=True)
    units = data.groups if data.units is None else data.units
    return Rows(pairs[1], pairs[0], units[cells][first], balanced), row_of.ravel()


def row_means(data: Data, row_of: np.ndarray, n: int) -> np.ndarray:
    """Mean profile of the train cells of each row, (n × n_features)."""
    if is_dask(data.X):
        codes = np.full(data.X.shape[0], -1)
        codes[data.train] = row_of
        return group_moments(data.X, codes, n, var=False).mean
    averaging = sparse.csr_array(
        (1 / np.bincount(row_of)[row_of], (row_of, np.arange(len(row_of)))), shape=(n, len(row_of))
    )
    means = averaging @ take(data.X, data.train, None)
    return np.asarray(means.toarray() if is_sparse(means) else means)


def group_means(data: Data, method: str) -> tuple[np.ndarray, np.ndarray]:
    """Mean profile of the train cells of each group and class, (R × n_features), and the class of each row."""
    rows, row_of = rows_of_train(data, method)
    return row_means(data, row_of, len(rows.labels)), rows.labels
