"""The train perturbation that is most similar by an embedding."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from heldout.tasks.perturbation.config import NearestConfig
from heldout.tasks.perturbation.interface import Data, Fitted, Pairs, Prediction, Vectors
from heldout.tasks.perturbation.methods.vectors import gene_components, own_vectors


class Nearest:
    """The change of the train perturbation whose vector has the highest cosine with that asked for.

    Perturbations of the same context are looked at, if train has any there; otherwise those of all contexts stand in. A
    combination has the sum of the vectors of its targets. One whose targets have no vector cannot be predicted.
    """

    default_config: ClassVar[Any] = NearestConfig()

    def fit(self, data: Data, config: NearestConfig, *, seed: int) -> Fitted:
        """Keep the train perturbations that have a vector."""
        own = data.target_vectors is None
        vectors = own_vectors(data, gene_components(data, config.n_components)) if own else data.target_vectors
        assert vectors is not None
        P = vectors.of(data.pairs.targets)
        seen = np.isfinite(P).all(axis=1) & (np.abs(np.nan_to_num(P)).max(axis=1) > 0)
        if not seen.any():
            msg = (
                f"method='nearest' needs a vector for what is perturbed, but no perturbation of train has all its targets among "
                f"the {vectors.what}. Give config a perturbation_embedding that has them, see heldout.pp.embedding."
            )
            raise ValueError(msg)
        arrays = {
            "targets": vectors.values,
            "train": P[seen],
            "change": data.change[seen],
            "context": data.pairs.context[seen],
        }
        info = {"targets": vectors.to_json(), "n_neighbors": config.n_neighbors}
        return Fitted(arrays, {**info, "n_used": int(seen.sum())})

    def predict(self, fitted: Fitted, pairs: Pairs) -> Prediction:
        """Mean change of the nearest ones; of equals the first."""
        arrays, k = fitted.arrays, int(fitted.info["n_neighbors"])
        P = Vectors.load(fitted.info["targets"], arrays["targets"]).of(pairs.targets)
        cosine = _unit(P) @ _unit(arrays["train"]).T
        change = np.full((len(pairs), arrays["change"].shape[1]), np.nan)
        fallback = np.zeros(len(pairs), dtype=bool)
        for i in np.flatnonzero(np.isfinite(cosine).all(axis=1)):
            candidates = np.flatnonzero(arrays["context"] == pairs.context[i])
            if not len(candidates):
                candidates, fallback[i] = np.arange(len(arrays["context"])), True
            best = candidates[np.argsort(-cosine[i, candidates], kind="stable")[:k]]
            change[i] = arrays["change"][best].mean(axis=0)
        return Prediction(change, fallback)


def _unit(vectors: np.ndarray) -> np.ndarray:
    """Rows of length 1; NaN for a row of zeros, which has no direction."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, length, out=np.full(vectors.shape, np.nan), where=length > 0)
