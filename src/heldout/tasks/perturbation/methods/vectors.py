"""Vectors of genes and of targets: from the train perturbations, or from an embedding."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from heldout.tasks.perturbation.interface import Vectors

if TYPE_CHECKING:
    from heldout.tasks.perturbation.interface import Data


def gene_components(data: Data, n_components: int) -> np.ndarray:
    """Principal components of the train pseudobulks with genes as observations, (G × K).

    The columns are the controls of each context and each perturbation, centred over genes, as in
    :cite:t:`ahlmanneltze2025`.
    """
    with_controls = data.control[np.isfinite(data.control).all(axis=1)]
    columns = np.vstack([with_controls, data.change + data.control[data.pairs.context]])
    centred = (columns - columns.mean(axis=1, keepdims=True)).T
    U, S, _ = np.linalg.svd(centred, full_matrices=False)
    rank = int((S[0] * max(centred.shape) * np.finfo(np.float64).eps < S).sum()) if S[0] > 0 else 0
    keep = min(n_components, rank)
    return np.asarray(U[:, :keep] * S[:keep])


def own_vectors(data: Data, G: np.ndarray) -> Vectors:
    """Vectors of targets that are genes at hand: their rows of G."""
    return Vectors(data.genes, G)
