"""Predict rows of a matrix with the result of a method: cells one by one, or whole groups."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from heldout._core.arrays import loaded, row_blocks, take

if TYPE_CHECKING:
    from heldout._core.method import Fitted
    from heldout._core.types import MatrixOrDask
    from heldout.tasks.genotype.interface import GenotypeMethod


def predict_rows(
    implementation: GenotypeMethod,
    fitted: Fitted,
    X: MatrixOrDask,
    groups: np.ndarray | None,
    columns: np.ndarray | None = None,
) -> np.ndarray:
    """Log-probabilities of rows, (n × n_classes) float32.

    Parameters
    ----------
    implementation, fitted
        The method and the result of its fit.
    X
        Features of the rows, (n × n_features) after ``columns`` are taken.
    groups
        Group number of each row, (n,). Methods that predict whole groups need it.
    columns
        Columns of ``X`` that are the features. None for all.
    """
    if not implementation.by_group:
        if implementation.features != "genes":
            return np.asarray(implementation.predict(fitted, loaded(X)))
        parts = [implementation.predict(fitted, take(block, None, columns)) for _, block in row_blocks(X)]
        return np.concatenate(parts)
    assert groups is not None
    parts, order = [], np.argsort(groups, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(groups[order])) + 1):
        parts.append(implementation.predict(fitted, loaded(take(X, rows, columns))))
    result = np.empty((len(groups), parts[0].shape[1]), dtype=np.float32)
    result[order] = np.concatenate(parts)
    return result
