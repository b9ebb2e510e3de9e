"""Permutation tests that exchange the labels of groups within blocks."""

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
"""Largest number of entries of the exact distribution. For larger designs labellings are drawn at random."""

_N_DRAWN = 99_999
"""Number of labellings that are drawn at random."""


class Permutation(NamedTuple):
    """Result of a permutation test.

    Parameters
    ----------
    p_value
        Share of labellings whose statistic is at least as large as the observed one; one-sided. For drawn labellings it
        is (1 + number at least as large) / (1 + number drawn) :cite:p:`phipson2010`.
    mid_p
        The same share, in which a labelling with an equal statistic counts half. With few labellings ``p_value`` is
        discrete and stays below the nominal level. ``mid_p`` is close to that level on average and can exceed it.
    smallest
        The smallest ``p_value`` that any result could have: 1 divided by the number of labellings.
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
    """Test the AUC of groups by an exact one-sided permutation test, with ties and blocks.

    The null hypothesis is that labels can be exchanged within blocks, while the scores stay the same. The test is valid
    for scores of a model that was fitted without these labels; it is conditional on the fit. Scores pooled over the
    folds of a cross-validation depend on these labels. For them the fit must be repeated; see :func:`permutation_test`.

    Parameters
    ----------
    labels
        Class number of each group, (G,), 0 or 1.
    score
        Score of each group, (G,), higher for class 1.
    blocks
        Block (day, batch, patient) of each group, (G,). If None, all groups form one block.
    within
        Whether to test the mean of the AUCs within blocks (:func:`block_auc`) instead of the AUC of all pairs.
    rng
        Seed of the drawn labellings, for designs that are too large to count.

    Returns
    -------
    :class:`Permutation`. NaN if only one labelling is possible. With ``within``, NaN if no block has both classes.

    Raises
    ------
    ValueError
        If labels are not 0 and 1, lengths differ, or a score is not finite.

    Examples
    --------
    On each of four days, the model ranks the one patient above the one control:

    >>> import heldout as ho
    >>> days = [0, 0, 1, 1, 2, 2, 3, 3]
    >>> ho.metrics.auc_permutation([0, 1] * 4, range(8), blocks=days, within=True).p_value
    0.0625
    """
    scores = as_numbers(score, "score", shape="(G,), one value per group", ndims=(1,))
    positive = _two_classes(labels, len(scores))
    rows_of_blocks = _block_rows(blocks, len(scores))
    if within:
        rows_of_blocks = [rows for rows in rows_of_blocks if 0 < positive[rows].sum() < len(rows)]
    smallest = 1 / prod((comb(len(rows), int(positive[rows].sum())) for rows in rows_of_blocks), start=1)
    if smallest == 1:
        return Permutation(float("nan"), float("nan"), 1.0, exact=True)
    parts = _integer_parts(scores, positive, rows_of_blocks, within=within)
    n_states = sum(part.sum() for part, _ in parts) * max(k for _, k in parts)
    observed = sum(int(part[positive[rows]].sum()) for rows, (part, _) in zip(rows_of_blocks, parts, strict=True))
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
    """Test any statistic of the labels of groups by a one-sided permutation test.

    All labellings within the blocks are tried if there are at most ``n_labellings``. Otherwise the observed labelling
    and random draws are tried. If the statistic repeats every step that used the labels (the fit, the choice between
    models), the test covers the whole procedure. If it does not, the test is conditional on the fit.

    Parameters
    ----------
    labels
        Label of each group, (G,); any number of classes.
    statistic
        Function from labels (G,) to a number; larger is better.
    blocks
        Block of each group, (G,), within which labels can be exchanged. If None, all groups form one block.
    n_labellings
        Largest number of labellings to try, including the observed one.
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
    given = np.asarray(labels)
    rows_of_blocks = _block_rows(blocks, len(given))
    number = prod((labellings_of(given[rows]) for rows in rows_of_blocks), start=1)
    observed = float(statistic(given))
    if number == 1:
        return Permutation(float("nan"), float("nan"), 1.0, exact=True)
    exact = number <= n_labellings
    if exact:
        labellings = _all_labellings(given, rows_of_blocks)
    else:
        labellings = _draws(given, rows_of_blocks, n_labellings - 1, np.random.default_rng(rng))
    values = np.array([float(statistic(labelling)) for labelling in labellings])
    near = 1e-12 * max(1.0, abs(observed))
    above, equal = int((values > observed + near).sum()), int((abs(values - observed) <= near).sum())
    total = len(values) + (not exact)
    equal += not exact
    return Permutation((above + equal) / total, (above + equal / 2) / total, 1 / number, exact=exact)


def swap_test(
    labels: ArrayLike, first: ArrayLike, second: ArrayLike, *, n_swaps: int = 4096, rng: int | np.random.Generator = 0
) -> float:
    """Test the difference of two AUCs on the same groups by swapping the two methods group by group.

    Each method's scores are replaced by their ranks. Under the null hypothesis the two ranks of a group can be swapped
    :cite:p:`bandos2005`.

    Parameters
    ----------
    labels
        Class number of each group, (G,), 0 or 1.
    first, second
        Score of each group by the first and by the second method, (G,).
    n_swaps
        All 2 ** G choices are tried if there are at most this many. Otherwise the observed choice and random draws are
        tried.
    rng
        Seed or generator of the draws.

    Returns
    -------
    The two-sided p-value. 1 if both methods rank the groups equally. NaN if a class is missing.

    Examples
    --------
    >>> import numpy as np, heldout as ho
    >>> labels = np.repeat([0, 1], 5)
    >>> ho.metrics.swap_test(labels, np.arange(10), [9, 0, 8, 1, 7, 2, 6, 3, 5, 4])
    0.0234375
    """
    from scipy.stats import rankdata  # slow to import

    scores = [
        rankdata(as_numbers(values, name, shape="(G,), one value per group", ndims=(1,)))
        for name, values in (("first", first), ("second", second))
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
    """Compute the AUC for each row of ``chosen`` (B × G); 0 takes the score of the first method, 1 of the second."""
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
        msg = f"labels has shape {numbers.shape}, but must have a 0 or 1 for each of the {n} groups."
        raise ValueError(msg)
    return numbers == 1


def _block_rows(blocks: ArrayLike | None, n: int) -> list[np.ndarray]:
    """Return the row numbers of the groups of each block."""
    if blocks is None:
        return [np.arange(n)]
    names = np.asarray(blocks)
    if names.shape != (n,):
        msg = f"blocks has shape {names.shape}, but must have the block of each of the {n} groups."
        raise ValueError(msg)
    _, numbers = np.unique(names.astype(str), return_inverse=True)
    return [np.flatnonzero(numbers == number) for number in range(numbers.max() + 1)]


def _integer_parts(
    scores: np.ndarray, positive: np.ndarray, rows_of_blocks: list[np.ndarray], *, within: bool
) -> list[tuple[np.ndarray, int]]:
    """Return, for each block, what a group adds to the statistic if it is of class 1, and the number of class 1 groups.

    The added values are integers >= 0.
    """
    from scipy.stats import rankdata  # slow to import

    ranks = np.rint(2 * rankdata(scores)).astype(np.int64)
    pairs = [int(positive[rows].sum()) * int((~positive[rows]).sum()) for rows in rows_of_blocks]
    common = lcm(*pairs) if within else 1
    parts = []
    for rows, number in zip(rows_of_blocks, pairs, strict=True):
        of_block = ranks[rows]
        if within:
            of_block = np.rint(2 * rankdata(scores[rows])).astype(np.int64) * (common // number)
        parts.append((of_block - of_block.min(), int(positive[rows].sum())))
    return parts


def _counted(parts: list[tuple[np.ndarray, int]], observed: int, smallest: float) -> Permutation:
    """Count the sum over all labellings: one polynomial per block, multiplied over blocks."""
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


def _all_labellings(labels: np.ndarray, rows_of_blocks: list[np.ndarray]) -> Iterator[np.ndarray]:
    for choice in product(*(list(_arrangements(labels[rows])) for rows in rows_of_blocks)):
        labelling = labels.copy()
        for rows, values in zip(rows_of_blocks, choice, strict=True):
            labelling[rows] = values
        yield labelling


def _arrangements(labels: np.ndarray) -> Iterator[np.ndarray]:
    """Yield each distinct order of some labels."""
    first = labels[0]
    others = labels[labels != first]
    for places in combinations(range(len(labels)), len(labels) - len(others)):
        rest = np.setdiff1d(np.arange(len(labels)), places)
        for order in _arrangements(others) if len(others) else [others]:
            arrangement = np.empty_like(labels)
            arrangement[list(places)] = first
            arrangement[rest] = order
            yield arrangement


def _draws(
    labels: np.ndarray, rows_of_blocks: list[np.ndarray], n: int, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    for _ in range(n):
        labelling = labels.copy()
        for rows in rows_of_blocks:
            labelling[rows] = rng.permutation(labels[rows])
        yield labelling
