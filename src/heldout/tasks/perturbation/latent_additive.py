"""Additive effects of targets in the components of the train changes, shrunk by how noisy they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from heldout.tasks.perturbation.config import LatentAdditiveConfig
from heldout.tasks.perturbation.interface import Data, Fitted, Pairs, Prediction

if TYPE_CHECKING:
    from collections.abc import Sequence

    from heldout.splitting._perturbations import Targets

_LEAST = 1e-3


class LatentAdditive:
    """Each target has an effect, and a combination the sum of them, in the first components of the train changes.

    The effects are found by ridge regression over all train perturbations, weighted by their cells, so that combinations
    say something of their targets too; they are drawn to the mean effect of a target in the context. How far is empirical
    Bayes: the penalty of each component is the variance of a cell, from the difference between halves of the cells, over
    the variance of the effects that is left beyond it. It is a closed form of what PerturBench
    :cite:p:`wu2024perturbench` calls latent additive and trains as two networks by gradient descent.
    """

    default_config: ClassVar[Any] = LatentAdditiveConfig()

    def fit(self, data: Data, config: LatentAdditiveConfig, *, seed: int) -> Fitted:
        """Components, penalties, then ridge regression."""
        targets = sorted({target for of_row in data.pairs.targets for target in of_row})
        basis = _components(data, config.n_components)
        latent = data.change @ basis.T
        design = _design(data.pairs.targets, targets)
        n_targets = design.sum(axis=1)
        means, lacking = _mean_effects(latent, n_targets, data.pairs.context, data.n_contexts)
        rest = latent - n_targets[:, None] * means[data.pairs.context]
        penalties = _penalties(rest, n_targets, data, basis) if config.penalty is None else config.penalty
        effects = _effects(design, rest, data.n_cells, np.broadcast_to(penalties, len(basis)))
        arrays = {"basis": basis, "effects": effects, "means": means, "lacking": lacking}
        return Fitted(arrays, {"targets": targets, "penalty": np.round(penalties, 6).tolist()})

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
    rank = int((S[0] * max(weighted.shape) * np.finfo(np.float64).eps < S).sum()) if S[0] > 0 else 0
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


def _penalties(rest: np.ndarray, n_targets: np.ndarray, data: Data, basis: np.ndarray) -> np.ndarray:
    """Variance of a cell over the variance of the effects, for each component, (K,).

    Halves of n cells differ by 4 / n times the variance of a cell. A row varies by that of its targets' effects and 1 / n
    of that of a cell; both are estimated by moments.
    """
    known = np.isfinite(data.half_difference).all(axis=1)
    if not known.any():
        return np.full(len(basis), 1.0)
    n = data.n_cells[known][:, None]
    noise = (n * (data.half_difference[known] @ basis.T) ** 2 / 4).mean(axis=0)
    beyond = (rest**2 - noise / data.n_cells[:, None]).sum(axis=0) / n_targets.sum()
    total = (rest**2).sum(axis=0) / n_targets.sum()
    return np.asarray(noise / np.maximum(beyond, _LEAST * np.maximum(total, np.finfo(np.float64).tiny)))


def _effects(design: np.ndarray, rest: np.ndarray, n_cells: np.ndarray, penalties: np.ndarray) -> np.ndarray:
    """Weighted ridge regression of what the mean effects leave, each component with its own penalty, (T × K)."""
    root = np.sqrt(n_cells)[:, None]
    U, S, Vt = np.linalg.svd(design * root, full_matrices=False)
    shrunk = S[:, None] / (S[:, None] ** 2 + penalties)
    return np.asarray(Vt.T @ (shrunk * (U.T @ (rest * root))))
