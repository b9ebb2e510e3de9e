"""Exchange the labels of units: all ways where they can be counted, a large draw of them otherwise."""

from __future__ import annotations

from itertools import combinations, product
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from heldout.metrics.inference import smallest_p

if TYPE_CHECKING:
    from collections.abc import Iterator

    from heldout.auditing._units import AuditUnits

LIMIT = 10_000
"""Up to so many labellings all are looked at; otherwise so many are drawn."""


def labellings(
    codes: np.ndarray, blocks: np.ndarray, rng: np.random.Generator, *, limit: int = LIMIT
) -> tuple[np.ndarray, bool]:
    """Labellings of the units that are as likely as the one seen if labels mean nothing, (B × U), and if these are all.

    Labels are exchanged within blocks only. Where the labellings are drawn, the one seen is the first of them, so that
    a p-value from them is valid.

    Parameters
    ----------
    codes, blocks
        Class number and block number of each unit, (U,).
    rng
        Source of the draws.
    limit
        Number of labellings to draw where there are more.
    """
    members = [np.flatnonzero(blocks == block) for block in np.unique(blocks)]
    if n_labellings(codes, blocks) <= limit:
        ways = [list(_arrangements(codes[rows])) for rows in members]
        found = np.empty((prod(map(len, ways)), len(codes)), dtype=codes.dtype)
        for i, chosen in enumerate(product(*ways)):
            for rows, values in zip(members, chosen, strict=True):
                found[i, rows] = values
        return found, True
    found = np.tile(codes, (limit, 1))
    for rows in members:
        found[1:, rows] = rng.permuted(found[1:, rows], axis=1)
    return found, False


def n_labellings(codes: np.ndarray, blocks: np.ndarray) -> int:
    """Number of ways to exchange the labels within blocks."""
    return prod(round(1 / smallest_p(codes[blocks == block])) for block in np.unique(blocks))


def blocks_of(units: AuditUnits) -> np.ndarray:
    """Number of the block within which labels of units could be exchanged, (U,): its group if that has several labels."""
    if units.paired:
        return np.unique(units.groups.astype(str), return_inverse=True)[1]
    return np.zeros(len(units.names), dtype=int)


def _arrangements(codes: np.ndarray) -> Iterator[np.ndarray]:
    """All distinct orders of a few codes."""
    first = codes.min()
    n = int((codes == first).sum())
    for places in combinations(range(len(codes)), n):
        arranged = np.full(len(codes), first)
        if n == len(codes):
            yield arranged
            continue
        rest = np.setdiff1d(np.arange(len(codes)), places)
        for others in _arrangements(codes[codes != first]):
            arranged = arranged.copy()
            arranged[rest] = others
            yield arranged


def p_value(seen: float, others: np.ndarray) -> float:
    """Share of the labellings, the one seen among them, whose statistic is at least as large."""
    return float((others >= seen - 1e-9).mean())


def smallest_of(others: np.ndarray) -> float:
    """Smallest p-value that any labelling could reach with this statistic."""
    return p_value(float(others.max()), others)


def aucs(scores: np.ndarray, labels: np.ndarray, n_classes: int) -> np.ndarray:
    """AUC over units for each row, (B,); for more than two classes the mean of one class against the rest.

    Parameters
    ----------
    scores
        One score a class, (n_classes × U) or (n_classes × B × U); for two classes that of class 1 is read.
    labels
        Class numbers, (B × U), each row a rearrangement of the others.
    n_classes
        Number of classes.
    """
    from scipy.stats import rankdata

    found = []
    for number in [1] if n_classes == 2 else range(n_classes):
        ranks = np.atleast_2d(rankdata(scores[number], axis=-1))
        inside = labels == number
        n = int(inside[0].sum())
        won = (ranks * inside).sum(axis=1) - n * (n + 1) / 2
        pairs = n * (labels.shape[1] - n)
        found.append(won / pairs if pairs else np.full(len(labels), np.nan))
    return np.asarray(np.nanmean(found, axis=0)) if np.isfinite(found).any() else np.full(len(labels), np.nan)
