"""What every score asks of its arrays: numbers, finite, not empty, and of the same genes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def as_numbers(values: ArrayLike, name: str, *, shape: str, ndims: tuple[int, ...]) -> np.ndarray:
    """Float64 array of the allowed number of dimensions, finite and with at least one entry."""
    if sparse.issparse(values):
        msg = f"{name} is sparse; scores take dense arrays, {shape}. Pass {name}.toarray(), or a PCA fitted on train."
        raise TypeError(msg)
    array = np.asarray(values, dtype=np.float64)
    if array.ndim not in ndims or array.size == 0:
        msg = f"{name} has shape {array.shape}; wanted is {shape}, not empty."
        raise ValueError(msg)
    if not np.isfinite(array).all():
        bad = int((~np.isfinite(array)).sum())
        msg = f"{name} has {bad} NaN or infinite values. Find them with np.isfinite and drop or repair those rows or genes."
        raise ValueError(msg)
    return array


def as_samples(values: ArrayLike, name: str) -> np.ndarray:
    """Cells as rows, (n × d), at least two of them."""
    array = as_numbers(values, name, shape="(n × d), one row a cell", ndims=(2,))
    if len(array) < 2:
        msg = f"{name} has 1 row; a distribution needs at least 2."
        raise ValueError(msg)
    return array


def as_pair(X: ArrayLike, Y: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Two sets of cells in the same space."""
    first, second = as_samples(X, "X"), as_samples(Y, "Y")
    if first.shape[1] != second.shape[1]:
        msg = f"X has {first.shape[1]} columns and Y has {second.shape[1]}; both must lie in the same space."
        raise ValueError(msg)
    return first, second
