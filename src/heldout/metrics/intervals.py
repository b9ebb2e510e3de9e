"""Intervals of scores over few independent groups, each with the assumption it makes."""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING

import numpy as np

from heldout.metrics._checks import as_numbers
from heldout.metrics.skill import Interval

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike


def auc_interval(
    estimate: float, n_positive: int | ArrayLike, n_negative: int | ArrayLike, *, coverage: float = 0.95
) -> Interval:
    """Compute the score interval of an AUC over independent groups :cite:p:`newcombe2006`.

    The interval holds the values that the estimate does not contradict. For each value it uses the variance that such a
    value would have, so the interval keeps a width even at an AUC of 1. For the mean of AUCs within blocks, the
    variances of the blocks are averaged. With one pair in each block this is Wilson's interval.

    Parameters
    ----------
    estimate
        The AUC, or the mean of the AUCs within blocks.
    n_positive, n_negative
        Number of groups of each class. For a mean over blocks, one number per block, (n_blocks,).
    coverage
        Nominal coverage of the interval.

    Returns
    -------
    :class:`Interval`, whose ``n_units`` is the number of groups of the smaller class. NaN if a class has no group.

    Notes
    -----
    ``docs/inference.md`` lists the measured coverage of nominal 95 % intervals. It is 92 to 97 % for at least 4 groups
    per class, if both classes vary equally. A bootstrap or a jackknife covers 28 % at 3 groups per class and an AUC of
    0.95.

    Examples
    --------
    >>> import heldout as ho
    >>> interval = ho.metrics.auc_interval(1.0, 4, 8)
    >>> round(interval.low, 2), interval.high
    (0.66, 1.0)
    """
    m, n = np.atleast_1d(np.asarray(n_positive, float)), np.atleast_1d(np.asarray(n_negative, float))
    if not 0 <= estimate <= 1 or not (m > 0).all() or not (n > 0).all() or not len(m):
        return Interval(float(estimate), float("nan"), float("nan"), int(min(m.sum(), n.sum())))
    mean = (m + n) / 2

    def variance(value: float) -> float:
        inner = (1 - value) / (2 - value) + value / (1 + value)
        return float((value * (1 - value) * (1 + (mean - 1) * inner) / (m * n)).sum() / len(m) ** 2)

    low, high = _inverted(estimate, variance, coverage)
    return Interval(float(estimate), low, high, int(min(m.sum(), n.sum())))


def proportion_interval(n_right: float, n: int, *, coverage: float = 0.95) -> Interval:
    """Compute Wilson's interval of a share, such as the share of groups classified correctly :cite:p:`wilson1927`.

    Parameters
    ----------
    n_right
        Number of successes.
    n
        Number of groups.
    coverage
        Nominal coverage of the interval.

    Examples
    --------
    >>> import heldout as ho
    >>> interval = ho.metrics.proportion_interval(10, 12)
    >>> round(interval.low, 2), round(interval.high, 2)
    (0.55, 0.95)
    """
    if n < 1:
        return Interval(float("nan"), float("nan"), float("nan"), 0)
    low, high = _inverted(n_right / n, lambda share: share * (1 - share) / n, coverage)
    return Interval(n_right / n, low, high, n)


def jackknife_interval(estimate: float, without: ArrayLike, strata: ArrayLike, *, coverage: float = 0.95) -> Interval:
    """Compute estimate ± t × standard error, from a jackknife that leaves out one group at a time, by class.

    Parameters
    ----------
    estimate
        The score of all groups.
    without
        The score without each group, (G,). The other groups of its class are weighted up; see
        :func:`jackknife_weights`.
    strata
        Class of each group, (G,). Each class is sampled separately, so the degrees of freedom are Welch's.
    coverage
        Nominal coverage of the interval.

    Returns
    -------
    :class:`Interval`, whose ``n_units`` is the size of the smallest class. NaN if a class has only one group.

    Notes
    -----
    The interval is right for means (loss, Brier score). For an AUC near 1 it is far too narrow; use
    :func:`auc_interval`.

    Examples
    --------
    >>> import numpy as np, heldout as ho
    >>> losses, classes = np.array([0.1, 0.3, 0.2, 0.5, 0.3, 0.4]), np.array([0, 0, 0, 1, 1, 1])
    >>> without = ho.metrics.jackknife_weights(classes) @ losses / 6
    >>> interval = ho.metrics.jackknife_interval(losses.mean(), without, classes)
    >>> round(interval.low, 2), round(interval.high, 2)
    (0.19, 0.41)
    """
    from scipy.stats import t  # slow to import

    variances, sizes = _jackknife_parts(np.asarray(without, float), np.asarray(without, float), np.asarray(strata))
    fewest, variance = int(sizes.min()), float(variances.sum())
    if fewest < 2 or not np.isfinite(variance):
        return Interval(float(estimate), float("nan"), float("nan"), fewest)
    spread = (variances**2 / (sizes - 1)).sum()
    df = variance**2 / spread if spread > 0 else float(sizes.sum() - len(sizes))
    half = float(t.ppf((1 + coverage) / 2, df)) * sqrt(variance)
    return Interval(float(estimate), float(estimate) - half, float(estimate) + half, fewest)


def difference_interval(
    first: Interval, second: Interval, without_first: ArrayLike, without_second: ArrayLike, strata: ArrayLike
) -> Interval:
    """Compute the interval of a paired difference from the intervals of both scores :cite:p:`zou2008`.

    The correlation of the two scores is taken into account.

    Parameters
    ----------
    first, second
        Intervals of the two scores on the same groups, for example from :func:`auc_interval`.
    without_first, without_second
        The scores without each group, (G,). The jackknife estimates their correlation.
    strata
        Class of each group, (G,).

    Returns
    -------
    :class:`Interval` of ``first - second``. NaN if one of the two intervals is NaN.

    Notes
    -----
    If one of the two scores does not vary (an AUC of 1), its correlation is unknown. It is then set to 0, which gives
    the wider interval.

    Examples
    --------
    >>> import numpy as np, heldout as ho
    >>> parts = [ho.metrics.auc_interval(auc, 6, 6) for auc in (1.0, 0.75)]
    >>> interval = ho.metrics.difference_interval(*parts, np.ones(12), np.full(12, 0.75), np.repeat([0, 1], 6))
    >>> interval.estimate, bool(interval.low < 0.25 < interval.high)
    (0.25, True)
    """
    a, b, classes = np.asarray(without_first, float), np.asarray(without_second, float), np.asarray(strata)
    known = np.isfinite(a) & np.isfinite(b)
    a, b, classes = a[known], b[known], classes[known]
    parts = [_jackknife_parts(x, y, classes)[0].sum() for x, y in ((a, b), (a, a), (b, b))]
    scale = sqrt(parts[1] * parts[2]) if np.isfinite(parts).all() else 0.0
    r = float(np.clip(parts[0] / scale, -1, 1)) if scale > 1e-15 else 0.0
    estimate = first.estimate - second.estimate
    down = _side(first.estimate - first.low, second.high - second.estimate, r)
    up = _side(first.high - first.estimate, second.estimate - second.low, r)
    return Interval(estimate, estimate - down, estimate + up, min(first.n_units, second.n_units))


def fold_interval(differences: ArrayLike, *, n_train: float, n_test: float, coverage: float = 0.95) -> Interval:
    """Compute the corrected t interval of a mean over folds or repeated splits :cite:p:`nadeau2003`.

    Folds share training groups, so their scores are not independent. For this reason the variance of the mean is (1 / J
    + n_test / n_train) times the variance between folds, instead of 1 / J times.

    Parameters
    ----------
    differences
        One value per fold, (J,): a score, or the difference of two methods. Average over seeds first, because seeds are
        not folds.
    n_train, n_test
        Number of groups (not cells) in train and test of a fold; the mean number if it varies.
    coverage
        Nominal coverage of the interval.

    Returns
    -------
    :class:`Interval`, with J as ``n_units``. NaN with one fold.

    Examples
    --------
    >>> import heldout as ho
    >>> interval = ho.metrics.fold_interval([0.1, 0.2, 0.0, 0.1, 0.1], n_train=8, n_test=2)
    >>> round(interval.low, 2), round(interval.high, 2)
    (-0.03, 0.23)
    """
    from scipy.stats import t  # slow to import

    values = as_numbers(differences, "differences", shape="(J,), one value per fold", ndims=(1,))
    n, estimate = len(values), float(values.mean())
    if n < 2:
        return Interval(estimate, float("nan"), float("nan"), n)
    half = float(t.ppf((1 + coverage) / 2, n - 1)) * sqrt((1 / n + n_test / n_train) * values.var(ddof=1))
    return Interval(estimate, estimate - half, estimate + half, n)


def _inverted(estimate: float, variance: Callable[[float], float], coverage: float) -> tuple[float, float]:
    """Return the values in [0, 1] from which the estimate is z standard errors away."""
    from scipy.optimize import brentq
    from scipy.stats import norm  # slow to import

    z = float(norm.ppf((1 + coverage) / 2))

    def excess(value: float) -> float:
        return abs(value - estimate) - z * sqrt(max(variance(value), 0.0))

    tiny = 1e-9  # keeps away from 0 and 1, where the variance is 0
    low = 0.0 if estimate <= tiny or excess(tiny) <= 0 else float(brentq(excess, tiny, min(estimate, 1 - tiny)))
    high = (
        1.0 if estimate >= 1 - tiny or excess(1 - tiny) <= 0 else float(brentq(excess, max(estimate, tiny), 1 - tiny))
    )
    return low, high


def _jackknife_parts(a: np.ndarray, b: np.ndarray, strata: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the jackknife covariance of two scores in each stratum, and the size of each stratum."""
    _, numbers = np.unique(strata, return_inverse=True)
    sizes = np.bincount(numbers)
    parts = []
    for number, size in enumerate(sizes.tolist()):
        x, y = a[numbers == number], b[numbers == number]
        parts.append((size - 1) / size * float(((x - x.mean()) * (y - y.mean())).sum()))
    return np.array(parts), sizes


def _side(first: float, second: float, r: float) -> float:
    return sqrt(max(first**2 + second**2 - 2 * r * first * second, 0.0))
