"""Distances between two sets of cells, computed gene by gene. They ignore how genes vary together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from heldout.metrics._checks import as_pair

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

_MOST_RATIO = 100.0
"""Largest ratio of two variances that is told from larger ones."""


def gene_wasserstein(X: ArrayLike, Y: ArrayLike) -> float:
    """Return the mean over genes of the Wasserstein-1 distance between the values of a gene; lower is better.

    The unit is that of the values.

    Parameters
    ----------
    X
        Cells, (n × n_genes), n at least 2.
    Y
        Cells with the same genes, (m × n_genes), m at least 2.

    Returns
    -------
    A number. 0 if each gene has the same distribution in both sets.

    Raises
    ------
    ValueError
        If there are fewer than 2 rows, NaN, or different numbers of columns.

    Notes
    -----
    The distance of a gene is that of :func:`scipy.stats.wasserstein_distance`. It is not corrected for the number of
    cells, so two samples of one distribution have a distance above 0. Compare it with the distance of two halves of the
    truth; see :func:`split_half`.

    Examples
    --------
    >>> import numpy as np, heldout as ho
    >>> ho.metrics.gene_wasserstein(np.array([[0.0, 1.0], [2.0, 3.0]]), np.array([[1.0, 1.0], [3.0, 3.0]]))
    0.5
    """
    first, second = as_pair(X, Y)
    return sorted_wasserstein(np.sort(first, axis=0), np.sort(second, axis=0))


def sorted_wasserstein(X: np.ndarray, Y: np.ndarray) -> float:
    """Compute :func:`gene_wasserstein` for values that are sorted within each gene."""
    if len(X) == len(Y):
        return float(np.abs(X - Y).mean())
    steps = np.unique(np.concatenate([np.arange(1, len(X) + 1) / len(X), np.arange(1, len(Y) + 1) / len(Y)]))
    middle = steps - np.diff(steps, prepend=0) / 2
    of_X, of_Y = (np.minimum((middle * len(values)).astype(np.int64), len(values) - 1) for values in (X, Y))
    return float((np.diff(steps, prepend=0) @ np.abs(X[of_X] - Y[of_Y])).mean())


def zero_share_error(X: ArrayLike, Y: ArrayLike) -> float:
    """Return the mean over genes of the absolute difference in the share of cells without expression; lower is better.

    The error has no unit and lies in 0 to 1.

    Parameters
    ----------
    X
        Cells, (n × n_genes), n at least 2. Values of 0 and below count as no expression.
    Y
        Cells with the same genes, (m × n_genes), m at least 2.

    Returns
    -------
    A number. 0 if each gene is expressed in the same share of cells in both sets.

    Raises
    ------
    ValueError
        If there are fewer than 2 rows, NaN, or different numbers of columns.

    Examples
    --------
    >>> import numpy as np, heldout as ho
    >>> ho.metrics.zero_share_error(np.array([[0.0, 1.0], [2.0, 3.0]]), np.array([[1.0, 1.0], [3.0, 3.0]]))
    0.25
    """
    first, second = as_pair(X, Y)
    return float(np.abs((first <= 0).mean(axis=0) - (second <= 0).mean(axis=0)).mean())


def log_variance_ratio(X: ArrayLike, Y: ArrayLike) -> float:
    """Return the mean over genes of log(variance in Y / variance in X); 0 is best.

    A number below 0 says that the predicted cells vary too little.

    Parameters
    ----------
    X
        Cells of the truth, (n × n_genes), n at least 2.
    Y
        Predicted cells with the same genes, (m × n_genes), m at least 2.

    Returns
    -------
    A number without unit. 0 if the variances of the genes agree on average: too much variance in some genes cancels
    too little in others, and :func:`variance_error` counts both. NaN if no gene varies in either set.

    Raises
    ------
    ValueError
        If there are fewer than 2 rows, NaN, or different numbers of columns.

    Notes
    -----
    Genes that vary in neither set are left out. A ratio below 0.01 counts as 0.01, and one above 100 as 100, so
    :func:`collapse` scores -4.6, and a gene that is expressed in a single cell has a limited weight. With the same
    number of cells in both sets, the noise of the variances cancels.

    Examples
    --------
    >>> import numpy as np, heldout as ho
    >>> X = np.array([[0.0, 1.0], [2.0, 3.0]])
    >>> round(ho.metrics.log_variance_ratio(X, X / 2), 3)
    -1.386
    """
    first, second = as_pair(X, Y)
    of_first, of_second = (
        np.where(np.ptp(cells, axis=0) > 0, cells.var(axis=0, ddof=1), 0) for cells in (first, second)
    )
    varies = (of_first > 0) | (of_second > 0)
    if not varies.any():
        return float("nan")
    ratio = np.divide(of_second, of_first, out=np.full(len(of_first), _MOST_RATIO), where=of_first > 0)
    return float(np.log(np.clip(ratio[varies], 1 / _MOST_RATIO, _MOST_RATIO)).mean())
