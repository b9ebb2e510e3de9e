"""The AUC of groups divided by its standard error, for many labellings of the groups at once."""

from __future__ import annotations

import numpy as np

_CHUNK = 2_000_000
"""Largest number of entries of a temporary array, (labellings × groups)."""


def wins(scores: np.ndarray) -> np.ndarray:
    """Whether the row group has the higher score than the column group, (G × G). A tie counts one half."""
    gap = scores[:, None] - scores
    return np.asarray((gap > 0) + (gap == 0) / 2)


def studentised_auc(
    positive: np.ndarray, won: np.ndarray, blocks: np.ndarray | None = None, *, within: bool = False
) -> np.ndarray:
    """(AUC - 0.5) divided by its standard error, for each labelling, (B,).

    The standard error comes from the placements, as in the test of Brunner and Munzel :cite:p:`brunner2000`: the
    placement of a group is the share of the groups of the other class that it beats. The two classes may vary
    differently. A standard error below half a pair is set to half a pair, so that a perfect ranking has a finite value,
    which is the largest.

    Parameters
    ----------
    positive
        Whether each group is of class 1, (B × G). Each row has the same number of groups of class 1 in each block.
    won
        :func:`wins` of the scores, (G × G).
    blocks
        Block number of each group, (G,), or None. The variance is then estimated from differences within blocks, or
        between blocks where a class has a single group.
    within
        Whether to use the mean of the AUCs within blocks. Blocks that lack a class are left out. The variance is then
        the mean of two estimates: from the placements within blocks, and from the AUCs of the blocks. With few groups
        per block the first one alone is too small if the classes vary differently.
    """
    size = max(1, _CHUNK // max(positive.shape[1], 1))
    parts = [positive[start : start + size].astype(float) for start in range(0, len(positive), size)]
    return np.concatenate([_studentised(part, won, blocks, within=within) for part in parts])


def _studentised(inside: np.ndarray, won: np.ndarray, blocks: np.ndarray | None, *, within: bool) -> np.ndarray:
    if blocks is None:
        auc, influence, n_pairs = _influences(inside, won)
        return (auc - 0.5) / _floored(_stratum(inside, influence), n_pairs)
    members = [np.flatnonzero(blocks == block) for block in np.unique(blocks)]
    if within:
        found = [_influences(inside[:, rows], won[np.ix_(rows, rows)]) for rows in members if _both(inside[0, rows])]
        rows_of = [rows for rows in members if _both(inside[0, rows])]
        n = len(found)
        auc = np.mean([part[0] for part in found], axis=0)
        variance = np.sum([_stratum(inside[:, r], part[1]) for r, part in zip(rows_of, found, strict=True)], axis=0)
        variance = variance / n**2
        if n > 1:
            variance = (variance + np.var([part[0] for part in found], axis=0, ddof=1) / n) / 2
        return (auc - 0.5) / _floored(variance, sum(part[2] for part in found))
    auc, influence, n_pairs = _influences(inside, won)
    return (auc - 0.5) / _floored(_over_blocks(inside, influence, members), n_pairs)


def _influences(inside: np.ndarray, won: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """AUC of each labelling, (B,), what each group adds to its deviation, (B × G), and the number of pairs."""
    outside = 1 - inside
    n_inside, n_outside = inside[0].sum(), outside[0].sum()
    as_positive, as_negative = outside @ won.T / n_outside, inside @ won / n_inside
    auc = (inside * as_positive).sum(axis=1) / n_inside
    centred = auc[:, None]
    influence = inside * (as_positive - centred) / n_inside + outside * (as_negative - centred) / n_outside
    return auc, influence, round(n_inside * n_outside)


def _stratum(inside: np.ndarray, influence: np.ndarray) -> np.ndarray:
    """Variance of the sum of the influences of independent groups of two classes, (B,)."""
    total = np.zeros(len(inside))
    for member in (inside, 1 - inside):
        n = member[0].sum()
        if n > 1:
            mean = (member * influence).sum(axis=1, keepdims=True) / n
            total += n / (n - 1) * (member * (influence - mean) ** 2).sum(axis=1)
    return total


def _over_blocks(inside: np.ndarray, influence: np.ndarray, members: list[np.ndarray]) -> np.ndarray:
    """Variance within the blocks that have two groups of each class, and between the other blocks, (B,)."""
    total, sums = np.zeros(len(inside)), []
    for rows in members:
        n = inside[0, rows].sum()
        if min(n, len(rows) - n) >= 2:
            total += _stratum(inside[:, rows], influence[:, rows])
        else:
            sums.append(influence[:, rows].sum(axis=1))
    if sums:
        table, m = np.stack(sums), len(sums)
        total += (table**2).sum(axis=0) if m == 1 else m / (m - 1) * ((table - table.mean(axis=0)) ** 2).sum(axis=0)
    return total


def _both(inside: np.ndarray) -> bool:
    return bool(0 < inside.sum() < len(inside))


def _floored(variance: np.ndarray, n_pairs: int) -> np.ndarray:
    return np.sqrt(np.maximum(variance, (0.5 / n_pairs) ** 2))
