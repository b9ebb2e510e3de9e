"""Permutation tests that exchange the labels of groups within blocks."""

from __future__ import annotations

from functools import lru_cache
from math import comb, lcm, prod
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

import numpy as np

from heldout._core.checks import check_choice, check_integer
from heldout._core.html import fields_html
from heldout.metrics._checks import as_numbers, block_numbers, block_rows, two_classes
from heldout.metrics.labellings import count_labellings, labellings, share_at_least
from heldout.metrics.studentised import studentised_auc, wins

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike

_MOST_STATES = 4_000_000
"""Largest number of entries of the exact distribution. For larger designs labellings are drawn at random."""

_N_DRAWN = 99_999
"""Number of labellings that are drawn at random."""

_N_STUDENTISED = 20_000
"""Largest number of labellings for which the studentised AUC is computed."""


Statistic = Literal["auc", "studentised"]


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

    def _repr_html_(self) -> str:
        return fields_html(self)


def auc_permutation(
    labels: ArrayLike,
    score: ArrayLike,
    *,
    blocks: ArrayLike | None = None,
    within: bool = False,
    statistic: Statistic = "auc",
    rng: int = 0,
) -> Permutation:
    """Test the AUC of groups by a one-sided permutation test, with ties and blocks.

    The null hypothesis is that labels can be exchanged within blocks, while the scores stay the same. The test is valid
    for scores of a model that was fitted without these labels; it is conditional on the fit. Scores pooled over the
    folds of a cross-validation depend on these labels. For them the fit must be repeated; see :func:`permutation_test`.

    Classes can have an AUC of 0.5 and still differ in spread. Labels can then not be exchanged, and the test of the AUC
    itself rejects too often if the smaller class varies more. The studentised AUC is as exact if labels can be
    exchanged, and it keeps the level approximately if the classes differ only in spread :cite:p:`neubert2007`.

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
    statistic
        What is compared between labellings: ``"auc"``, or ``"studentised"``, the AUC minus 0.5 divided by its standard
        error.
    rng
        Seed of the drawn labellings, for designs that are too large to count.

    Returns
    -------
    :class:`Permutation`. NaN if only one labelling is possible. With ``within``, NaN if no block has both classes.

    Raises
    ------
    ValueError
        If labels are not 0 and 1, lengths differ, a score is not finite, or ``statistic`` is unknown.

    Examples
    --------
    On each of four days, the model ranks the one patient above the one control:

    >>> import heldout as ho
    >>> days = [0, 0, 1, 1, 2, 2, 3, 3]
    >>> ho.metrics.auc_permutation([0, 1] * 4, range(8), blocks=days, within=True).p_value
    0.0625
    """
    check_choice(statistic, "statistic", get_args(Statistic))
    scores = as_numbers(score, "score", shape="(G,), one value per group", ndims=(1,))
    positive = two_classes(labels, len(scores))
    rows_of_blocks = block_rows(blocks, len(scores))
    if within:
        rows_of_blocks = [rows for rows in rows_of_blocks if 0 < positive[rows].sum() < len(rows)]
    smallest = 1 / prod((comb(len(rows), int(positive[rows].sum())) for rows in rows_of_blocks), start=1)
    if smallest == 1:
        return Permutation(float("nan"), float("nan"), 1.0, exact=True)
    if statistic == "studentised":
        return _studentised(
            scores, positive, rows_of_blocks, smallest, blocked=blocks is not None, within=within, rng=rng
        )
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
    _, codes = np.unique(given, return_inverse=True)
    numbers = block_numbers(blocks, len(given))
    number = count_labellings(codes, numbers)
    observed = float(statistic(given))
    if number == 1:
        return Permutation(float("nan"), float("nan"), 1.0, exact=True)
    tried, exact = labellings(codes, numbers, np.random.default_rng(rng), limit=n_labellings)
    names = np.unique(given)
    values = np.array([observed if (row == codes).all() else float(statistic(names[row])) for row in tried])
    return Permutation(*share_at_least(observed, values), 1 / number, exact=exact)


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
    positive = two_classes(labels, len(scores[0]))
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


def _studentised(
    scores: np.ndarray,
    positive: np.ndarray,
    rows_of_blocks: list[np.ndarray],
    smallest: float,
    *,
    blocked: bool,
    within: bool,
    rng: int,
) -> Permutation:
    """Compare the studentised AUC with its values under all labellings, or under random ones."""
    rows = np.concatenate(rows_of_blocks)
    numbers = np.repeat(np.arange(len(rows_of_blocks)), [len(block) for block in rows_of_blocks])
    order = np.lexsort((scores[rows], numbers))
    won, label = wins(scores[rows[order]]), positive[rows[order]]
    if within:  # groups of different blocks are not compared, so designs without ties share their labellings
        won = won * (numbers[:, None] == numbers)
    observed = float(studentised_auc(label[None], won, numbers if blocked else None, within=within)[0])
    any_label = label[np.lexsort((label, numbers))]
    null, exact = _null(any_label.tobytes(), won.tobytes(), numbers.tobytes(), rng, blocked=blocked, within=within)
    if not exact:
        null = np.append(null, observed)
    return Permutation(*share_at_least(observed, null), smallest, exact=exact)


@lru_cache(maxsize=16)
def _null(
    positive: bytes, won: bytes, numbers: bytes, rng: int, *, blocked: bool, within: bool
) -> tuple[np.ndarray, bool]:
    """Studentised AUC of each labelling. Without ties and blocks it is the same for all scores of a design."""
    labels, blocks = np.frombuffer(positive, dtype=bool), np.frombuffer(numbers, dtype=int)
    wins_of = np.frombuffer(won).reshape(len(labels), len(labels))
    tried, exact = labellings(labels, blocks, np.random.default_rng(rng), limit=_N_STUDENTISED)
    found = studentised_auc(tried, wins_of, blocks if blocked else None, within=within)
    return (found, True) if exact else (found[1:], False)  # the first of drawn labellings is the given one
