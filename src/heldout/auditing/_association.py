"""Association of two categories over a few units: bias-corrected Cramér's V and an exact test."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import gammaln, logsumexp

from heldout._core.arrays import row_chunks

if TYPE_CHECKING:
    from collections.abc import Iterator

_MAX_STEPS = 200_000
_N_DRAWS = 10_000
_ENTRIES = 2**22
"""Entries of random tables that are drawn at a time."""


def crosstab(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Contingency table (r × c) of two arrays of names."""
    (r, row_of), (c, column_of) = (np.unique(x, return_inverse=True) for x in (rows.astype(str), columns.astype(str)))
    table = np.zeros((len(r), len(c)), dtype=np.int64)
    np.add.at(table, (row_of, column_of), 1)
    return table


def cramers_v(table: np.ndarray) -> float:
    """Cramér's V with the bias correction of Bergsma. NaN if a variable has only one value."""
    n, (r, c) = table.sum(), table.shape
    if min(r, c) < 2 or n < 2:
        return np.nan
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / n
    phi2 = float(((table - expected) ** 2 / expected).sum() / n)
    phi2 = max(0.0, phi2 - (r - 1) * (c - 1) / (n - 1))
    smaller = min(r - (r - 1) ** 2 / (n - 1), c - (c - 1) ** 2 / (n - 1)) - 1
    return float(np.sqrt(phi2 / smaller)) if smaller > 0 else np.nan


def exact_p(table: np.ndarray, rng: np.random.Generator) -> float:
    """Fisher-Freeman-Halton p-value: the probability of all tables with these margins that are at most as likely.

    All tables are enumerated. If there are too many, 10,000 random tables are drawn.
    """
    rows, columns = table.sum(axis=1), table.sum(axis=0)
    constant = gammaln(rows + 1).sum() + gammaln(columns + 1).sum() - gammaln(table.sum() + 1)
    observed = constant - gammaln(table + 1).sum()
    states = _enumerate(rows, columns)
    if states is not None:
        weights, counts = states
        unlikely = weights + constant <= observed + 1e-7
        return float(min(1.0, np.exp(logsumexp(weights[unlikely] + constant, b=counts[unlikely]))))
    from scipy.stats import random_table

    tables, hits = random_table(rows, columns), 0
    for part in row_chunks(_N_DRAWS, max(1, _ENTRIES // table.size)):
        drawn = tables.rvs(part.stop - part.start, random_state=rng)
        hits += int((constant - gammaln(drawn + 1).sum(axis=(1, 2)) <= observed + 1e-7).sum())
    return float((1 + hits) / (1 + _N_DRAWS))


def _enumerate(rows: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Log weights of all tables with these margins, and the number of tables with each weight. None if too many.

    Tables are built column by column. Partial tables with the same row remainders and the same weight are counted
    together.
    """
    states: dict[tuple[tuple[int, ...], float], int] = {(tuple(rows.tolist()), 0.0): 1}
    log_factorial = gammaln(np.arange(rows.sum() + 1) + 1).tolist()
    steps = 0
    for size in columns.tolist():
        reached: dict[tuple[tuple[int, ...], float], int] = defaultdict(int)
        for (left, weight), count in states.items():
            for part in _parts(size, left):
                rest = tuple(have - take for have, take in zip(left, part, strict=True))
                reached[rest, round(weight - sum(log_factorial[k] for k in part), 9)] += count
                steps += 1
                if steps > _MAX_STEPS:
                    return None
        states = reached
    return np.array([weight for _, weight in states]), np.array(list(states.values()), dtype=float)


def _parts(size: int, limits: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Yield all ways to take ``size`` entries from rows with ``limits`` entries left."""
    if len(limits) == 1:
        if size <= limits[0]:
            yield (size,)
        return
    for first in range(max(0, size - sum(limits[1:])), min(size, limits[0]) + 1):
        for rest in _parts(size - first, limits[1:]):
            yield (first, *rest)
