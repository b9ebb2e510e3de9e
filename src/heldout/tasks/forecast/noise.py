"""The noise of an energy distance: how far halves of the same cells are apart."""

from __future__ import annotations

import numpy as np
from scipy.spatial.distance import cdist

from heldout.metrics._pairs import in_fixed_order

HALVES = 1000
"""Number of random halves."""

_MOST = 1000
"""Cells that are halved. With n cells the distance is on a scale of 1 / n, so that of more cells follows."""

LEVEL = 0.95
"""Share of the distances of halves that the noise floor is above."""


def distances_of_halves(cells: np.ndarray, groups: np.ndarray | None, rng: np.random.Generator) -> np.ndarray:
    """Energy distance of one half of the cells to the other, for 1,000 random halves, (1000,).

    Parameters
    ----------
    cells
        Observed cells, (n × k).
    groups
        Library or donor of each cell, (n,), of which whole ones are halved. None halves the cells.
    rng
        Generator that draws halves, and cells if there are more than 1,000.
    """
    n = len(cells)
    if groups is None:
        cells = in_fixed_order(cells)
    rows = np.arange(n) if n <= _MOST else np.sort(rng.choice(n, _MOST, replace=False))
    if groups is not None and n > _MOST:
        rows = np.union1d(rows, _few_of_each(groups)[:_MOST])
    if groups is None:
        first = np.argsort(rng.random((HALVES, len(rows))), axis=1) < len(rows) // 2
        scale = len(rows) / n
    else:
        names, of_row = np.unique(groups[rows], return_inverse=True)
        first = (np.argsort(rng.random((HALVES, len(names))), axis=1) < len(names) // 2)[:, of_row]
        scale = 1.0  # the noise of groups does not depend on the number of their cells
    return scale * _between_halves(cdist(cells[rows], cells[rows]), first)


def _few_of_each(groups: np.ndarray) -> np.ndarray:
    """The first two cells of each group, so that a small group takes part in the halves too."""
    order = np.argsort(groups, kind="stable")
    first = np.searchsorted(groups[order], np.unique(groups))
    second = np.minimum(first + 1, np.append(first[1:], len(groups)) - 1)
    return np.union1d(order[first], order[second])


def _between_halves(distance: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Energy distance of the two halves of each draw, from the distances of all pairs (n × n) and halves (d × n)."""
    left, right = first.astype(np.float64), (~first).astype(np.float64)
    to_left = left @ distance
    n_left, n_right = left.sum(axis=1), right.sum(axis=1)
    within = (to_left * left).sum(axis=1) / (n_left * (n_left - 1))
    within += ((right @ distance) * right).sum(axis=1) / (n_right * (n_right - 1))
    return np.asarray(2 * (to_left * right).sum(axis=1) / (n_left * n_right) - within)
