"""Effects of unseen targets from the train targets with the most similar vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from heldout._core.stacking import helps
from heldout.tasks.perturbation.config import VectorKnnConfig
from heldout.tasks.perturbation.methods.vector_effects import TargetEffects, predict_from_vectors

if TYPE_CHECKING:
    from heldout._core.method import Fitted
    from heldout.tasks.perturbation.interface import Data
    from heldout.tasks.perturbation.pairs import Pairs
    from heldout.tasks.perturbation.predictions import Controls, Shifted

_NEIGHBORS = (1, 2, 3, 5, 10, 20, 50)


class VectorKnn:
    """Predict the effect of an unseen target from its nearest train targets, after the common template is removed.

    Effects of targets are those of ``latent_additive``; the template is their mean. The effect of an unseen target is a
    mean over the nearest train targets, weighted by the cosine of the vectors and multiplied by a shrinkage. Leaving
    out each train target chooses the number of neighbours and the shrinkage. If the neighbours do not predict left-out
    targets, the shrinkage is 0 and the template is left.
    """

    default_config: ClassVar[VectorKnnConfig] = VectorKnnConfig()
    stochastic: ClassVar[bool] = False
    reads: ClassVar[Literal["profiles", "cells"]] = "profiles"

    def fit(self, data: Data, config: VectorKnnConfig, *, seed: int, start: Fitted | None = None) -> Fitted:
        """Choose the number of neighbours and the shrinkage."""
        found = TargetEffects.of(data, "vector_knn", config.n_comps)
        k, shrinkage = _chosen(found.P, found.Y, config.n_neighbors)
        return found.fitted({"train": found.P, "effects_of_train": found.Y}, {"n_neighbors": k, "shrinkage": shrinkage})

    def predict(self, fitted: Fitted, pairs: Pairs, controls: Controls, *, seed: int) -> Shifted:
        """Add up the effects; those of unseen targets come from their neighbours."""
        arrays, k, shrinkage = fitted.arrays, int(fitted.info["n_neighbors"]), float(fitted.info["shrinkage"])

        def effect_of(P: np.ndarray) -> np.ndarray:
            return shrinkage * neighbour_mean(cosines(P, arrays["train"]), arrays["effects_of_train"], k)

        return predict_from_vectors(fitted, pairs, controls, effect_of)


def cosines(P: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Cosine of each pair of vectors, (a × b); 0 for a vector of zeros."""
    a, b = (values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-300) for values in (P, others))
    return np.asarray(a @ b.T)


def neighbour_mean(cosine: np.ndarray, effects: np.ndarray, k: int) -> np.ndarray:
    """Mean effect of the ``k`` nearest targets, weighted by cosine, (a × Q); 0 where no cosine is above 0."""
    order = np.argsort(-cosine, axis=1, kind="stable")[:, :k]
    weights = np.maximum(np.take_along_axis(cosine, order, axis=1), 0)
    total = weights.sum(axis=1, keepdims=True)
    weights = np.divide(weights, total, out=np.zeros_like(weights), where=total > 0)
    return np.asarray(np.einsum("ak,akq->aq", weights, effects[order]))


def _chosen(P: np.ndarray, Y: np.ndarray, n_neighbors: int | None) -> tuple[int, float]:
    """Number of neighbours and shrinkage that predict left-out targets best; shrinkage 0 if none helps."""
    n = len(P)
    asked = _NEIGHBORS if n_neighbors is None else (n_neighbors,)
    candidates = sorted({min(k, n - 1) for k in asked}) if n > 1 else []
    cosine = cosines(P, P)
    np.fill_diagonal(cosine, -np.inf)
    best, chosen = 0.0, (max(1, min(asked[0], n)), 0.0)
    templates = (Y.sum(axis=0) - Y) / max(n - 1, 1)  # without the target itself
    rest = Y - templates
    similar = np.where((cosine > 0).any(axis=1), 1.0, 0.0)[:, None]
    for k in candidates:
        predicted = similar * (neighbour_mean(cosine, Y, k) - templates)
        power = float((predicted**2).sum())
        shrinkage = float(np.clip((predicted * rest).sum() / power, 0, 1)) if power > 0 else 0.0
        gains = (rest**2).sum(axis=1) - ((rest - shrinkage * predicted) ** 2).sum(axis=1)
        if helps(gains) and gains.sum() > best:
            best, chosen = float(gains.sum()), (k, shrinkage)
    return chosen
