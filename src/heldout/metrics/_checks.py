"""Checks of the arrays that scores take: dense, numeric, finite, not empty, and with the same genes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import ArrayLike


def as_numbers(values: ArrayLike, name: str, *, shape: str, ndims: tuple[int, ...]) -> np.ndarray:
    """Return a float64 array of an allowed number of dimensions; refuse empty arrays, NaN and infinite values."""
    if sparse.issparse(values):
        msg = f"{name} is sparse, but must be a dense array, {shape}. Pass {name}.toarray(), or a PCA fitted on train."
        raise TypeError(msg)
    array = np.asarray(values, dtype=np.float64)
    if array.ndim not in ndims or array.size == 0:
        msg = f"{name} has shape {array.shape}, but must be {shape} and not empty."
        raise ValueError(msg)
    if not np.isfinite(array).all():
        bad = int((~np.isfinite(array)).sum())
        msg = f"{name} has {bad} NaN or infinite values. Find them with np.isfinite and drop or correct them."
        raise ValueError(msg)
    return array


def as_samples(values: ArrayLike, name: str) -> np.ndarray:
    """Return cells as an array (n × d) of at least two rows."""
    array = as_numbers(values, name, shape="(n × d), one row per cell", ndims=(2,))
    if len(array) < 2:
        msg = f"{name} has 1 row, but a distribution needs at least 2 cells."
        raise ValueError(msg)
    return array


def as_pair(X: ArrayLike, Y: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Return two sets of cells with the same columns."""
    first, second = as_samples(X, "X"), as_samples(Y, "Y")
    if first.shape[1] != second.shape[1]:
        msg = f"X has {first.shape[1]} columns and Y has {second.shape[1]}; both must have the same genes or axes."
        raise ValueError(msg)
    return first, second


def two_classes(labels: ArrayLike, n: int) -> np.ndarray:
    """Return whether each group is of class 1; refuse labels other than 0 and 1."""
    numbers = np.asarray(labels)
    if numbers.shape != (n,) or not np.isin(numbers, [0, 1]).all():
        msg = f"labels has shape {numbers.shape}, but must have a 0 or 1 for each of the {n} groups."
        raise ValueError(msg)
    return numbers == 1


def block_numbers(blocks: ArrayLike | None, n: int) -> np.ndarray:
    """Return the block number of each group; refuse another number of blocks than of groups."""
    if blocks is None:
        return np.zeros(n, dtype=int)
    names = np.asarray(blocks)
    if names.shape != (n,):
        msg = f"blocks has shape {names.shape}, but must have the block of each of the {n} groups."
        raise ValueError(msg)
    return np.unique(names.astype(str), return_inverse=True)[1]


def block_rows(blocks: ArrayLike | None, n: int) -> list[np.ndarray]:
    """Return the row numbers of the groups of each block."""
    numbers = block_numbers(blocks, n)
    return [np.flatnonzero(numbers == number) for number in range(numbers.max() + 1)]


def as_codes(values: ArrayLike | pd.Categorical | pd.Series, name: str, *, keep: bool = False) -> np.ndarray:
    """Return integers as they are, and the numbers of categories or of sorted names; refuse missing values.

    Parameters
    ----------
    values
        Integers, a categorical, or names.
    name
        Argument, for the message.
    keep
        Whether categories that do not occur keep their number.
    """
    import pandas as pd

    array = values.array if isinstance(values, pd.Series) else values
    if not isinstance(array, pd.Categorical):
        numbers = np.asarray(array)
        if numbers.dtype.kind in "iu":
            return numbers.astype(np.int64)
        array = pd.Categorical(numbers)
    if not keep:
        array = array.remove_unused_categories()
    if (array.codes < 0).any():
        msg = f"{name} has {int((array.codes < 0).sum())} missing values. Drop these rows first."
        raise ValueError(msg)
    return np.asarray(array.codes, dtype=np.int64)
