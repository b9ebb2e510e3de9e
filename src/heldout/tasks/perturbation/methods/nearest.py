"""The train perturbation that is most similar by an embedding."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from heldout._core.method import Fitted
from heldout.tasks.perturbation.config import NearestConfig
from heldout.tasks.perturbation.interface import Vectors
from heldout.tasks.perturbation.methods.nearest_dose import stored_doses
from heldout.tasks.perturbation.methods.vectors import no_vectors, vectors_of_targets
from heldout.tasks.perturbation.predictions import Controls, Shifted

if TYPE_CHECKING:
    from heldout.tasks.perturbation.interface import Data
    from heldout.tasks.perturbation.pairs import Pairs


class Nearest:
    """Predict the change of the train perturbations whose vectors have the highest cosine.

    Train perturbations of the same context are compared. If train has none there, those of all contexts are the
    fallback. If a train perturbation has several doses, the nearest dose comes first. A combination has the sum of the
    vectors of its targets. A perturbation with a target without a vector cannot be predicted.
    """

    default_config: ClassVar[NearestConfig] = NearestConfig()
    stochastic: ClassVar[bool] = False
    reads: ClassVar[Literal["profiles", "cells"]] = "profiles"

    def fit(self, data: Data, config: NearestConfig, *, seed: int, start: Fitted | None = None) -> Fitted:
        """Keep the train perturbations that have a vector."""
        profiles = data.profiles
        vectors = vectors_of_targets(data, config.n_comps)
        P = vectors.of(profiles.pairs.targets)
        seen = np.isfinite(P).all(axis=1) & (np.abs(np.nan_to_num(P)).max(axis=1) > 0)
        if not seen.any():
            raise ValueError(no_vectors("nearest", vectors))
        arrays = {
            "targets": vectors.values,
            "train": P[seen],
            "change": profiles.change[seen],
            "context": profiles.pairs.context[seen],
            **stored_doses(profiles.pairs, seen),
        }
        info = {"targets": vectors.to_json(), "n_neighbors": config.n_neighbors}
        return Fitted(arrays, {**info, "n_used": int(seen.sum())})

    def predict(self, fitted: Fitted, pairs: Pairs, controls: Controls, *, seed: int) -> Shifted:
        """Average the changes of the nearest train perturbations; of equally near ones the first are taken."""
        arrays, k = fitted.arrays, int(fitted.info["n_neighbors"])
        P = Vectors.load(fitted.info["targets"], arrays["targets"]).of(pairs.targets)
        cosine = _unit(P) @ _unit(arrays["train"]).T
        change = np.full((len(pairs), arrays["change"].shape[1]), np.nan)
        fallback = np.zeros(len(pairs), dtype=bool)
        for i in np.flatnonzero(np.isfinite(cosine).all(axis=1)):
            candidates = np.flatnonzero(arrays["context"] == pairs.context[i])
            if not len(candidates):
                candidates, fallback[i] = np.arange(len(arrays["context"])), True
            order = np.argsort(-cosine[i, candidates], kind="stable")
            if pairs.dose is not None and "dose" in arrays:
                distance = np.abs(np.log(arrays["dose"][candidates]) - np.log(pairs.dose[i]))
                order = np.lexsort((distance, -cosine[i, candidates]))
            best = candidates[order[:k]]
            change[i] = arrays["change"][best].mean(axis=0)
        return Shifted.of(pairs, controls, change, fallback)


def _unit(vectors: np.ndarray) -> np.ndarray:
    """Rows of length 1; NaN for a row of zeros, which has no direction."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, length, out=np.full(vectors.shape, np.nan), where=length > 0)
