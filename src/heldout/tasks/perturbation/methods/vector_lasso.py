"""Effects of unseen targets by a sparse regression on their vectors."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from heldout._core.stacking import helps
from heldout.tasks.perturbation.config import VectorLassoConfig
from heldout.tasks.perturbation.methods.vector_effects import TargetEffects, predict_from_vectors

if TYPE_CHECKING:
    from heldout._core.method import Fitted
    from heldout.tasks.perturbation.interface import Data
    from heldout.tasks.perturbation.pairs import Pairs
    from heldout.tasks.perturbation.predictions import Controls, Shifted

N_FOLDS = 5
_PATH = np.geomspace(1, 0.02, 15)
"""Penalties that are compared, as a share of the smallest penalty that removes all dimensions."""


class VectorLasso:
    """Predict the effect of an unseen target by a lasso on its vector, after the common template is removed.

    Effects of targets are those of ``latent_additive``; the template is their mean. A multi-task lasso regresses their
    leading components on the dimensions of the vectors, and uses or drops a dimension for all components at once.
    Leaving out folds of train targets chooses the penalty. If the vectors do not predict left-out targets, all
    dimensions are dropped and the template is left.
    """

    default_config: ClassVar[VectorLassoConfig] = VectorLassoConfig()
    stochastic: ClassVar[bool] = False
    reads: ClassVar[Literal["profiles", "cells"]] = "profiles"

    def fit(self, data: Data, config: VectorLassoConfig, *, seed: int, start: Fitted | None = None) -> Fitted:
        """Choose the penalty and regress."""
        found = TargetEffects.of(data, "vector_lasso", config.n_comps)
        centre, scale = found.P.mean(axis=0), found.P.std(axis=0)
        scale = np.where(scale > 1e-12 * max(float(scale.max()), 1e-300), scale, np.inf)
        X = (found.P - centre) / scale
        penalty = config.penalty
        if penalty is None:
            penalty = _best_penalty(X, found.Y, np.random.default_rng(0))
        slopes = lasso(X, found.Y, penalty) if np.isfinite(penalty) else np.zeros((X.shape[1], found.Y.shape[1]))
        arrays = {"slopes": slopes, "centre": centre, "scale": scale}
        used = int((np.abs(slopes).sum(axis=1) > 0).sum())
        return found.fitted(arrays, {"penalty": penalty if np.isfinite(penalty) else None, "n_dimensions_used": used})

    def predict(self, fitted: Fitted, pairs: Pairs, controls: Controls, *, seed: int) -> Shifted:
        """Add up the effects; those of unseen targets come from their vectors."""
        arrays = fitted.arrays

        def effect_of(P: np.ndarray) -> np.ndarray:
            return np.asarray((P - arrays["centre"]) / arrays["scale"] @ arrays["slopes"])

        return predict_from_vectors(fitted, pairs, controls, effect_of)


def lasso(X: np.ndarray, Y: np.ndarray, penalty: float, start: np.ndarray | None = None) -> np.ndarray:
    """Multi-task lasso without an intercept, ‖Y − XB‖² / 2n + penalty · Σ_j ‖B_j‖; the slopes B, (d × Q)."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import MultiTaskLasso

    model = MultiTaskLasso(penalty, fit_intercept=False, max_iter=500, tol=1e-4, warm_start=start is not None)
    if start is not None:
        model.coef_ = np.asfortranarray(start.T)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(X, Y)
    return np.asarray(model.coef_.T)


def largest_penalty(X: np.ndarray, Y: np.ndarray) -> float:
    """Smallest penalty at which all slopes are 0."""
    return float(np.linalg.norm(X.T @ Y, axis=1).max() / len(X))


def _best_penalty(X: np.ndarray, Y: np.ndarray, rng: np.random.Generator) -> float:
    """Penalty that predicts left-out folds of targets best; infinite if none beats the template."""
    n = len(X)
    fold = rng.permutation(np.arange(n) % min(N_FOLDS, n))
    top = largest_penalty(X, Y)
    if n < 4 or not top > 0:
        return float("inf")
    gains = np.zeros((len(_PATH), n))
    for number in range(int(fold.max()) + 1):
        train, test = fold != number, fold == number
        centre, template = X[train].mean(axis=0), Y[train].mean(axis=0)  # without the fold, whose values they contain
        slopes = np.zeros((X.shape[1], Y.shape[1]))
        for i, share in enumerate(_PATH):
            slopes = lasso(X[train] - centre, Y[train] - template, share * top, slopes)
            left = Y[test] - template - (X[test] - centre) @ slopes
            gains[i, test] = ((Y[test] - template) ** 2).sum(axis=1) - (left**2).sum(axis=1)
    best = int(np.argmax(gains.sum(axis=1)))
    return float(_PATH[best] * top) if helps(gains[best]) else float("inf")
