"""Additive effects of targets in the components of the train changes, shrunk by their noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from heldout._core.method import Fitted
from heldout.tasks.perturbation.config import LatentAdditiveConfig
from heldout.tasks.perturbation.predictions import Controls, Shifted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from heldout.splitting._perturbations import Targets
    from heldout.tasks.perturbation.interface import Data, Profiles
    from heldout.tasks.perturbation.pairs import Pairs

_LEAST = 1e-3
_EXACT, _TINY = 1e-15, 1e-200
"""Least variance of a cell, as a share of the mean squared change, and as a number."""


class LatentAdditive:
    """Each target has an effect, and a combination has the sum of them, in the first components of the train changes.

    A ridge regression over all train perturbations, weighted by their cells, estimates the effects, so combinations
    contribute to the effects of their targets. Effects are shrunk towards the mean effect of a target in the context.
    The strength is empirical Bayes: the penalty of a component is the variance of a cell, from the difference between
    halves of the cells, divided by the variance of the effects beyond this noise. With several contexts, the variance
    of the effects is the covariance of the same perturbation in two contexts. PerturBench :cite:p:`wu2024perturbench`
    trains a model of this kind as two networks by gradient descent; this is the closed form.
    """

    default_config: ClassVar[LatentAdditiveConfig] = LatentAdditiveConfig()
    stochastic: ClassVar[bool] = False
    reads: ClassVar[Literal["profiles", "cells"]] = "profiles"
    gene_axes: ClassVar[dict[str, int]] = {"basis": 1}

    def fit(self, data: Data, config: LatentAdditiveConfig, *, seed: int, start: Fitted | None = None) -> Fitted:
        """Find components and penalties, then estimate effects by ridge regression.

        With ``start``, effects are shrunk towards those of the earlier fit, see :meth:`Latent.of`.
        """
        latent = Latent.of(data.profiles, config.n_comps, start)
        effects = fit_effects(latent, latent.rest, data.profiles, config.penalty)
        return Fitted(latent.arrays(effects), latent.info())

    def predict(self, fitted: Fitted, pairs: Pairs, controls: Controls, *, seed: int) -> Shifted:
        """Add up the effects; for a target that is absent from train, the mean effect is the fallback."""
        return Shifted.of(pairs, controls, *latent_change(fitted, pairs))


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
        Whether a context has no mean effect of its own, (C + 1,).
    prior
        Effects of an earlier fit towards which effects are shrunk, (T × K); 0 without one.
    share
        Share of the earlier effects that the train changes support, between 0 and 1.
    rest
        Rest of each row after the mean effects and the prior effects are subtracted, (m × K).
    """

    targets: list[str]
    basis: np.ndarray
    design: np.ndarray
    means: np.ndarray
    lacking: np.ndarray
    prior: np.ndarray
    share: float
    rest: np.ndarray

    @classmethod
    def of(cls, profiles: Profiles, n_comps: int | None, start: Fitted | None = None) -> Latent:
        """Compute components and mean effects of the train changes, and the prior effects of an earlier fit.

        The components of an earlier fit that the train changes do not span are added, so that targets that only the
        earlier fit has seen keep their effects. The prior effects are multiplied by the slope of the train changes on
        them, which is held between 0 and 1; it is 1 if train has no target of the earlier fit.
        """
        targets = sorted({target for of_row in profiles.pairs.targets for target in of_row})
        basis = change_components(profiles, n_comps)
        if start is not None:
            targets = sorted({*targets, *start.info["targets"]})
            basis = _widened(basis, start.arrays["effects"] @ start.arrays["basis"], n_comps)
        latent = profiles.change @ basis.T
        design = _design(profiles.pairs.targets, targets)
        n_targets = design.sum(axis=1)
        means, lacking = _mean_effects(latent, n_targets, profiles.pairs.context, profiles.n_contexts)
        rest = latent - n_targets[:, None] * means[profiles.pairs.context]
        prior = _earlier_effects(start, targets, basis)
        share = _slope(rest, design @ prior, profiles.n_cells)
        return cls(targets, basis, design, means, lacking, share * prior, share, rest - share * (design @ prior))

    def arrays(self, effects: np.ndarray) -> dict[str, np.ndarray]:
        """Arrays for :func:`latent_change`; ``effects`` (T × K) are differences from the mean and the prior effects."""
        return {"basis": self.basis, "effects": effects + self.prior, "means": self.means, "lacking": self.lacking}

    def info(self) -> dict[str, Any]:
        """JSON values for :func:`latent_change`, and the share of the earlier effects if there are any."""
        return {"targets": self.targets, **({"start_share": self.share} if self.prior.any() else {})}


def fit_effects(latent: Latent, rest: np.ndarray, profiles: Profiles, penalty: float | None) -> np.ndarray:
    """Effects of the targets by weighted ridge regression, (T × K); weights and penalty by empirical Bayes if None."""
    if penalty is not None:
        return _effects(latent.design, rest, profiles.n_cells, np.full(len(latent.basis), penalty))
    noise = variance_of_cells(latent.basis, profiles)
    if noise is None:
        return _effects(latent.design, rest, profiles.n_cells, np.ones(len(latent.basis)))
    n_targets = latent.design.sum(axis=1)
    power = (profiles.change @ latent.basis.T) ** 2
    noise = np.maximum(noise, max(_EXACT * float(power.mean()), _TINY))  # cells without noise give no weights
    spread, between = _spreads(rest, n_targets, noise, profiles)
    return _effects(latent.design, rest, 1 / (1 / profiles.n_cells + between), noise / spread)


def latent_change(fitted: Fitted, pairs: Pairs) -> tuple[np.ndarray, np.ndarray]:
    """Sum of effects in components, (m × G), and whether a row uses the mean effect as a fallback, (m,)."""
    arrays, known = fitted.arrays, set(fitted.info["targets"])
    design = _design(pairs.targets, fitted.info["targets"])
    n_targets = np.array([len(of_row) for of_row in pairs.targets], dtype=np.float64)
    context = np.minimum(pairs.context, len(arrays["means"]) - 1)
    latent = design @ arrays["effects"] + n_targets[:, None] * arrays["means"][context]
    unseen = np.array([not known.issuperset(of_row) for of_row in pairs.targets], dtype=bool)
    return latent @ arrays["basis"], unseen | arrays["lacking"][context]


def change_components(profiles: Profiles, n: int | None) -> np.ndarray:
    """First principal directions of the train changes, not centred, weighted by the root of their cells, (K × G)."""
    weighted = profiles.change * np.sqrt(profiles.n_cells / profiles.n_cells.mean())[:, None]
    _, S, Vt = np.linalg.svd(weighted, full_matrices=False)
    rank = int((S[0] * max(weighted.shape) * np.finfo(np.float64).eps < S).sum()) if S[0] > 0 else 0
    return np.asarray(Vt[: max(1, rank if n is None else min(n, rank))])


def _widened(basis: np.ndarray, effects: np.ndarray, n: int | None) -> np.ndarray:
    """Add directions, (K × G), of effects (T × G) that the components leave out; at most ``n`` if it is given."""
    left = effects - (effects @ basis.T) @ basis
    _, S, Vt = np.linalg.svd(left, full_matrices=False)
    scale = np.linalg.norm(effects)
    rank = int((scale * 1e-8 < S).sum())
    return np.concatenate([basis, Vt[: rank if n is None else min(n, rank)]])


def _earlier_effects(start: Fitted | None, targets: Sequence[str], basis: np.ndarray) -> np.ndarray:
    """Effects of an earlier fit in the components, (T × K); 0 for targets that it has not seen, and without one."""
    prior = np.zeros((len(targets), len(basis)))
    if start is None:
        return prior
    effects = start.arrays["effects"] @ start.arrays["basis"] @ basis.T
    row = {target: i for i, target in enumerate(targets)}
    prior[[row[target] for target in start.info["targets"]]] = effects
    return prior


def _slope(rest: np.ndarray, predicted: np.ndarray, n_cells: np.ndarray) -> float:
    """Slope of the rest on what an earlier fit predicts, weighted by cells and held between 0 and 1; 1 if unknown."""
    power = float(n_cells @ (predicted**2).sum(axis=1))
    return float(np.clip(n_cells @ (rest * predicted).sum(axis=1) / power, 0, 1)) if power > 0 else 1.0


def _design(rows: Sequence[Targets], targets: Sequence[str]) -> np.ndarray:
    """Which targets each row has, (m × T); unknown targets are left out."""
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
    """Mean effect of a target in each context and over all, (C + 1 × K), and contexts without a mean, (C + 1,)."""
    means = np.full((n_contexts + 1, latent.shape[1]), np.nan)
    for number in np.unique(context):
        rows = context == number
        means[number] = n_targets[rows] @ latent[rows] / (n_targets[rows] ** 2).sum()
    means[-1] = n_targets @ latent / (n_targets**2).sum()
    lacking = np.isnan(means).any(axis=1)
    means[lacking] = means[-1]
    lacking[-1] = True
    return means, lacking


def variance_of_cells(basis: np.ndarray, profiles: Profiles) -> np.ndarray | None:
    """Variance of a cell in each component, (K,); 4 / n of it is that of the difference of halves of n cells."""
    difference = profiles.half_difference()
    known = np.isfinite(difference).all(axis=1)
    if not known.any():
        return None
    return np.asarray((profiles.n_cells[known][:, None] * (difference[known] @ basis.T) ** 2 / 4).mean(axis=0))


def _spreads(
    rest: np.ndarray, n_targets: np.ndarray, noise: np.ndarray, profiles: Profiles
) -> tuple[np.ndarray, float]:
    """Variance of the effects of targets in each component, (K,), and variance between contexts, in cells.

    Both are estimated by moments. A row varies by the effects of its targets, by their changes between contexts, and by
    noise. The covariance of a perturbation between two contexts is due to the effects alone. With one context, changes
    between contexts cannot be told from effects.
    """
    total = (rest**2 - noise / profiles.n_cells[:, None]).sum(axis=0) / n_targets.sum()
    _, number = np.unique(np.array(["\n".join(targets) for targets in profiles.pairs.targets]), return_inverse=True)
    again = np.bincount(number)
    sums = np.zeros((len(again), rest.shape[1]))
    np.add.at(sums, number, rest)
    np.subtract.at(sums_of_squares := sums**2, number, rest**2)
    pairs = float((again[number] - 1) @ n_targets)
    shared = sums_of_squares.sum(axis=0) / pairs if pairs else total
    least = _LEAST * np.maximum((rest**2).sum(axis=0) / n_targets.sum(), 1e-200)
    spread = np.maximum(np.minimum(shared, total), least)
    between = max(0.0, float((total - spread).sum())) * float(n_targets.mean())
    return spread, between / max(float(noise.sum()), np.finfo(np.float64).tiny) if pairs else 0.0


def _effects(design: np.ndarray, rest: np.ndarray, n_cells: np.ndarray, penalties: np.ndarray) -> np.ndarray:
    """Weighted ridge regression of the rest on the targets, with a penalty for each component, (T × K)."""
    root = np.sqrt(n_cells)[:, None]
    U, S, Vt = np.linalg.svd(design * root, full_matrices=False)
    shrunk = S[:, None] / (S[:, None] ** 2 + penalties)
    return np.asarray(Vt.T @ (shrunk * (U.T @ (rest * root))))
