"""Predict rows, and whole groups, with any genotype method."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from heldout._core.arrays import loaded, row_blocks, take
from heldout.metrics.classification import group_log_probability
from heldout.tasks.genotype.features import OF_GENES

if TYPE_CHECKING:
    from heldout._core.method import Fitted
    from heldout._core.types import Matrix, MatrixOrDask


def predict_rows(method: Any, fitted: Fitted, X: Matrix, cell_types: np.ndarray | None = None) -> np.ndarray:
    """Log-probabilities of the rows, (n × n_classes) float32. A method that predicts whole groups gets one group.

    Parameters
    ----------
    method
        A method of the registry.
    fitted
        What its fit returned.
    X
        Features of the rows, (n × n_features).
    cell_types
        Number of the cell type of each row, for a method that reads genes and cell types.
    """
    if method.features == "genes_and_types":
        return np.asarray(method.predict(fitted, X, cell_types))
    return np.asarray(method.predict(fitted, X))


def predict_groups(
    method: Any, fitted: Fitted, X: Matrix, groups: np.ndarray, cell_types: np.ndarray | None = None
) -> np.ndarray:
    """Log-probabilities of groups, (n_groups × n_classes): the mean logit of the cells, or the group's prediction.

    ``groups`` has the number of the group of each row, from 0, and no number is left out.
    """
    if not method.by_group:
        return group_log_probability(predict_rows(method, fitted, X, cell_types), groups)
    parts = []
    for number in range(int(groups.max()) + 1):
        rows = np.flatnonzero(groups == number)
        of_rows = None if cell_types is None else cell_types[rows]
        parts.append(predict_rows(method, fitted, X[rows], of_rows)[:1])
    return np.concatenate(parts)


def predict_all(
    method: Any,
    fitted: Fitted,
    X: MatrixOrDask,
    groups: np.ndarray | None,
    columns: np.ndarray | None = None,
    cell_types: np.ndarray | None = None,
) -> np.ndarray:
    """Log-probabilities of all rows, (n × n_classes) float32: block by block, or group by group.

    Parameters
    ----------
    method, fitted, cell_types
        See :func:`predict_rows`.
    X
        Features of the rows, (n × n_features) after ``columns`` are taken.
    groups
        Group number of each row, (n,). Methods that predict whole groups need it.
    columns
        Columns of ``X`` that are the features. None for all.
    """
    if not method.by_group:
        if method.features not in OF_GENES:
            return predict_rows(method, fitted, loaded(X))
        parts = []
        for rows_of_block, block in row_blocks(X):
            of_rows = None if cell_types is None else cell_types[rows_of_block]
            parts.append(predict_rows(method, fitted, take(block, None, columns), of_rows))
        return np.concatenate(parts)
    assert groups is not None
    order = np.argsort(groups, kind="stable")
    parts = []
    for rows in np.split(order, np.flatnonzero(np.diff(groups[order])) + 1):
        of_rows = None if cell_types is None else cell_types[rows]
        parts.append(predict_rows(method, fitted, loaded(take(X, rows, columns)), of_rows))
    result = np.empty((len(groups), parts[0].shape[1]), dtype=np.float32)
    result[order] = np.concatenate(parts)
    return result
