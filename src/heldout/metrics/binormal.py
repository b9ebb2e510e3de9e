"""Variance of an AUC whose scores are normal in each class."""

from __future__ import annotations

from typing import NamedTuple

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


class Paired(NamedTuple):
    """Number of samples of class 1 and of class 0, and of patients with one of each.

    Examples
    --------
    >>> Paired(n_positive=6, n_negative=5, n_pairs=5).n_pairs
    5
    """

    n_positive: int
    n_negative: int
    n_pairs: int


def paired_auc(
    shift: np.ndarray, spread: np.ndarray, correlation: np.ndarray, design: Paired
) -> tuple[np.ndarray, np.ndarray]:
    """Exact mean and variance of an AUC over samples with normal scores, of which two can be of one patient.

    Parameters
    ----------
    shift
        Normal quantile of the AUC of samples of different patients.
    spread
        Standard deviation of class 1 divided by that of class 0.
    correlation
        Correlation of the two samples of a patient.
    design
        Numbers of samples.
    """
    from scipy.special import ndtr  # slow to import

    m, n, pairs = design
    square, shared = np.square(spread), correlation * spread
    apart, within = np.sqrt(1 + square), np.sqrt(1 + square - 2 * shared)  # sd of a difference of two samples
    above = shift * apart
    auc, auc_within = ndtr(shift), ndtr(above / within)

    def both(covariance: np.ndarray, first: np.ndarray = apart, second: np.ndarray = apart) -> np.ndarray:
        return _both_positive(above, first, second, covariance) - ndtr(above / first) * ndtr(above / second)

    n_apart = m * n - pairs
    terms = [
        n_apart * auc * (1 - auc) + pairs * auc_within * (1 - auc_within),
        (pairs * (n - 1) * (n - 2) + (m - pairs) * n * (n - 1)) * both(square),
        (pairs * (m - 1) * (m - 2) + (n - pairs) * m * (m - 1)) * both(np.ones_like(square)),
        2 * (pairs * (n - 1) * (m - 1) - pairs * (pairs - 1)) * both(-shared),
        pairs * (pairs - 1) * both(-2 * shared),
        2 * pairs * (n - 1) * both(square - shared, within),
        2 * pairs * (m - 1) * both(1 - shared, within),
    ]
    mean = (n_apart * auc + pairs * auc_within) / (m * n)
    return mean, np.maximum(sum(terms) / (m * n) ** 2, 1e-300)


def _both_positive(mean: np.ndarray, first: np.ndarray, second: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Probability that two normal differences of the same mean, with these standard deviations, are both positive."""
    from scipy.special import ndtr, owens_t  # slow to import

    r = np.clip(covariance / (first * second), -1 + 1e-12, 1 - 1e-12)
    rest = np.sqrt(1 - r**2)
    h, k = mean / first, mean / second
    total = ndtr(h) / 2 + ndtr(k) / 2
    return np.asarray(total - owens_t(h, (first / second - r) / rest) - owens_t(k, (second / first - r) / rest))
