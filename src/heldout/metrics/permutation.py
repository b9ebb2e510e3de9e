"""Permutation of the labels of groups, within blocks in which they could have been exchanged."""

from __future__ import annotations

from itertools import combinations, product
from math import comb, lcm, prod
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from heldout._core.checks import check_integer
from heldout.metrics._checks import as_numbers
from heldout.metrics.inference import n_labellings as labellings_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import ArrayLike

_MOST_STATES = 4_000_000
"""Entries of the exact distribution above which labellings are drawn instead."""

_N_DRAWN = 99_999
"""Labellings that are drawn then."""


class Permutation(NamedTuple):
    """Result of a permutation test.

    Parameters
    ----------
    p_value
        Share of labellings with a statistic at least as large as the observed one; one-sided. With drawn labellings
        (1 + as large) / (1 + drawn) :cite:p:`phipson2010`.
    mid_p
        The same with labellings that are just as large counted half. A ``p_value`` of few labellings is discrete and
        keeps the nominal level by staying below it; the mid-p is near that level on average, and may exceed it.
    smallest
        The smallest ``p_value`` that any result could have had: one over the number of labellings.
    exact
        Whether all labellings were counted.

    Examples
    --------
    >>> import heldout as ho
    >>> ho.metrics.Permutation(p_value=0.05, mid_p=0.025, smallest=0.05, exact=True).exact
    True
    """

    p_value: float
    mid_p: float
    smallest: float
    exact: bool


def auc_permutation(
    labels: ArrayLike, score: ArrayLike, *, blocks: ArrayLike | None = None, within: bool = False, rng: int = 0
) -> Permutation:
    """Exact one-sided permutation test of the AUC of groups, ties and blocks included.

    The null hypothesis is that labels could have been exchanged within blocks, with the scores as they are. For scores
    of a model that has not seen these labels that is a valid test, conditional on the fit. Scores that were pooled over
    the folds of a cross-validation have seen them: there the fit has to be made again, see :func:`permutation_test`.

    Parameters
    ----------
    labels
        Class number of each group, (G,), 0 or 1.
    score
        Score of each group, (G,), higher for class 1.
    blocks
        Block (day, batch, patient) of each group, (G,); one block if not given.
    within
        Test the mean of the AUCs within blocks (:func:`block_auc`) instead of that of all pairs.
    rng
        Seed of drawn labellings, for designs too large to count.

    Returns
    -------
    :class:`Permutation`. NaN if no labelling could differ from this one (or, with ``within``, no block has both classes).

    Raises
    ------
    ValueError
        If labels are not 0 and 1, lengths differ, or a score is not finite.

    Examples
    --------
    Four days with one patient and one control each, all four told apart:

    >>> import heldout as ho
    >>> days = [0, 0, 1, 1, 2, 2, 3, 3]
    >>> ho.metrics.auc_permutation([0, 1] * 4, range(8), blocks=days, within=True).p_value
    0.0625
    """
    scores = as_numbers(score, "score", shape="(G,), one value a group", ndims=(1,))
    positive = _two_classes(labels, len(scores))
    sizes = _block_rows(blocks, len(scores))
    if within:
        sizes = [rows for rows in sizes if 0 < positive[rows].sum() < len(rows)]
    smallest = 1 / prod((comb(len(rows), int(positive[rows].sum())) for rows in sizes), start=1)
    if smallest == 1:
        return Permutation(float("nan"), float("nan"), 1.0, exact=True)
    parts = _integer_parts(scores, positive, sizes, within=within)
    n_states = sum(part.sum() for part, _ in parts) * max(k for _, k in parts)
    observed = sum(int(part[positive[rows]].sum()) for rows, (part, _) in zip(sizes, parts, strict=True))
    if n_states <= _MOST_STATES:
        return _counted(parts, observed, smallest)
    return _drawn(parts, observed, smallest, np.random.default_rng(rng))


def permutation_test(
    labels: ArrayLike,
    statistic: Callable[[np.ndarray], float],
    *,
    blocks: ArrayLike | None = None,
    n_labellings: int = 1000,
    rng: int | np.random.Generator = 0,
) -> Permutation:
    """One-sided permutation test of any statistic of the labels of groups, e.g. of a fit that is made again each time.

    All labellings within the blocks are tried if there are at most ``n_labellings``; else the observed one and draws.
    With a statistic that repeats everything that saw the labels (the fit, the choice between models), it tests the
    whole procedure. With one that does not, it is conditional on what was fitted.

    Parameters
    ----------
    labels
        Label of each group, (G,); any number of classes.
    statistic
        Function of labels (G,) to a number, larger for better.
    blocks
        Block of each group, (G,), within which labels could be exchanged; one block if not given.
    n_labellings
        Most labellings to try, the observed one among them.
    rng
        Seed or generator of the draws.

    Returns
    -------
    :class:`Permutation`.

    Raises
    ------
    ValueError
        If ``n_labellings`` is below 2 or lengths differ.

    Examples
    --------
    >>> import numpy as np, heldout as ho
    >>> values = np.array([1.0, 2.0, 3.0, 7.0, 8.0, 9.0])
    >>> labels = np.array([0, 0, 0, 1, 1, 1])
    >>> ho.metrics.permutation_test(labels, lambda y: values[y == 1].mean() - values[y == 0].mean()).p_value
    0.05
    """
    check_integer(n_labellings, "n_labellings", least=2)
    own = np.asarray(labels)
    sizes = _block_rows(blocks, len(own))
    number = prod((labellings_of(own[rows]) for rows in sizes), start=1)
    observed = float(statistic(own))
    if number == 1:
        return Permutation(float("nan"), float("nan"), 1.0, exact=True)
    exact = number <= n_labellings
    tried = _all_labellings(own, sizes) if exact else _draws(own, sizes, n_labellings - 1, np.random.default_rng(rng))
    values = np.array([float(statistic(one)) for one in tried])
    near = 1e-12 * max(1.0, abs(observed))
    above, equal = int((values > observed + near).sum()), int((abs(values - observed) <= near).sum())
    total = len(values) + (not exact)
    equal += not exact
    return Permutation((above + equal) / total, (above + equal / 2) / total, 1 / number, exact=exact)


def swap_test(
    labels: ArrayLike, first: ArrayLike, second: ArrayLike, *, n_swaps: int = 4096, rng: int | np.random.Generator = 0
) -> float:
    """Two-sided p of the difference of two AUCs on the same groups, by swapping the methods group by group.

    Scores are replaced by their ranks within each method, and under the null hypothesis it makes no difference which
    method a group's rank is from :cite:p:`bandos2005`.

    Parameters
    ----------
    labels
        Class number of each group, (G,), 0 or 1.
    first, second
        Score of each group by each method, (G,).
    n_swaps
        All 2 ** G choices are tried if there are no more than this; else the observed one and draws.
    rng
        Seed or generator of the draws.

    Returns
    -------
    The p-value; 1 if both methods rank the groups alike, NaN without both classes.

    Examples
    --------
    >>> import numpy as np, heldout as ho
    >>> labels = np.repeat([0, 1], 5)
    >>> ho.metrics.swap_test(labels, np.arange(10), [9, 0, 8, 1, 7, 2, 6, 3, 5, 4])
    0.0234375
    """
    from scipy.stats import rankdata  # slow to import

    scores = [
        rankdata(as_numbers(one, "a score", shape="(G,), one value a group", ndims=(1,))) for one in (first, second)
    ]
    positive = _two_classes(labels, len(scores[0]))
    if positive.all() or not positive.any():
        return float("nan")
    n_groups = len(positive)
    exact = 2**n_groups <= n_swaps
    if exact:
        choice = (np.arange(2**n_groups)[:, None] >> np.arange(n_groups)) & 1
    else:
        choice = np.random.default_rng(rng).integers(2, size=(n_swaps - 1, n_groups))
        choice = np.concatenate([np.zeros((1, n_groups), dtype=int), choice])
    chosen = choice.astype(float)
    difference = _auc_of_choice(scores, positive, chosen) - _auc_of_choice(scores, positive, 1 - chosen)
    return float((abs(difference) >= abs(difference[0]) - 1e-12).mean())


def _auc_of_choice(scores: list[np.ndarray], positive: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """AUC of the scores that each row of ``chosen`` (B × G) takes: 0 from the first method, 1 from the second."""
    inside = (1 - chosen[:, positive], chosen[:, positive])
    outside = (1 - chosen[:, ~positive], chosen[:, ~positive])
    total = np.zeros(len(chosen))
    for i, a in enumerate(scores):
        for j, b in enumerate(scores):
            gap = a[positive][:, None] - b[~positive]
            total += ((inside[i] @ ((gap > 0) + (gap == 0) / 2)) * outside[j]).sum(axis=1)
    return total / (positive.sum() * (~positive).sum())


def _two_classes(labels: ArrayLike, n: int) -> np.ndarray:
    numbers = np.asarray(labels)
    if numbers.shape != (n,) or not np.isin(numbers, [0, 1]).all():
        msg = f"labels has shape {numbers.shape}; wanted is a 0 or 1 for each of the {n} groups."
        raise ValueError(msg)
    return numbers == 1


def _block_rows(blocks: ArrayLike | None, n: int) -> list[np.ndarray]:
    """Row numbers of the groups of each block."""
    if blocks is None:
        return [np.arange(n)]
    names = np.asarray(blocks)
    if names.shape != (n,):
        msg = f"blocks has shape {names.shape}; it must name the block of each of the {n} groups."
        raise ValueError(msg)
    _, numbers = np.unique(names.astype(str), return_inverse=True)
    return [np.flatnonzero(numbers == number) for number in range(numbers.max() + 1)]


def _integer_parts(
    scores: np.ndarray, positive: np.ndarray, sizes: list[np.ndarray], *, within: bool
) -> list[tuple[np.ndarray, int]]:
    """What each group adds to the statistic if it is of class 1, as whole numbers from 0, and how many of a block are."""
    from scipy.stats import rankdata  # slow to import

    ranks = np.rint(2 * rankdata(scores)).astype(np.int64)
    pairs = [int(positive[rows].sum()) * int((~positive[rows]).sum()) for rows in sizes]
    common = lcm(*pairs) if within else 1
    parts = []
    for rows, number in zip(sizes, pairs, strict=True):
        own = np.rint(2 * rankdata(scores[rows])).astype(np.int64) * (common // number) if within else ranks[rows]
        parts.append((own - own.min(), int(positive[rows].sum())))
    return parts


def _counted(parts: list[tuple[np.ndarray, int]], observed: int, smallest: float) -> Permutation:
    """Distribution of the sum over all labellings: one polynomial a block, multiplied."""
    whole = np.ones(1)
    for values, n_positive in parts:
        total = int(np.sort(values)[::-1][:n_positive].sum())
        ways = np.zeros((n_positive + 1, total + 1))
        ways[0, 0] = 1.0
        for value in values.tolist():
            for k in range(n_positive, 0, -1):
                if value <= total:
                    ways[k, value:] += ways[k - 1, : total + 1 - value]
        whole = np.convolve(whole, ways[n_positive] / ways[n_positive].sum())
    above, equal = float(whole[observed + 1 :].sum()), float(whole[observed])
    return Permutation(min(above + equal, 1.0), min(above + equal / 2, 1.0), smallest, exact=True)


def _drawn(
    parts: list[tuple[np.ndarray, int]], observed: int, smallest: float, rng: np.random.Generator
) -> Permutation:
    sums = np.zeros(_N_DRAWN, dtype=np.int64)
    for values, n_positive in parts:
        for start in range(0, _N_DRAWN, 1000):
            n = min(1000, _N_DRAWN - start)
            first = rng.random((n, len(values))).argpartition(max(n_positive - 1, 0), axis=1)[:, :n_positive]
            sums[start : start + n] += values[first].sum(axis=1)
    above, equal = int((sums > observed).sum()), int((sums == observed).sum()) + 1
    total = _N_DRAWN + 1
    return Permutation((above + equal) / total, (above + equal / 2) / total, smallest, exact=False)


def _all_labellings(labels: np.ndarray, sizes: list[np.ndarray]) -> Iterator[np.ndarray]:
    for choice in product(*(list(_arrangements(labels[rows])) for rows in sizes)):
        one = labels.copy()
        for rows, values in zip(sizes, choice, strict=True):
            one[rows] = values
        yield one


def _arrangements(labels: np.ndarray) -> Iterator[np.ndarray]:
    """Each distinct order of some labels."""
    first = labels[0]
    others = labels[labels != first]
    for places in combinations(range(len(labels)), len(labels) - len(others)):
        rest = np.setdiff1d(np.arange(len(labels)), places)
        for order in _arrangements(others) if len(others) else [others]:
            one = np.empty_like(labels)
            one[list(places)] = first
            one[rest] = order
            yield one


def _draws(labels: np.ndarray, sizes: list[np.ndarray], n: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    for _ in range(n):
        one = labels.copy()
        for rows in sizes:
            one[rows] = rng.permutation(labels[rows])
        yield one
