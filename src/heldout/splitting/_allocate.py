"""Find the best number of groups of each class in each partition.

Groups of one class are interchangeable in the objective. The search therefore runs over tables of counts
(classes × partitions) and not over assignments of single groups. Dynamic programming over the column sums visits every
table. The objective is the squared distance between the table and its ideal (class size × fraction), plus the squared
distance between the column sums and their ideal. A table with an empty cell is not allowed.
"""

from __future__ import annotations

from functools import cache

import numpy as np

EXACT_LIMIT = 60
"""Largest number of groups for which every table is visited. With more groups, each class is rounded separately."""


def allocate(sizes: np.ndarray, fractions: np.ndarray) -> np.ndarray:
    """Return the number of groups of each class in each partition, (n_classes × n_partitions).

    Parameters
    ----------
    sizes
        Number of groups in each class, (n_classes,). Each is at least ``n_partitions``.
    fractions
        Wanted share of each partition, (n_partitions,). The shares are positive and sum to 1.
    """
    if sizes.sum() > EXACT_LIMIT:
        return np.stack([_largest_remainder(int(size), fractions) for size in sizes])
    totals = sizes.sum() * fractions
    best: dict[tuple[int, ...], tuple[float, list[tuple[int, ...]]]] = {(0,) * len(fractions): (0.0, [])}
    for size in sizes.tolist():
        ideal = size * fractions
        reached: dict[tuple[int, ...], tuple[float, list[tuple[int, ...]]]] = {}
        for row in _compositions(size, len(fractions)):
            cost = float(((np.array(row) - ideal) ** 2).sum())
            for sums, (so_far, rows) in best.items():
                at = tuple(s + r for s, r in zip(sums, row, strict=True))
                if at not in reached or so_far + cost < reached[at][0] - 1e-12:
                    reached[at] = (so_far + cost, [*rows, row])
        best = reached
    final = {at: cost + float(((np.array(at) - totals) ** 2).sum()) for at, (cost, _) in best.items()}
    return np.array(best[min(final, key=lambda at: (round(final[at], 9), at))][1])


@cache
def _compositions(size: int, parts: int) -> tuple[tuple[int, ...], ...]:
    """Return all ways to write ``size`` as an ordered sum of ``parts`` positive integers."""
    if parts == 1:
        return ((size,),)
    return tuple(
        (first, *rest) for first in range(1, size - parts + 2) for rest in _compositions(size - first, parts - 1)
    )


def _largest_remainder(size: int, fractions: np.ndarray) -> np.ndarray:
    counts = np.maximum(np.floor(size * fractions).astype(int), 1)
    while counts.sum() != size:
        gap = size * fractions - counts
        if counts.sum() < size:
            counts[np.argmax(gap)] += 1
        else:
            counts[np.argmin(np.where(counts > 1, gap, np.inf))] -= 1
    return counts


def draw(classes: np.ndarray, table: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw the partition number of each group, (n_groups,), uniformly among the assignments with these counts.

    Parameters
    ----------
    classes
        Class number of each group. The order of the groups must not depend on the rows of the data.
    table
        Counts from :func:`allocate`.
    """
    result = np.empty(len(classes), dtype=np.int8)
    for number, counts in enumerate(table):
        members = np.flatnonzero(classes == number)
        result[rng.permutation(members)] = np.repeat(np.arange(len(counts)), counts)
    return result
