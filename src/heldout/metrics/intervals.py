"""Intervals of scores over few independent groups, each with the assumption it needs."""

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
    estimate: float, n_positive: int | ArrayLike, n_negative: int | ArrayLike, *, level: float = 0.95
) -> Interval:
    """Score interval of an AUC over independent groups :cite:p:`newcombe2006`; it does not collapse at an AUC of 1.

    It holds the values that the estimate does not contradict, with the variance that such a value would have. Of AUCs
    within blocks, variances are those of the blocks, averaged; with one pair a block that is Wilson's interval.

    Parameters
    ----------
    estimate
        The AUC, or the mean of the AUCs within blocks.
    n_positive, n_negative
        Number of groups of each class; of the mean over blocks one number a block, (n_blocks,).
    level
        Nominal coverage.

    Returns
    -------
    :class:`Interval`, with the smaller class as ``n_units``; NaN if a class has no group.

    Notes
    -----
    Measured coverage of nominal 95 % stands in ``docs/inference.md``: 92 to 97 % from 4 groups a class on, where both
    classes vary alike. A bootstrap or a jackknife covers 28 % at 3 groups a class and an AUC of 0.95.

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

    low, high = _inverted(estimate, variance, level)
    return Interval(float(estimate), low, high, int(min(m.sum(), n.sum())))


def proportion_interval(n_right: float, n: int, *, level: float = 0.95) -> Interval:
    """Wilson's interval of a share, e.g. of groups that are classified right :cite:p:`wilson1927`.

    Parameters
    ----------
    n_right
        Number of successes.
    n
        Number of groups.
    level
        Nominal coverage.

    Examples
    --------
    >>> import heldout as ho
    >>> interval = ho.metrics.proportion_interval(10, 12)
    >>> round(interval.low, 2), round(interval.high, 2)
    (0.55, 0.95)
    """
    if n < 1:
        return Interval(float("nan"), float("nan"), float("nan"), 0)
    low, high = _inverted(n_right / n, lambda share: share * (1 - share) / n, level)
    return Interval(n_right / n, low, high, n)


def jackknife_interval(estimate: float, without: ArrayLike, strata: ArrayLike, *, level: float = 0.95) -> Interval:
    """Estimate ± t × standard error of the jackknife that leaves out one group at a time, by class.

    Parameters
    ----------
    estimate
        The score of all groups.
    without
        The score without each group, (G,), the others of its class standing in for it: :func:`jackknife_weights`.
    strata
        Class of each group, (G,); classes are sampled on their own. Degrees of freedom are Welch's.
    level
        Nominal coverage.

    Returns
    -------
    :class:`Interval`, with the size of the smallest class as ``n_units``; NaN if a class has one group.

    Notes
    -----
    Right for means (loss, Brier score). Of an AUC near 1 it is far too narrow: see :func:`auc_interval`.

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
    half = float(t.ppf((1 + level) / 2, df)) * sqrt(variance)
    return Interval(float(estimate), float(estimate) - half, float(estimate) + half, fewest)


def difference_interval(
    first: Interval, second: Interval, without_first: ArrayLike, without_second: ArrayLike, strata: ArrayLike
) -> Interval:
    """Interval of a paired difference from the intervals of its parts and their correlation :cite:p:`zou2008`.

    Parameters
    ----------
    first, second
        Intervals of the two scores on the same groups, e.g. of :func:`auc_interval`.
    without_first, without_second
        The scores without each group, (G,): they give the correlation by the jackknife.
    strata
        Class of each group, (G,).

    Returns
    -------
    :class:`Interval` of ``first - second``; NaN where one of the parts is.

    Notes
    -----
    Where one of the two does not vary (an AUC of 1) no correlation can be seen and none is assumed, which is the careful side.

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


def fold_interval(differences: ArrayLike, *, n_train: float, n_test: float, level: float = 0.95) -> Interval:
    """Corrected t interval of a mean over folds or repeated splits :cite:p:`nadeau2003`.

    Folds share training groups, so their scores are not independent: the variance of the mean is taken as
    (1 / J + n_test / n_train) times that between folds, not 1 / J times.

    Parameters
    ----------
    differences
        One score, or difference of two methods, a fold, (J,). Average over seeds first: they are no folds.
    n_train, n_test
        Number of groups (not cells) that are train and test in a fold; means if they vary.
    level
        Nominal coverage.

    Returns
    -------
    :class:`Interval`, with J as ``n_units``; NaN with one fold.

    Examples
    --------
    >>> import heldout as ho
    >>> interval = ho.metrics.fold_interval([0.1, 0.2, 0.0, 0.1, 0.1], n_train=8, n_test=2)
    >>> round(interval.low, 2), round(interval.high, 2)
    (-0.03, 0.23)
    """
    from scipy.stats import t  # slow to import

    values = as_numbers(differences, "differences", shape="(J,), one a fold", ndims=(1,))
    n, estimate = len(values), float(values.mean())
    if n < 2:
        return Interval(estimate, float("nan"), float("nan"), n)
    half = float(t.ppf((1 + level) / 2, n - 1)) * sqrt((1 / n + n_test / n_train) * values.var(ddof=1))
    return Interval(estimate, estimate - half, estimate + half, n)


def _inverted(estimate: float, variance: Callable[[float], float], level: float) -> tuple[float, float]:
    """Values in [0, 1] at which the estimate is z standard errors away."""
    from scipy.optimize import brentq
    from scipy.stats import norm  # slow to import

    z = float(norm.ppf((1 + level) / 2))

    def excess(value: float) -> float:
        return abs(value - estimate) - z * sqrt(max(variance(value), 0.0))

    tiny = 1e-9  # at 0 and 1 themselves the variance is 0
    low = 0.0 if estimate <= tiny or excess(tiny) <= 0 else float(brentq(excess, tiny, min(estimate, 1 - tiny)))
    high = (
        1.0 if estimate >= 1 - tiny or excess(1 - tiny) <= 0 else float(brentq(excess, max(estimate, tiny), 1 - tiny))
    )
    return low, high


def _jackknife_parts(a: np.ndarray, b: np.ndarray, strata: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Jackknife covariance of two scores by stratum, and the size of each."""
    _, numbers = np.unique(strata, return_inverse=True)
    sizes = np.bincount(numbers)
    parts = []
    for number, size in enumerate(sizes.tolist()):
        x, y = a[numbers == number], b[numbers == number]
        parts.append((size - 1) / size * float(((x - x.mean()) * (y - y.mean())).sum()))
    return np.array(parts), sizes


def _side(first: float, second: float, r: float) -> float:
    return sqrt(max(first**2 + second**2 - 2 * r * first * second, 0.0))
