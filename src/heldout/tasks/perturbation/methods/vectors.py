"""Vectors of genes and of targets, computed from the train perturbations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from heldout.tasks.perturbation.interface import Vectors

if TYPE_CHECKING:
    from heldout.tasks.perturbation.interface import Data, Profiles


def gene_components(profiles: Profiles, n_comps: int) -> np.ndarray:
    """Principal components of the train pseudobulks with genes as observations, (G × K).

    The columns are the controls of each context and each perturbation, centred over genes, as in
    :cite:t:`ahlmanneltze2025`.
    """
    controls = profiles.control[np.isfinite(profiles.control).all(axis=1)]
    columns = np.vstack([controls, profiles.change + profiles.control[profiles.pairs.context]])
    centred = (columns - columns.mean(axis=1, keepdims=True)).T
    U, S, _ = np.linalg.svd(centred, full_matrices=False)
    rank = int((S[0] * max(centred.shape) * np.finfo(np.float64).eps < S).sum()) if S[0] > 0 else 0
    keep = min(n_comps, rank)
    return np.asarray(U[:, :keep] * S[:keep])


def vectors_of_targets(data: Data, n_comps: int) -> Vectors:
    """Vectors from the embedding that the user named; else, for targets that are genes, their principal components."""
    if data.target_vectors is not None:
        return data.target_vectors
    return Vectors(data.genes, gene_components(data.profiles, n_comps))


def no_vectors(method: str, vectors: Vectors) -> str:
    """Error message of a method that has no vector for any train perturbation."""
    return (
        f"method={method!r} needs a vector for what is perturbed, but no perturbation of train has all its targets "
        f"among the {vectors.what}. Give config a perturbation_embedding that has them, see heldout.pp.embedding."
    )
