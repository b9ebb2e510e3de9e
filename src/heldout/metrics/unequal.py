"""Interval of the AUC of groups whose classes may vary differently."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from heldout._core.checks import check_number
from heldout.metrics._checks import as_numbers, block_rows, two_classes
from heldout.metrics.binormal import auc_variance
from heldout.metrics.skill import Interval
from heldout.metrics.studentised import wins

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike

_LOG_RATIOS = np.linspace(-2.5, 2.5, 41)
"""Logarithms of the ratio of the two standard deviations that are weighed against each other."""

_WEIGHT = 0.5
"""Weight of the observed ratio. A variance estimated from scores that are not normal is worth about half of what it is
worth for normal scores."""

_DF = 4
"""Degrees of freedom of the tails, for each group of the smaller class."""

_PRECISION = 1e-8
"""Largest error of a limit."""


def auc_interval_unequal(
    labels: ArrayLike,
    score: ArrayLike,
    *,
    blocks: ArrayLike | None = None,
    coverage: float = 0.95,
    variance_factor: float = 1.0,
) -> Interval:
    r"""Compute the interval of an AUC over independent groups whose classes may differ in spread.

    Patients often vary more than controls, and they are fewer. An interval that assumes equal spread
    (:func:`auc_interval`) is then too narrow. This interval holds the AUCs that the estimate does not contradict. For
    each AUC it uses the exact variance of the estimate :cite:p:`bamber1975` under normal scores, averaged over the
    ratios of spread that the scores allow.

    Parameters
    ----------
    labels
        Class number of each group, (G,), 0 or 1.
    score
        Score of each group, (G,), higher for class 1; for example the log-odds. The ratio of spread is estimated on
        this scale.
    blocks
        Block (day, batch, patient) of each group, (G,). The interval is then that of the mean of the AUCs within the
        blocks that have both classes (:func:`block_auc`). If None, it is that of the AUC of all pairs. If each block
        has one group of each class, the AUC is a share of pairs, and the interval is the exact one of Clopper and
        Pearson :cite:p:`clopper1934`, if ``variance_factor`` is 1.
    coverage
        Nominal coverage of the interval.
    variance_factor
        Factor of the variance, for scores that are not independent. For scores pooled over the J folds of a
        cross-validation it is J / (J - 1) + 1, because folds share train groups :cite:p:`nadeau2003`.

    Returns
    -------
    :class:`Interval`, whose ``n_units`` is the number of groups of the smaller class. NaN if a class has no group.

    Raises
    ------
    ValueError
        If labels are not 0 and 1, lengths differ, or a score is not finite, or ``variance_factor`` is not above 0.

    Notes
    -----
    For an AUC :math:`A = \Phi(\delta)` of normal scores with standard deviations :math:`\sigma_1` and :math:`\sigma_0`,
    :math:`m` and :math:`n` groups,

    .. math::
        \operatorname{var}(\hat A) = \frac{A(1-A) + (m-1)(Q_1 - A^2) + (n-1)(Q_0 - A^2)}{mn},

    where :math:`Q_1` is the chance that two groups of class 1 are both above one group of class 0, and :math:`Q_0` that
    one group of class 1 is above two of class 0. Both are bivariate normal probabilities. The logarithm of
    :math:`\sigma_1/\sigma_0` has a standard normal prior, and half the weight of its F likelihood, because scores are
    seldom normal. The tails are those of a t distribution with four degrees of freedom for each group of the smaller
    class. ``docs/inference.md`` lists the measured coverage.

    Examples
    --------
    >>> import heldout as ho
    >>> labels = [0, 0, 0, 0, 0, 0, 1, 1, 1, 1]
    >>> interval = ho.metrics.auc_interval_unequal(labels, [1, 2, 3, 4, 5, 6, 4.5, 0, 7, 9])
    >>> round(interval.estimate, 2), round(interval.low, 2), round(interval.high, 2)
    (0.67, 0.28, 0.91)
    """
    from scipy.special import stdtr  # slow to import

    check_number(variance_factor, "variance_factor", above=0)
    scores = as_numbers(score, "score", shape="(G,), one value per group", ndims=(1,))
    positive = two_classes(labels, len(scores))
    blocked = [rows for rows in block_rows(blocks, len(scores)) if 0 < positive[rows].sum() < len(rows)]
    fewest = int(min(positive.sum(), (~positive).sum()))
    if not blocked:
        return Interval(float("nan"), float("nan"), float("nan"), fewest)
    sizes = np.array([[positive[rows].sum(), (~positive[rows]).sum()] for rows in blocked])
    aucs = [wins(scores[rows])[np.ix_(positive[rows], ~positive[rows])].mean() for rows in blocked]
    estimate = float(np.mean(aucs))
    if (sizes == 1).all() and variance_factor == 1:
        return Interval(estimate, *_exact_share(estimate, len(sizes), coverage), fewest)
    weights = _weights(scores, positive, blocked)

    def p_value(auc: float) -> float:
        far = abs(estimate - auc) / np.sqrt(variance_factor * _variances(auc, sizes))
        return float(2 * (weights * stdtr(_DF * fewest, -far)).sum())

    low, high = inverted(estimate, p_value, 1 - coverage)
    return Interval(estimate, low, high, fewest)


def _exact_share(estimate: float, n: int, coverage: float) -> tuple[float, float]:
    """Limits of Clopper and Pearson for the share of the pairs that are ranked right. A tie counts one half."""
    from scipy.special import betaincinv  # slow to import

    tail, right = (1 - coverage) / 2, estimate * n
    low = float(betaincinv(right, n - right + 1, tail)) if right > 0 else 0.0
    high = float(betaincinv(right + 1, n - right, 1 - tail)) if right < n else 1.0
    return low, high


def _weights(scores: np.ndarray, positive: np.ndarray, blocked: list[np.ndarray]) -> np.ndarray:
    """Weight of each ratio of spread, from the variances of both classes within blocks."""
    from scipy.stats import f  # slow to import

    sums, df = np.zeros(2), np.zeros(2)
    for rows in blocked:
        for number, member in enumerate((positive[rows], ~positive[rows])):
            values = scores[rows][member]
            sums[number] += ((values - values.mean()) ** 2).sum()
            df[number] += len(values) - 1
    log_weight = -(_LOG_RATIOS**2) / 2
    if (df > 0).all() and (sums > 0).all():
        ratio = (sums / df)[0] / (sums / df)[1]
        log_weight = log_weight + _WEIGHT * (f.logpdf(ratio / np.exp(2 * _LOG_RATIOS), *df) - 2 * _LOG_RATIOS)
    weights = np.exp(log_weight - log_weight.max())
    return np.asarray(weights / weights.sum())


def _variances(auc: float, sizes: np.ndarray) -> np.ndarray:
    """Variance of the mean AUC of the blocks, for each ratio of spread."""
    of_block = auc_variance(auc, sizes[:, :1], sizes[:, 1:], np.exp(_LOG_RATIOS))
    return np.asarray(of_block.sum(axis=0) / len(sizes) ** 2)


def inverted(estimate: float, p_value: Callable[[float], float], level: float) -> tuple[float, float]:
    """AUCs at which the two-sided p of the estimate is ``level``."""
    from scipy.optimize import brentq

    def excess(auc: float) -> float:
        return p_value(auc) - level

    tiny = 1e-9  # keeps away from 0 and 1, where the variance is 0
    low = (
        0.0
        if estimate <= tiny or excess(tiny) >= 0
        else float(brentq(excess, tiny, min(estimate, 1 - tiny), xtol=_PRECISION))
    )
    high = 1.0
    if estimate < 1 - tiny and excess(1 - tiny) < 0:
        high = float(brentq(excess, max(estimate, tiny), 1 - tiny, xtol=_PRECISION))
    return low, high
