"""How many groups of each class go to each partition: the exact optimum, by enumeration.

Groups of one class are interchangeable in the objective, so the search over all assignments of groups to partitions
is a search over tables of counts (classes × partitions). Dynamic programming over the column sums visits every such
table. The objective is the squared distance of the table to its ideal (class size × fraction) plus that of its column
sums to theirs; a table with an empty cell is not allowed.
"""

from __future__ import annotations

from functools import cache

import numpy as np

EXACT_LIMIT = 60
"""Number of groups up to which every table is visited; beyond it each class is rounded on its own."""


def allocate(sizes: np.ndarray, fractions: np.ndarray) -> np.ndarray:
    """Counts of groups, (n_classes × n_partitions).

    Parameters
    ----------
    sizes
        Number of groups in each class, (n_classes,); each at least ``n_partitions``.
    fractions
        Wanted share of each partition, (n_partitions,), positive, summing to 1.
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
    """All ways to write ``size`` as an ordered sum of ``parts`` positive integers."""
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
    """Partition number of each group, (n_groups,): a uniform draw among the assignments with these counts.

    Parameters
    ----------
    classes
        Class number of each group, groups in an order that does not depend on the rows.
    table
        Counts from :func:`allocate`.
    """
    result = np.empty(len(classes), dtype=np.int8)
    for number, counts in enumerate(table):
        members = np.flatnonzero(classes == number)
        result[rng.permutation(members)] = np.repeat(np.arange(len(counts)), counts)
    return result
