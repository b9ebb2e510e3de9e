"""Folds of the sampled cells. They do not depend on the order of the rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from heldout._core.partition import digests

if TYPE_CHECKING:
    from heldout.auditing._case import Case


def shuffled_order(case: Case, rows: np.ndarray, purpose: str) -> np.ndarray:
    """A random rank of each of these cells, (m,), that depends on the name of the cell and not on its row."""
    rank = np.empty(len(rows), dtype=int)
    rank[np.argsort(digests(case.adata.obs_names[rows]), kind="stable")] = case.rng(purpose).permutation(len(rows))
    return rank


def dealt_within(strata: np.ndarray, rank: np.ndarray, n_folds: int) -> np.ndarray:
    """Fold of each cell, (m,). The cells of each stratum are dealt to the folds in the order of their rank."""
    order = np.lexsort((rank, strata))
    first = np.concatenate([[0], np.flatnonzero(np.diff(strata[order])) + 1])
    within = np.arange(len(strata)) - np.repeat(first, np.diff(np.append(first, len(strata))))
    folds = np.empty(len(strata), dtype=int)
    folds[order] = within % n_folds
    return folds
