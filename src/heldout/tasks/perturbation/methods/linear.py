"""Y = G W Pᵀ + b: the linear model that deep ones have not beaten."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from heldout.tasks.perturbation.config import LinearConfig
from heldout.tasks.perturbation.interface import Data, Fitted, Pairs, Prediction, Vectors
from heldout.tasks.perturbation.methods.vectors import gene_components, own_vectors


class Linear:
    """The linear model of :cite:t:`ahlmanneltze2025`, closed form.

    Y are the changes of the train perturbations (G × m), with a column of zeros for the controls of each context, G
    vectors of the genes, P vectors of the perturbations, b the mean of each gene over the columns of a context:
    W = (GᵀG + λ)⁻¹ Gᵀ (Y - b) P (PᵀP + λ)⁻¹. Perturbations with a target that has no vector are left out of the fit, and
    cannot be predicted.
    """

    default_config: ClassVar[Any] = LinearConfig()

    def fit(self, data: Data, config: LinearConfig, *, seed: int) -> Fitted:
        """Two ridge regressions, one on either side."""
        G = (
            gene_components(data, config.n_components)
            if data.gene_vectors is None
            else np.nan_to_num(data.gene_vectors)
        )
        vectors = own_vectors(data, G) if data.target_vectors is None else data.target_vectors
        P = vectors.of(data.pairs.targets)
        seen = np.isfinite(P).all(axis=1)
        if not seen.any():
            msg = (
                f"method='linear' needs a vector for what is perturbed, but no perturbation of train has all its targets among "
                f"the {vectors.what}. Give config a perturbation_embedding that has them, see heldout.pp.embedding."
            )
            raise ValueError(msg)
        Y, P, context = _with_controls(data.change[seen], P[seen], data.pairs.context[seen])
        b = _centres(Y, context, data.n_contexts)
        left = _ridge(G, (Y - b[context]).T, config.penalty)
        weights = _ridge(P, left.T, config.penalty).T
        info = {"targets": vectors.to_json(), "n_used": int(seen.sum())}
        return Fitted({"genes": G, "targets": vectors.values, "weights": weights, "centre": b}, info)

    def predict(self, fitted: Fitted, pairs: Pairs) -> Prediction:
        """Linear in the summed vectors of the targets."""
        arrays = fitted.arrays
        P = Vectors.load(fitted.info["targets"], arrays["targets"]).of(pairs.targets)
        b, lacking = arrays["centre"][np.minimum(pairs.context, len(arrays["centre"]) - 1)], np.zeros(len(pairs), bool)
        lacking |= np.isnan(b).any(axis=1) | (pairs.context >= len(arrays["centre"]) - 1)
        b = np.where(lacking[:, None], arrays["centre"][-1], b)
        return Prediction(P @ arrays["weights"].T @ arrays["genes"].T + b, lacking)


def _with_controls(change: np.ndarray, P: np.ndarray, context: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows with one more for the controls of each context: no change, and a vector of zeros."""
    here = np.unique(context)
    nothing = (np.zeros((len(here), change.shape[1])), np.zeros((len(here), P.shape[1])))
    return np.vstack([change, nothing[0]]), np.vstack([P, nothing[1]]), np.concatenate([context, here])


def _centres(Y: np.ndarray, context: np.ndarray, n_contexts: int) -> np.ndarray:
    """Mean of the rows of each context, NaN where there are none, and of all rows last, (C + 1 × G)."""
    means = np.full((n_contexts + 1, Y.shape[1]), np.nan)
    for number in np.unique(context):
        means[number] = Y[context == number].mean(axis=0)
    means[-1] = Y.mean(axis=0)
    return means


def _ridge(X: np.ndarray, Y: np.ndarray, penalty: float) -> np.ndarray:
    """(XᵀX + penalty)⁻¹ XᵀY, (p × q)."""
    return np.asarray(np.linalg.solve(X.T @ X + penalty * np.eye(X.shape[1]), X.T @ Y))
