"""Variance of an AUC whose scores are normal in each class."""

from __future__ import annotations

import numpy as np


def auc_variance(
    auc: float, n_positive: float | np.ndarray, n_negative: float | np.ndarray, spread: float | np.ndarray
) -> np.ndarray:
    """Exact variance of an AUC over groups with normal scores :cite:p:`bamber1975`.

    Parameters
    ----------
    auc
        The true AUC.
    n_positive, n_negative
        Number of groups of each class.
    spread
        Standard deviation of class 1 divided by that of class 0.
    """
    from scipy.special import ndtri, owens_t  # slow to import

    shift, square, m, n = ndtri(auc), np.square(spread), np.asarray(n_positive), np.asarray(n_negative)
    both_above = auc - 2 * owens_t(shift, np.sqrt(square / (2 + square))) - auc**2
    above_both = auc - 2 * owens_t(shift, np.sqrt(1 / (1 + 2 * square))) - auc**2
    found = (auc * (1 - auc) + (m - 1) * both_above + (n - 1) * above_both) / (m * n)
    return np.asarray(np.maximum(found, 1e-300))
