"""Y = G W Pᵀ + b: a linear model that published networks have not beaten."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from heldout._core.method import Fitted
from heldout.tasks.perturbation.config import LinearConfig
from heldout.tasks.perturbation.interface import Vectors
from heldout.tasks.perturbation.methods.vectors import gene_components, no_vectors
from heldout.tasks.perturbation.predictions import Controls, Shifted

if TYPE_CHECKING:
    from heldout.tasks.perturbation.interface import Data
    from heldout.tasks.perturbation.pairs import Pairs


class Linear:
    """The linear model of :cite:t:`ahlmanneltze2025`, in closed form.

    Y holds the changes of the train perturbations (G × m), with a column of zeros for the controls of each context. G
    holds vectors of the genes, P vectors of the perturbations, and b the mean of each gene over the columns of a
    context. Then W = (GᵀG + λ)⁻¹ Gᵀ (Y - b) P (PᵀP + λ)⁻¹. Perturbations with a target without a vector are left out of
    the fit and cannot be predicted.
    """

    default_config: ClassVar[LinearConfig] = LinearConfig()
    stochastic: ClassVar[bool] = False
    reads: ClassVar[Literal["profiles", "cells"]] = "profiles"

    def fit(self, data: Data, config: LinearConfig, *, seed: int, start: Fitted | None = None) -> Fitted:
        """Solve two ridge regressions, one on either side."""
        profiles = data.profiles
        given = data.gene_vectors
        G = gene_components(profiles, config.n_comps) if given is None else np.nan_to_num(given)
        vectors = Vectors(data.genes, G) if data.target_vectors is None else data.target_vectors
        P = vectors.of(profiles.pairs.targets)
        seen = np.isfinite(P).all(axis=1)
        if not seen.any():
            raise ValueError(no_vectors("linear", vectors))
        Y, P, context = _with_controls(profiles.change[seen], P[seen], profiles.pairs.context[seen])
        b = _centres(Y, context, profiles.n_contexts)
        left = _ridge(G, (Y - b[context]).T, config.penalty)
        weights = _ridge(P, left.T, config.penalty).T
        info = {"targets": vectors.to_json(), "n_used": int(seen.sum())}
        return Fitted({"genes": G, "targets": vectors.values, "weights": weights, "centre": b}, info)

    def predict(self, fitted: Fitted, pairs: Pairs, controls: Controls, *, seed: int) -> Shifted:
        """Predict a linear function of the summed vectors of the targets."""
        arrays = fitted.arrays
        P = Vectors.load(fitted.info["targets"], arrays["targets"]).of(pairs.targets)
        b, lacking = arrays["centre"][np.minimum(pairs.context, len(arrays["centre"]) - 1)], np.zeros(len(pairs), bool)
        lacking |= np.isnan(b).any(axis=1) | (pairs.context >= len(arrays["centre"]) - 1)
        b = np.where(lacking[:, None], arrays["centre"][-1], b)
        return Shifted.of(pairs, controls, P @ arrays["weights"].T @ arrays["genes"].T + b, lacking)


def _with_controls(change: np.ndarray, P: np.ndarray, context: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Add a row for the controls of each context: no change, and a vector of zeros."""
    contexts = np.unique(context)
    no_change, no_vector = np.zeros((len(contexts), change.shape[1])), np.zeros((len(contexts), P.shape[1]))
    return np.vstack([change, no_change]), np.vstack([P, no_vector]), np.concatenate([context, contexts])


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
