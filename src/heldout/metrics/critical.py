"""Comparison of several methods over several data sets: mean ranks, and which methods differ."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from heldout._core.html import fields_html
from heldout.metrics._checks import as_numbers
from heldout.metrics.paired import sign_flip_test
from heldout.metrics.several_classes import holm

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


@dataclass(frozen=True)
class CriticalDifferences:
    """Mean ranks of methods over data sets, and which of them differ; see :func:`critical_differences`.

    Parameters
    ----------
    ranks
        Mean rank of each method, (K,). 1 is the best.
    p_adjusted
        Two-sided p of each pair of methods, adjusted for the number of pairs, (K × K). NaN on the diagonal.
    cliques
        Methods that are next to each other by rank and of which no two differ, as tuples of their numbers in the order
        of rank. No clique is a part of another one.
    n
        Number of data sets.
    smallest
        The smallest adjusted p that any pair could have with these numbers of data sets and methods. If it is above
        ``level``, no difference can be shown.
    level
        Level of the tests.

    Examples
    --------
    >>> import heldout as ho
    >>> found = ho.metrics.critical_differences([[0.9, 0.6], [0.8, 0.7], [0.9, 0.5]])
    >>> found.ranks.tolist(), found.cliques, found.smallest
    ([1.0, 2.0], [(0, 1)], 0.25)
    """

    ranks: np.ndarray
    p_adjusted: np.ndarray
    cliques: list[tuple[int, ...]]
    n: int
    smallest: float
    level: float

    _repr_html_ = fields_html


def critical_differences(
    scores: ArrayLike, *, lower_is_better: bool = False, level: float = 0.05
) -> CriticalDifferences:
    """Compare methods over independent data sets, by paired tests of ranks.

    Each pair of methods is compared by the exact signed-rank test of Wilcoxon :cite:p:`wilcoxon1945` over data sets,
    and p-values are adjusted by the method of Holm :cite:p:`holm1979`. The result of a pair does not depend on the
    other methods, as it does in the test of Nemenyi on mean ranks, which the first diagrams of critical differences
    used :cite:p:`demsar2006,benavoli2016`. The order of the methods is that of their mean ranks.

    Parameters
    ----------
    scores
        Score of each method on each data set, (n × K).
    lower_is_better
        Whether the best score is the lowest one, as for a loss.
    level
        Level of the tests over all pairs, between 0 and 1.

    Returns
    -------
    The ranks, the p-values and the cliques.

    Raises
    ------
    ValueError
        If there are fewer than two methods or data sets, a score is missing, or ``level`` is out of range.

    Notes
    -----
    The unit is the data set. Folds of one data set share train cells and are no independent units; use the interval of
    :func:`heldout.tl.compare` for them. The exact test counts all signs up to 16 data sets and random ones beyond. Data
    sets on which two methods have equal scores are left out of the test of this pair. With five data sets no difference
    can be shown at a level of 0.05, because the smallest two-sided p is 0.0625; with three methods, seven data sets are
    needed. :attr:`CriticalDifferences.smallest` gives this number.

    Examples
    --------
    >>> import numpy as np, heldout as ho
    >>> rng = np.random.default_rng(0)
    >>> scores = rng.normal(size=(12, 1)) + rng.normal([0.0, 0.1, 3.0], 0.5, size=(12, 3))
    >>> found = ho.metrics.critical_differences(scores)
    >>> found.cliques
    [(2,), (1, 0)]
    """
    from scipy.stats import rankdata  # slow to import

    values = as_numbers(scores, "scores", shape="(n × K), one row for each data set", ndims=(2,))
    n, k = values.shape
    if n < 2 or k < 2:
        msg = f"scores has {n} data sets and {k} methods, but a comparison needs at least 2 of each."
        raise ValueError(msg)
    if not 0 < level < 1:
        msg = f"level={level!r} must be in (0, 1)."
        raise ValueError(msg)
    ranks = rankdata(values if lower_is_better else -values, axis=1).mean(axis=0)
    pairs = list(combinations(range(k), 2))
    adjusted = holm(np.array([_signed_rank_p(values[:, i] - values[:, j]) for i, j in pairs]))
    p_adjusted = np.full((k, k), np.nan)
    for (i, j), p in zip(pairs, adjusted, strict=True):
        p_adjusted[i, j] = p_adjusted[j, i] = p
    smallest = min(1.0, len(pairs) * 2.0 / 2 ** min(n, 16))
    return CriticalDifferences(ranks, p_adjusted, _cliques(ranks, p_adjusted, level), n, smallest, level)


def _signed_rank_p(differences: np.ndarray) -> float:
    """Two-sided p of the exact signed-rank test, with mean ranks for equal sizes; differences of 0 are left out."""
    from scipy.stats import rankdata  # slow to import

    unequal = differences[differences != 0]
    if not len(unequal):
        return 1.0
    signed = np.sign(unequal) * rankdata(abs(unequal))
    return float(min(1.0, 2 * min(sign_flip_test(signed), sign_flip_test(-signed))))


def _cliques(ranks: np.ndarray, p: np.ndarray, level: float) -> list[tuple[int, ...]]:
    """Longest runs of neighbours by rank of which no two differ."""
    order = np.argsort(ranks, kind="stable")
    found: list[tuple[int, int]] = []
    for first in range(len(order)):
        last = first
        while last + 1 < len(order) and (p[order[last + 1], order[first : last + 1]] > level).all():
            last += 1
        if not found or last > found[-1][1]:
            found.append((first, last))
    return [tuple(int(number) for number in order[first : last + 1]) for first, last in found]
