"""Additive effects of targets in the components of the train changes, shrunk by how noisy they are."""

from __future__ import annotations

from dataclasses import dataclass
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
    the variance of the effects that is left beyond it; with several contexts, that which a perturbation has in common
    in two of them. It is a closed form of what PerturBench
    :cite:p:`wu2024perturbench` calls latent additive and trains as two networks by gradient descent.
    """

    default_config: ClassVar[Any] = LatentAdditiveConfig()

    def fit(self, data: Data, config: LatentAdditiveConfig, *, seed: int) -> Fitted:
        """Components, penalties, then ridge regression."""
        latent = Latent.of(data, config.n_components)
        return Fitted(
            latent.arrays(fit_effects(latent, latent.rest, data, config.penalty)), {"targets": latent.targets}
        )

    def predict(self, fitted: Fitted, pairs: Pairs) -> Prediction:
        """Sum of the effects; of a target that train has nowhere the mean effect stands in."""
        return predict_latent(fitted, pairs)


@dataclass(frozen=True)
class Latent:
    """Train changes in their components, as sums over targets.

    Parameters
    ----------
    targets
        Targets that train has, (T,).
    basis
        Components, (K × G).
    design
        Which targets each row has, (m × T).
    means
        Mean effect of a target in each context, and over all contexts last, (C + 1 × K).
    lacking
        Contexts that have none of their own, (C + 1,).
    rest
        What the mean effects leave of each row, (m × K).
    """

    targets: list[str]
    basis: np.ndarray
    design: np.ndarray
    means: np.ndarray
    lacking: np.ndarray
    rest: np.ndarray

    @classmethod
    def of(cls, data: Data, n_components: int | None) -> Latent:
        """Take components and mean effects of the train changes."""
        targets = sorted({target for of_row in data.pairs.targets for target in of_row})
        basis = _components(data, n_components)
        latent = data.change @ basis.T
        design = _design(data.pairs.targets, targets)
        n_targets = design.sum(axis=1)
        means, lacking = _mean_effects(latent, n_targets, data.pairs.context, data.n_contexts)
        return cls(targets, basis, design, means, lacking, latent - n_targets[:, None] * means[data.pairs.context])

    def arrays(self, effects: np.ndarray) -> dict[str, np.ndarray]:
        """What :func:`predict_latent` needs, with the effects of the targets beyond the mean one, (T × K)."""
        return {"basis": self.basis, "effects": effects, "means": self.means, "lacking": self.lacking}


def fit_effects(latent: Latent, rest: np.ndarray, data: Data, penalty: float | None) -> np.ndarray:
    """Effects of the targets by weighted ridge regression, (T × K); weights and penalty by empirical Bayes if None."""
    if penalty is not None:
        return _effects(latent.design, rest, data.n_cells, np.full(len(latent.basis), penalty))
    noise = _noise(latent, data)
    if noise is None:
        return _effects(latent.design, rest, data.n_cells, np.ones(len(latent.basis)))
    spread, between = _spreads(rest, latent.design.sum(axis=1), noise, data)
    return _effects(latent.design, rest, 1 / (1 / data.n_cells + between), noise / spread)


def predict_latent(fitted: Fitted, pairs: Pairs) -> Prediction:
    """Sum of effects in components; of a target that train has nowhere the mean effect stands in."""
    arrays, known = fitted.arrays, set(fitted.info["targets"])
    design = _design(pairs.targets, fitted.info["targets"])
    n_targets = np.array([len(of_row) for of_row in pairs.targets], dtype=np.float64)
    context = np.minimum(pairs.context, len(arrays["means"]) - 1)
    latent = design @ arrays["effects"] + n_targets[:, None] * arrays["means"][context]
    unseen = np.array([not known.issuperset(of_row) for of_row in pairs.targets], dtype=bool)
    return Prediction(latent @ arrays["basis"], unseen | arrays["lacking"][context])


def _components(data: Data, n: int | None) -> np.ndarray:
    """First principal directions of the train changes, not centred, weighted by the root of their cells, (K × G)."""
    weighted = data.change * np.sqrt(data.n_cells / data.n_cells.mean())[:, None]
    _, S, Vt = np.linalg.svd(weighted, full_matrices=False)
    rank = int((S[0] * max(weighted.shape) * np.finfo(np.float64).eps < S).sum()) if S[0] > 0 else 0
    return np.asarray(Vt[: max(1, rank if n is None else min(n, rank))])


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


def _noise(latent: Latent, data: Data) -> np.ndarray | None:
    """Variance of a cell in each component, (K,): halves of n cells differ by 4 / n times that. None without halves."""
    difference = data.half_difference()
    known = np.isfinite(difference).all(axis=1)
    if not known.any():
        return None
    return np.asarray((data.n_cells[known][:, None] * (difference[known] @ latent.basis.T) ** 2 / 4).mean(axis=0))


def _spreads(rest: np.ndarray, n_targets: np.ndarray, noise: np.ndarray, data: Data) -> tuple[np.ndarray, float]:
    """Variance of the effects of targets in each component, (K,), and what differs between contexts, in cells.

    By moments. A row varies by the effects of its targets, by what its context makes of them, and by noise. What a
    perturbation has in common in two contexts is of the effects alone; with one context the rest is theirs too.
    """
    total = (rest**2 - noise / data.n_cells[:, None]).sum(axis=0) / n_targets.sum()
    _, number = np.unique(np.array(["\n".join(targets) for targets in data.pairs.targets]), return_inverse=True)
    again = np.bincount(number)
    sums = np.zeros((len(again), rest.shape[1]))
    np.add.at(sums, number, rest)
    np.subtract.at(sums_of_squares := sums**2, number, rest**2)
    pairs = float((again[number] - 1) @ n_targets)
    shared = sums_of_squares.sum(axis=0) / pairs if pairs else total
    least = _LEAST * np.maximum((rest**2).sum(axis=0) / n_targets.sum(), np.finfo(np.float64).tiny)
    spread = np.maximum(np.minimum(shared, total), least)
    between = max(0.0, float((total - spread).sum())) * float(n_targets.mean())
    return spread, between / max(float(noise.sum()), np.finfo(np.float64).tiny) if pairs else 0.0


def _effects(design: np.ndarray, rest: np.ndarray, n_cells: np.ndarray, penalties: np.ndarray) -> np.ndarray:
    """Weighted ridge regression of what the mean effects leave, each component with its own penalty, (T × K)."""
    root = np.sqrt(n_cells)[:, None]
    U, S, Vt = np.linalg.svd(design * root, full_matrices=False)
    shrunk = S[:, None] / (S[:, None] ** 2 + penalties)
    return np.asarray(Vt.T @ (shrunk * (U.T @ (rest * root))))
