"""Groups of similar cells over all train times, as many as can be found again in other cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from heldout.tasks.forecast.shared import once

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sklearn.cluster import KMeans

MOST_STATES = 8

STRENGTH = 0.8
"""Least prediction strength of a number of groups."""

LEAST_CELLS = 20
"""Cells that a group has on average, at least."""

_EACH = 100  # cells of a time that are grouped
_SPLITS = 2


def centres_of(cells: Sequence[np.ndarray], n_states: int | None, *, seed: int) -> np.ndarray:
    """Centres of groups of similar cells, (K × k), by k-means. All times count about the same.

    Parameters
    ----------
    cells
        Cells of each train time, each (n_t × k).
    n_states
        Number of groups. None takes the largest number, up to 8, whose prediction strength is at least 0.8
        :cite:p:`tibshirani2005`: cells are halved, both halves are grouped, and for each group of one half, the share
        of its pairs of cells is counted that the groups of the other half also put together. The smallest share of all
        groups, as a mean over two random halvings, is the strength. One group has a strength of 1.
    seed
        Seed of k-means and of the halves.
    """
    rng = np.random.default_rng(seed)
    some = np.concatenate([c[rng.permutation(len(c))[:_EACH]] for c in cells])

    def centres() -> np.ndarray:
        most = max(1, min(MOST_STATES, len(some) // LEAST_CELLS))
        k = n_states or max([1, *(k for k in range(2, most + 1) if _strength(some, k, seed) >= STRENGTH)])
        return np.asarray(_grouped(some, min(k, len(some)), seed, n_init=10).cluster_centers_, dtype=np.float64)

    return once(some, centres, n_states=n_states, seed=seed)


def states_of(cells: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Number of the nearest centre of each cell, (n,)."""
    return np.asarray(((centres**2).sum(axis=1) - 2 * cells @ centres.T).argmin(axis=1))


def _strength(cells: np.ndarray, k: int, seed: int) -> float:
    """How well the groups of one half of the cells are found in the other half, 0 to 1."""
    rng, found = np.random.default_rng(seed), []
    for _ in range(_SPLITS):
        order = rng.permutation(len(cells))
        first, second = cells[order[::2]], cells[order[1::2]]
        known, other = _grouped(first, k, seed), _grouped(second, k, seed)
        table = np.zeros((k, k))  # groups of the second half, by the groups of the first half that its cells are in
        np.add.at(table, (other.labels_, states_of(second, known.cluster_centers_)), 1)
        sizes = table.sum(axis=1)
        together = (table**2).sum(axis=1) - sizes
        found.append(float((together / np.maximum(sizes * (sizes - 1), 1)).min()))
    return float(np.mean(found))


def _grouped(cells: np.ndarray, k: int, seed: int, *, n_init: int = 2) -> KMeans:
    from sklearn.cluster import KMeans

    return KMeans(k, n_init=n_init, random_state=seed).fit(cells)
