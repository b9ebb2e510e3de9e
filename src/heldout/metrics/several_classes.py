"""Permutation tests of the AUC of three classes and more, and of each pair of classes."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from heldout._core.html import fields_html
from heldout.metrics._checks import as_numbers, block_numbers
from heldout.metrics.labellings import count_labellings, labellings, share_at_least
from heldout.metrics.permutation import Permutation, auc_permutation
from heldout.metrics.unequal import auc_interval_unequal

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from heldout.metrics.skill import Interval


class PairOfClasses(NamedTuple):
    """How well the groups of two of several classes are told apart.

    Parameters
    ----------
    first, second
        Class numbers. Scores are higher for ``second``.
    interval
        AUC of the groups of the two classes, with its interval of 95 %.
    p_value
        One-sided p of the studentised permutation test.
    p_adjusted
        The same, adjusted for the number of pairs by the method of Holm :cite:p:`holm1979`.

    Examples
    --------
    >>> import heldout as ho
    >>> interval = ho.metrics.Interval(1.0, 0.6, 1.0, 3)
    >>> ho.metrics.PairOfClasses(0, 1, interval, p_value=0.05, p_adjusted=0.15).p_adjusted
    0.15
    """

    first: int
    second: int
    interval: Interval
    p_value: float
    p_adjusted: float

    def _repr_html_(self) -> str:
        return fields_html(self)


def class_auc_permutation(
    labels: ArrayLike, scores: ArrayLike, *, blocks: ArrayLike | None = None, n_labellings: int = 20_000, rng: int = 0
) -> Permutation:
    """Test the mean one-against-rest AUC of several classes by a one-sided permutation test.

    All labellings within blocks are counted if there are at most ``n_labellings``. Otherwise the observed one and
    random ones are. The test is conditional on the fit, as :func:`auc_permutation`.

    Parameters
    ----------
    labels
        Class number of each group, (G,), 0 to C - 1.
    scores
        Score of each group for each class, (G × C), for example its log-odds against the other classes.
    blocks
        Block of each group, (G,), within which labels can be exchanged. If None, all groups form one block.
    n_labellings
        Largest number of labellings to try.
    rng
        Seed of the drawn labellings.

    Returns
    -------
    :class:`Permutation`. NaN if only one labelling is possible, or a class has no group.

    Raises
    ------
    ValueError
        If shapes do not fit, or a score is not finite.

    Examples
    --------
    >>> import numpy as np, heldout as ho
    >>> labels = np.repeat([0, 1, 2], 2)
    >>> test = ho.metrics.class_auc_permutation(labels, np.eye(3)[labels])
    >>> round(test.p_value, 4), test.exact
    (0.0111, True)
    """
    values, codes = _checked(labels, scores)
    numbers = block_numbers(blocks, len(codes))
    number = count_labellings(codes, numbers)
    if number == 1 or len(np.unique(codes)) < values.shape[1]:
        return Permutation(float("nan"), float("nan"), 1 / number, exact=True)
    tried, exact = labellings(codes, numbers, np.random.default_rng(rng), limit=n_labellings)
    null = class_aucs(values.T, tried, values.shape[1])
    observed = float(class_aucs(values.T, codes[None], values.shape[1])[0])
    return Permutation(*share_at_least(observed, null), 1 / number, exact=exact)


def pairs_of_classes(
    labels: ArrayLike, log_probability: ArrayLike, *, blocks: ArrayLike | None = None, rng: int = 0
) -> list[PairOfClasses]:
    """Test each pair of classes on the groups of these two classes alone.

    Parameters
    ----------
    labels
        Class number of each group, (G,), 0 to C - 1.
    log_probability
        Log-probabilities of each group, (G × C). The score of a pair is the difference of two columns.
    blocks
        Block of each group, (G,), within which labels can be exchanged. If None, all groups form one block.
    rng
        Seed of the drawn labellings.

    Returns
    -------
    List of :class:`PairOfClasses`, in the order of the class numbers. Pairs of which a class has no group have NaN.

    Raises
    ------
    ValueError
        If shapes do not fit, or a value is not finite.

    Examples
    --------
    >>> import numpy as np, heldout as ho
    >>> labels = np.repeat([0, 1, 2], 4)
    >>> pairs = ho.metrics.pairs_of_classes(labels, np.log(np.eye(3)[labels] + 0.1))
    >>> [(pair.first, pair.second, round(pair.p_adjusted, 3)) for pair in pairs]
    [(0, 1, 0.043), (0, 2, 0.043), (1, 2, 0.043)]
    """
    values, codes = _checked(labels, log_probability)
    numbers = block_numbers(blocks, len(codes))
    found = []
    for first, second in combinations(range(values.shape[1]), 2):
        rows = np.flatnonzero((codes == first) | (codes == second))
        label, score = (codes[rows] == second).astype(int), values[rows, second] - values[rows, first]
        if len(np.unique(label)) < 2:
            missing = auc_interval_unequal([0, 1], [0, 1])._replace(estimate=np.nan, low=np.nan, high=np.nan, n_units=0)
            found.append((first, second, missing, float("nan")))
            continue
        test = auc_permutation(
            label, score, blocks=None if blocks is None else numbers[rows], statistic="studentised", rng=rng
        )
        found.append((first, second, auc_interval_unequal(label, score), test.p_value))
    adjusted = holm(np.array([p for *_, p in found]))
    return [PairOfClasses(*pair, float(p)) for pair, p in zip(found, adjusted, strict=True)]


def holm(p_values: np.ndarray) -> np.ndarray:
    """P-values adjusted for their number by the method of Holm, (n,). NaN stay NaN and do not count."""
    known = np.flatnonzero(np.isfinite(p_values))
    order = known[np.argsort(p_values[known], kind="stable")]
    steps = np.maximum.accumulate(p_values[order] * np.arange(len(order), 0, -1))
    adjusted = np.full(len(p_values), np.nan)
    adjusted[order] = np.minimum(steps, 1.0)
    return adjusted


def class_aucs(scores: np.ndarray, labels: np.ndarray, n_classes: int) -> np.ndarray:
    """AUC over units for each row, (B,). For more than two classes, the mean of each class against the rest.

    Parameters
    ----------
    scores
        Scores of each class, (n_classes × U) or (n_classes × B × U). For two classes, the scores of class 1 are used.
    labels
        Class numbers, (B × U). Each row is a permutation of the same numbers.
    n_classes
        Number of classes.
    """
    from scipy.stats import rankdata  # slow to import

    found = []
    for number in [1] if n_classes == 2 else range(n_classes):
        ranks = np.atleast_2d(rankdata(scores[number], axis=-1))
        inside = labels == number
        n = int(inside[0].sum())
        won = (ranks * inside).sum(axis=1) - n * (n + 1) / 2
        pairs = n * (labels.shape[1] - n)
        found.append(won / pairs if pairs else np.full(len(labels), np.nan))
    return np.asarray(np.nanmean(found, axis=0)) if np.isfinite(found).any() else np.full(len(labels), np.nan)


def _checked(labels: ArrayLike, scores: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    values = as_numbers(scores, "scores", shape="(G × C), one row per group", ndims=(2,))
    codes = np.asarray(labels)
    if codes.shape != (len(values),) or not np.isin(codes, np.arange(values.shape[1])).all():
        msg = (
            f"labels has shape {codes.shape}, but must have a class number from 0 to {values.shape[1] - 1} for each of "
            f"the {len(values)} groups."
        )
        raise ValueError(msg)
    return values, codes.astype(int)
