"""Intervals for paired samples: the AUC of all samples, and the mean difference within pairs."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from heldout._core.checks import check_number
from heldout.metrics._checks import as_numbers, block_numbers, block_rows, two_classes
from heldout.metrics.binormal import Paired, paired_auc
from heldout.metrics.skill import Interval
from heldout.metrics.studentised import wins
from heldout.metrics.unequal import inverted

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

_LOG_RATIOS = np.linspace(-2.4, 2.4, 17)
"""Logarithms of the ratio of the two standard deviations that are weighed against each other."""

_CORRELATIONS = np.tanh(np.linspace(-2.1, 2.1, 15))
"""Correlations within pairs that are weighed against each other."""

_WEIGHT = 0.5
"""Weight of the observed variances and correlation; see :mod:`heldout.metrics.unequal`."""

_DF = 4
"""Degrees of freedom of the tails, for each group of the smaller class."""

_NOTHING = 1e-6
"""Combinations with a smaller share of the largest weight are left out."""

_PROBITS = np.linspace(-6, 6, 193)
"""Normal quantiles of the AUCs for which the variance is computed. Between them it is interpolated."""


def auc_interval_paired(
    labels: ArrayLike,
    score: ArrayLike,
    *,
    pairs: ArrayLike,
    blocks: ArrayLike | None = None,
    coverage: float = 0.95,
    variance_factor: float = 1.0,
) -> Interval:
    r"""Compute the interval of an AUC over samples of which two can be of one patient.

    Each sample is compared with every sample of the other class. The two samples of a patient have correlated scores.
    An interval that ignores the pairs is too wide if they are alike, and too narrow if they are opposites. This
    interval holds the AUCs that the estimate does not contradict. For each AUC it uses the exact variance of the
    estimate under normal scores, averaged over the correlations and ratios of spread that the scores allow.

    Parameters
    ----------
    labels
        Class number of each sample, (G,), 0 or 1.
    score
        Score of each sample, (G,), higher for class 1; for example the log-odds. Correlation and spread are estimated
        on this scale.
    pairs
        Patient of each sample, (G,). A patient has at most one sample of each class. A patient can have only one
        sample.
    blocks
        Block (fold) of each sample, (G,). The interval is then that of the mean of the AUCs within the blocks that have
        both classes. If None, it is that of the AUC of all samples.
    coverage
        Nominal coverage of the interval.
    variance_factor
        Factor of the variance, as in :func:`auc_interval_unequal`.

    Returns
    -------
    :class:`Interval`, whose ``n_units`` is the number of samples of the smaller class. NaN if a class has no sample.

    Raises
    ------
    ValueError
        If labels are not 0 and 1, lengths differ, a score is not finite, a patient has two samples of one class, or
        ``variance_factor`` is not above 0.

    Notes
    -----
    The interval is for the expected value of the estimate, which includes the comparisons within patients: for
    :math:`n` patients with two samples each, :math:`((n-1) A + W) / n`, where :math:`A` is the AUC of samples of
    different patients and :math:`W` that within patients. The variance is the sum of the covariances of all pairs of
    comparisons, each a bivariate normal probability. The prior and the weight of the observed variances are those of
    :func:`auc_interval_unequal`; the inverse hyperbolic tangent of the correlation has a standard normal prior.
    ``docs/inference.md`` lists the measured coverage.

    Examples
    --------
    Before and after treatment in six patients, whose two samples are alike:

    >>> import heldout as ho
    >>> labels, patients = [0] * 6 + [1] * 6, list(range(6)) * 2
    >>> score = [1, 2, 3, 4, 5, 6, 1.6, 2.9, 3.2, 5.1, 5.3, 7.4]
    >>> paired = ho.metrics.auc_interval_paired(labels, score, pairs=patients)
    >>> ignored = ho.metrics.auc_interval_unequal(labels, score)
    >>> round(paired.low, 2), round(paired.high, 2), round(ignored.low, 2), round(ignored.high, 2)
    (0.36, 0.82, 0.29, 0.85)
    """
    check_number(variance_factor, "variance_factor", above=0)
    scores = as_numbers(score, "score", shape="(G,), one value per sample", ndims=(1,))
    positive = two_classes(labels, len(scores))
    patients = _patients(pairs, positive)
    mixed = [rows for rows in block_rows(blocks, len(scores)) if 0 < positive[rows].sum() < len(rows)]
    fewest = int(min(positive.sum(), (~positive).sum()))
    if not mixed:
        return Interval(float("nan"), float("nan"), float("nan"), fewest)
    estimate = float(np.mean([wins(scores[r])[np.ix_(positive[r], ~positive[r])].mean() for r in mixed]))
    designs = tuple(sorted(_counts(positive[rows], patients[rows]) for rows in mixed))
    weights = _weights(scores, positive, patients, block_numbers(blocks, len(scores)))
    counted = weights > _NOTHING * weights.max()
    weights, tables = weights[counted] / weights[counted].sum(), log_variances(designs)[:, counted]

    def p_value(auc: float) -> float:
        return float(p_value_of(auc, estimate, weights, tables, fewest, variance_factor))

    low, high = inverted(estimate, p_value, 1 - coverage)
    return Interval(estimate, low, high, fewest)


def sign_flip_interval(differences: ArrayLike, *, coverage: float = 0.95) -> Interval:
    r"""Compute the interval of a mean difference within pairs that sign flips do not contradict.

    It holds the values :math:`\mu` for which a two-sided sign-flip test of ``differences`` :math:`- \mu` is not
    significant. If the differences are symmetric about their centre, its coverage is at least ``coverage`` for any
    number of pairs and any shape :cite:p:`hartigan1969`.

    Parameters
    ----------
    differences
        One difference per pair, (P,), for example the log-odds of the treated minus that of the control sample of a
        patient.
    coverage
        Nominal coverage of the interval.

    Returns
    -------
    :class:`Interval` in the unit of the differences. With P pairs, the widest interval, from the smallest to the
    largest difference, covers 1 - 2 / 2\ :sup:`P`. If this is below ``coverage``, the limits are NaN: 95 % need 6
    pairs.

    Raises
    ------
    ValueError
        If a difference is not finite, or ``coverage`` is out of range.

    Notes
    -----
    The limits are order statistics of the means of all non-empty subsets of the differences. For more than 16 pairs,
    65,535 random subsets are used.

    Examples
    --------
    >>> import heldout as ho
    >>> interval = ho.metrics.sign_flip_interval([0.4, 1.2, 0.9, -0.3, 1.5, 0.8, 0.6])
    >>> round(interval.estimate, 2), round(interval.low, 2), round(interval.high, 2)
    (0.73, 0.15, 1.2)
    """
    check_number(coverage, "coverage", above=0, below=1)
    values = as_numbers(differences, "differences", shape="(P,), one value per pair", ndims=(1,))
    n, estimate = len(values), float(values.mean())
    means = np.sort(_subset_means(values))
    outside = int((1 - coverage) / 2 * (len(means) + 1) + 1e-9)
    if outside < 1:
        return Interval(estimate, float("nan"), float("nan"), n)
    return Interval(estimate, float(means[outside - 1]), float(means[-outside]), n)


def sign_flip_test(differences: ArrayLike) -> float:
    """Test that the differences within pairs are centred at 0, by flipping their signs; one-sided.

    Parameters
    ----------
    differences
        One difference per pair, (P,), above 0 if the sample of class 1 has the higher score.

    Returns
    -------
    Share of the sign flips whose sum is at least the observed one. The smallest possible value is 1 / 2 ** P. All flips
    are counted up to 16 pairs; for more, 65,535 random flips and the observed signs.

    Raises
    ------
    ValueError
        If a difference is not finite.

    Examples
    --------
    >>> import heldout as ho
    >>> ho.metrics.sign_flip_test([0.4, 1.2, 0.9, -0.3, 1.5])
    0.0625
    """
    values = as_numbers(differences, "differences", shape="(P,), one value per pair", ndims=(1,))
    flipped = np.append(2 * (_subsets(len(values)) @ values), 0.0)  # what the flips take from the sum
    near = 1e-9 * max(1.0, float(abs(values).sum()))
    return float((flipped <= near).mean())


def complete_pairs(labels: np.ndarray, blocks: np.ndarray | None) -> np.ndarray | None:
    """Rows of the sample of class 0 and of class 1 of each complete pair, (P × 2).

    None if the blocks are not pairs: there are no blocks, a block has two samples of one class, or no block has both.

    Parameters
    ----------
    labels
        Class number of each sample, (G,).
    blocks
        Block number of each sample, (G,), or None.
    """
    if blocks is None or len(np.unique(np.stack([blocks, labels]), axis=1).T) < len(labels) or labels.max() > 1:
        return None
    both = np.intersect1d(blocks[labels == 0], blocks[labels == 1])
    row = {(block, label): i for i, (block, label) in enumerate(zip(blocks, labels, strict=True))}
    found = [[row[block, label] for label in (0, 1)] for block in both]
    return np.array(found) if found else None


_MOST = 16
"""Largest number of pairs for which all sign flips are counted."""


@lru_cache(maxsize=8)
def _subsets(n: int) -> np.ndarray:
    """Non-empty subsets of n pairs: all, or random ones, (B × n) of 0 and 1."""
    if n <= _MOST:
        return ((np.arange(1, 2**n)[:, None] >> np.arange(n)) & 1).astype(np.float64)
    drawn = np.random.default_rng(0).integers(2, size=(2**_MOST - 1, n)).astype(np.float64)
    return drawn[drawn.any(axis=1)]


def _subset_means(values: np.ndarray) -> np.ndarray:
    subsets = _subsets(len(values))
    return np.asarray(subsets @ values / subsets.sum(axis=1))


def _patients(pairs: ArrayLike, positive: np.ndarray) -> np.ndarray:
    patients = block_numbers(pairs, len(positive))
    several = np.unique(np.stack([patients, positive]), axis=1, return_counts=True)[1] > 1
    if several.any():
        msg = (
            f"pairs: {int(several.sum())} patients have several samples of one class, but a pair has one of each. "
            "Average the samples of a patient and class first, or use block_auc with auc_interval_unequal(blocks=...)."
        )
        raise ValueError(msg)
    return patients


def _counts(positive: np.ndarray, patients: np.ndarray) -> Paired:
    n_pairs = len(np.intersect1d(patients[positive], patients[~positive]))
    return Paired(int(positive.sum()), int((~positive).sum()), n_pairs)


def p_value_of(
    auc: float, estimate: ArrayLike, weights: np.ndarray, tables: np.ndarray, fewest: int, variance_factor: float = 1.0
) -> np.ndarray:
    """Two-sided p-value of an AUC for each estimate, (...), given :func:`weights_of` and :func:`log_variances`."""
    from scipy.special import ndtri, stdtr  # slow to import

    probit = float(np.clip(ndtri(auc), _PROBITS[0], _PROBITS[-1] - 1e-9))
    place = (probit - _PROBITS[0]) / (_PROBITS[1] - _PROBITS[0])
    row = int(place)
    log_variance = tables[row] + (place - row) * (tables[row + 1] - tables[row])
    far = abs(np.asarray(estimate)[..., None] - auc) / np.sqrt(variance_factor * np.exp(log_variance))
    return np.asarray(2 * (weights * stdtr(_DF * fewest, -far)).sum(axis=-1))


@lru_cache(maxsize=64)
def log_variances(designs: tuple[Paired, ...]) -> np.ndarray:
    """Logarithm of the variance of the mean AUC, (AUCs × combinations of correlation and ratio)."""
    from scipy.special import ndtr, ndtri  # slow to import

    ratio, correlation = _grid()
    shifts = np.linspace(-6.5, 6.5, 105)[:, None]
    means, variances = np.zeros((2, len(shifts), len(ratio)))
    for design in set(designs):
        times = designs.count(design)
        mean, variance = paired_auc(shifts, ratio, correlation, design)
        means += times * mean / len(designs)
        variances += times * variance / len(designs) ** 2
    probits, logs = ndtri(np.clip(means, 1e-300, 1 - 1e-16)), np.log(np.maximum(variances, 1e-300))
    found = [np.interp(_PROBITS, probits[:, i], logs[:, i]) for i in range(len(ratio))]
    limit = np.log(ndtr(_PROBITS) * ndtr(-_PROBITS))  # a variance in [0, 1] is at most that of one comparison
    return np.minimum(np.stack(found, axis=1), limit[:, None])


def _grid() -> tuple[np.ndarray, np.ndarray]:
    """Ratio of spread and correlation of each combination."""
    ratio, correlation = np.meshgrid(np.exp(_LOG_RATIOS), _CORRELATIONS, indexing="ij")
    return ratio.ravel(), correlation.ravel()


def _weights(scores: np.ndarray, positive: np.ndarray, patients: np.ndarray, blocks: np.ndarray) -> np.ndarray:
    """Weight of each combination: the prior, and half of the likelihood of the deviations from the means of a block."""
    both, alone, df = np.zeros((2, 2)), np.zeros(2), np.zeros(3)
    for block in np.unique(blocks):
        here = blocks == block
        paired = np.intersect1d(patients[here & positive], patients[here & ~positive])
        columns = []
        for number, member in enumerate((here & ~positive, here & positive)):
            rows = np.flatnonzero(member)
            with_partner = np.isin(patients[rows], paired)
            order = np.argsort(patients[rows[with_partner]])
            columns.append(_centred(scores[rows[with_partner][order]]))
            single = _centred(scores[rows[~with_partner]])
            alone[number] += (single**2).sum()
            df[number] += max(len(single) - 1, 0)
        both += np.stack(columns) @ np.stack(columns).T
        df[2] += max(len(paired) - 1, 0)
    return weights_of(both, alone, df)


def weights_of(both: np.ndarray, alone: np.ndarray, df: np.ndarray) -> np.ndarray:
    """Weight of each combination, (..., combinations), from the squares and products of the deviations.

    Parameters
    ----------
    both
        Sums of squares and products of the samples with a partner, (..., 2 × 2), class 0 first.
    alone
        Sums of squares of the samples without a partner, (..., 2).
    df
        Degrees of freedom: samples without a partner of class 0 and of class 1, and pairs, (3,).
    """
    ratio, correlation = _grid()
    log_weight = -(np.log(ratio) ** 2) / 2 - np.arctanh(correlation) ** 2 / 2
    known = np.einsum("...ii->...", both) + alone.sum(axis=-1) > 0
    rest = 1 - correlation**2
    crossed = both[..., 0, 1, None] * correlation / ratio
    squares = (both[..., 0, 0, None] - 2 * crossed + both[..., 1, 1, None] / ratio**2) / rest
    squares = squares + alone[..., 0, None] + alone[..., 1, None] / ratio**2
    determinants = df[2] * np.log(rest) + (df[2] + df[1]) * np.log(ratio**2)
    total = (2 * df[2] + df[0] + df[1]) * np.log(np.where(known[..., None], squares, 1.0))
    log_weight = log_weight - _WEIGHT / 2 * known[..., None] * (determinants + total)
    weights = np.exp(log_weight - log_weight.max(axis=-1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=-1, keepdims=True))


def _centred(values: np.ndarray) -> np.ndarray:
    return values - values.mean() if len(values) else values
