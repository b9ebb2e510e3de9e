"""Zeros of generated cells: a threshold for each gene, learned on train."""

from __future__ import annotations

import numpy as np


def thresholds(generated: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Value of each gene below which generated expression becomes 0, (G,) float32, at least 0.

    Parameters
    ----------
    generated
        Cells generated for the conditions of train, (n × G).
    share
        Share of zeros of each gene in train, (G,).
    """
    n = len(generated)
    ranked = np.sort(generated, axis=0)
    place = np.minimum(np.floor(share * n).astype(np.int64), n - 1)
    found = ranked[place, np.arange(len(share))]
    found = np.where(share >= 1, np.inf, found)
    return np.maximum(found, 0).astype(np.float32)


def with_zeros(cells: np.ndarray, threshold: np.ndarray) -> np.ndarray:
    """Cells in which values below the threshold are 0."""
    return np.where(cells < threshold, 0, cells)
