"""Additive effects of targets in the components of the train changes, by ridge regression."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from heldout.tasks.perturbation.config import LatentAdditiveConfig
from heldout.tasks.perturbation.interface import Data, Fitted, Pairs, Prediction

if TYPE_CHECKING:
    from collections.abc import Sequence

    from heldout.splitting._perturbations import Targets

PENALTIES = np.geomspace(0.1, 1e5, 25)
"""Ridge penalties that are tried, in cells."""


class LatentAdditive:
    """Each target has an effect, and a combination the sum of them, in the first components of the train changes.

    The effects are found by ridge regression over all train perturbations, weighted by their cells, so that combinations
    say something of their targets too; noisy effects are drawn to the mean effect of a target in the context. The penalty
    is the one under which each train perturbation is predicted best from all others. It is the closed form of what
    PerturBench :cite:p:`wu2024` calls a latent additive model and trains by gradient descent with two networks.
    """

    default_config: ClassVar[Any] = LatentAdditiveConfig()

    def fit(self, data: Data, config: LatentAdditiveConfig, *, seed: int) -> Fitted:
        """Components, then ridge regression; the penalty by leaving out one perturbation at a time."""
        targets = sorted({target for of_row in data.pairs.targets for target in of_row})
        basis = _components(data, config.n_components)
        latent = data.change @ basis.T
        design = _design(data.pairs.targets, targets)
        means, lacking = _mean_effects(latent, design.sum(axis=1), data.pairs.context, data.n_contexts)
        rest = latent - design.sum(axis=1)[:, None] * means[data.pairs.context]
        penalty = config.penalty or _best_penalty(design, rest, data.n_cells)
        effects = _effects(design, rest, data.n_cells, penalty)
        arrays = {"basis": basis, "effects": effects, "means": means, "lacking": lacking}
        return Fitted(arrays, {"targets": targets, "penalty": float(penalty)})

    def predict(self, fitted: Fitted, pairs: Pairs) -> Prediction:
        """Sum of the effects; of a target that train has nowhere the mean effect stands in."""
        arrays, known = fitted.arrays, set(fitted.info["targets"])
        design = _design(pairs.targets, fitted.info["targets"])
        n_targets = np.array([len(of_row) for of_row in pairs.targets], dtype=np.float64)
        context = np.minimum(pairs.context, len(arrays["means"]) - 1)
        latent = design @ arrays["effects"] + n_targets[:, None] * arrays["means"][context]
        unseen = np.array([not known.issuperset(of_row) for of_row in pairs.targets], dtype=bool)
        return Prediction(latent @ arrays["basis"], unseen | arrays["lacking"][context])


def _components(data: Data, n: int) -> np.ndarray:
    """First principal directions of the train changes, not centred, weighted by the root of their cells, (K × G)."""
    weighted = data.change * np.sqrt(data.n_cells / data.n_cells.mean())[:, None]
    _, S, Vt = np.linalg.svd(weighted, full_matrices=False)
    rank = int((S > S[0] * max(weighted.shape) * np.finfo(np.float64).eps).sum()) if S[0] > 0 else 0
    return np.asarray(Vt[: max(1, min(n, rank))])


def _design(rows: Sequence[Targets], targets: Sequence[str]) -> np.ndarray:
    """Which targets each row has, (m × T); targets that are not listed are left out."""
    number = {target: i for i, target in enumerate(targets)}
    design = np.zeros((len(rows), len(targets)))
    for i, of_row in enumerate(rows):
        for target in of_row:
            if target in number:
                design[i, number[target]] = 1
    return design


def _mean_effects(
    latent: np.ndarray, n_targets: np.ndarray, context: np.ndarray, n_contexts: int
) -> tuple[np.ndarray, np.ndarray]:
    """Mean effect of a target in each context and over all, (C + 1 × K), and which contexts have none of their own."""
    means = np.full((n_contexts + 1, latent.shape[1]), np.nan)
    for number in np.unique(context):
        here = context == number
        means[number] = n_targets[here] @ latent[here] / (n_targets[here] ** 2).sum()
    means[-1] = n_targets @ latent / (n_targets**2).sum()
    lacking = np.isnan(means).any(axis=1)
    means[lacking] = means[-1]
    lacking[-1] = True
    return means, lacking


def _effects(design: np.ndarray, rest: np.ndarray, n_cells: np.ndarray, penalty: float) -> np.ndarray:
    """Weighted ridge regression of what the mean effects leave, (T × K)."""
    weighted = design * n_cells[:, None]
    return np.asarray(np.linalg.solve(design.T @ weighted + penalty * np.eye(design.shape[1]), weighted.T @ rest))


def _best_penalty(design: np.ndarray, rest: np.ndarray, n_cells: np.ndarray) -> float:
    """Penalty with the least squared error of each row predicted from all others, weighted by cells."""
    root = np.sqrt(n_cells)[:, None]
    X, Y = design * root, rest * root
    U, S, _ = np.linalg.svd(X, full_matrices=False)
    UtY = U.T @ Y
    errors = []
    for penalty in PENALTIES:
        shrunk = S**2 / (S**2 + penalty)
        leverage = np.einsum("ij,j,ij->i", U, shrunk, U)
        left_out = (Y - U @ (shrunk[:, None] * UtY)) / (1 - np.minimum(leverage, 1 - 1e-9))[:, None]
        errors.append(float((left_out**2).sum()))
    return float(PENALTIES[int(np.argmin(errors))])
