"""Permute the labels of units: all permutations if there are few, a random sample of them otherwise."""

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
"""All labellings are used if there are at most this many. Otherwise this many are drawn."""


def labellings(
    codes: np.ndarray, blocks: np.ndarray, rng: np.random.Generator, *, limit: int = LIMIT
) -> tuple[np.ndarray, bool]:
    """Labellings of the units under the null hypothesis, (B × U), and whether these are all labellings.

    Labels are permuted only within blocks. If the labellings are drawn, the observed labelling is the first of them, so
    that p-values from them are valid.

    Parameters
    ----------
    codes, blocks
        Class number and block number of each unit, (U,).
    rng
        Random generator of the draws.
    limit
        Number of labellings to draw if there are more than this.
    """
    members = [np.flatnonzero(blocks == block) for block in np.unique(blocks)]
    if n_labellings(codes, blocks) <= limit:
        orders = [list(_arrangements(codes[rows])) for rows in members]
        found = np.empty((prod(map(len, orders)), len(codes)), dtype=codes.dtype)
        for i, chosen in enumerate(product(*orders)):
            for rows, values in zip(members, chosen, strict=True):
                found[i, rows] = values
        return found, True
    found = np.tile(codes, (limit, 1))
    for rows in members:
        found[1:, rows] = rng.permuted(found[1:, rows], axis=1)
    return found, False


def n_labellings(codes: np.ndarray, blocks: np.ndarray) -> int:
    """Number of distinct labellings within blocks."""
    return prod(round(1 / smallest_p(codes[blocks == block])) for block in np.unique(blocks))


def blocks_of(units: AuditUnits) -> np.ndarray:
    """Block within which the label of each unit can be permuted, (U,): its group if groups have several labels."""
    if units.paired:
        return np.unique(units.groups.astype(str), return_inverse=True)[1]
    return np.zeros(len(units.names), dtype=int)


def _arrangements(codes: np.ndarray) -> Iterator[np.ndarray]:
    """Yield all distinct orders of a few codes."""
    first = codes.min()
    n = int((codes == first).sum())
    for places in combinations(range(len(codes)), n):
        arranged = np.full(len(codes), first)
        if n == len(codes):
            yield arranged
            continue
        rest = np.setdiff1d(np.arange(len(codes)), places)
        for remaining in _arrangements(codes[codes != first]):
            arranged = arranged.copy()
            arranged[rest] = remaining
            yield arranged


def p_value(observed: float, null: np.ndarray) -> float:
    """Share of the labellings whose statistic is at least the observed one. The observed labelling is among them."""
    return float((null >= observed - 1e-9).mean())


def smallest_of(null: np.ndarray) -> float:
    """Smallest p-value that any labelling can reach with this statistic."""
    return p_value(float(null.max()), null)


def aucs(scores: np.ndarray, labels: np.ndarray, n_classes: int) -> np.ndarray:
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
