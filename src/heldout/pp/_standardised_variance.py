"""Score of the flavor ``seurat_v3``, computed block by block. scanpy supports dask arrays only from version 1.12."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from heldout._core.lazy import over_blocks
from heldout._core.types import is_sparse

if TYPE_CHECKING:
    from typing import Any

    from heldout._core.arrays import Moments
    from heldout._core.types import Matrix


def standardised_variance(X: Any, train: np.ndarray, found: Moments, columns: np.ndarray) -> np.ndarray:
    """Return the variance of standardised and clipped counts :cite:p:`stuart2019`.

    Counts are standardised by the standard deviation that is expected from the mean.

    Parameters
    ----------
    X
        Dask array (n_obs × n_vars) of counts.
    train
        Mask (n_obs,) of the cells to use.
    found
        Moments of all genes over these cells.
    columns
        Numbers of the genes to score, (k,). The expected variance is fitted on these genes.

    Returns
    -------
    The variance (k,), which scanpy calls ``variances_norm``. It is 0 for a gene that does not vary.
    """
    n = found.n
    mean, var = _as_scanpy(found, columns)
    varies = var > 0
    sd = np.ones(len(columns))
    sd[varies] = np.sqrt(10 ** _expected(np.log10(mean[varies]), np.log10(var[varies])))
    highest = np.full(X.shape[1], np.inf)
    highest[columns] = sd * np.sqrt(n) + mean
    total, squares = np.zeros(X.shape[1]), np.zeros(X.shape[1])
    for _, (of_block, squares_of_block) in over_blocks(X, partial(_clipped_sums, highest=highest), train, wanted=train):
        total += of_block
        squares += squares_of_block
    score = (n * mean**2 + squares[columns] - 2 * total[columns] * mean) / ((n - 1) * sd**2)
    return np.where(varies, score, 0.0)


def _as_scanpy(found: Moments, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean and the variance with the rounding of scanpy.

    The rounding matters because the smoother is not continuous in its input. Sums of integers, and of their squares,
    are integers, so the moments give them exactly.
    """
    n, mean, var = found.n, found.mean[columns], found.var[columns]
    squares = np.rint(var * (n - 1) + n * mean**2)
    mean = np.rint(mean * n) / n
    return mean, np.where(var > 0, squares / n - mean**2, 0) * (n / (n - 1))


def _expected(log_mean: np.ndarray, log_var: np.ndarray) -> np.ndarray:
    """Return the logarithm of the variance that is expected from the mean."""
    from skmisc.loess import loess

    model = loess(log_mean, log_var, span=0.3, degree=2)
    model.fit()
    return np.asarray(model.outputs.fitted_values)


def _clipped_sums(block: Matrix, keep: np.ndarray, *, highest: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    block = block[keep]
    if not is_sparse(block):
        clipped = np.minimum(block.astype(np.float64), highest)
        return clipped.sum(axis=0), (clipped**2).sum(axis=0)
    clipped = np.minimum(block.data.astype(np.float64), highest[block.indices])
    n = len(highest)
    return np.bincount(block.indices, clipped, minlength=n), np.bincount(block.indices, clipped**2, minlength=n)
