"""Pool deviations of a perturbation over contexts: variances, similarity of contexts, and shrinkage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from heldout.tasks.perturbation.interface import Profiles

NEARNESS = (np.inf, 4.0, 2.0, 1.0, 0.5, 0.25, 0.1, 0.05)
"""Bandwidths of the similarity of contexts that are compared, in median distances of two contexts."""

_SCALES = np.array([0.0, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0])
"""Variances of the parts of the prior, in variances of the effects of a gene."""

_STRENGTH = 5
"""Perturbations that count as much as the ratio of effects to noise over all genes, for the variances of a gene."""

_LEAST = 1e-4
_MOST_FITTED = 200_000
_STEPS = 50


@dataclass(frozen=True)
class Prior:
    """Prior of the deviations of perturbations from the template.

    Parameters
    ----------
    spread
        Variance of the deviations that contexts share, (G,).
    between
        Variance of the deviations between contexts, (G,).
    scales, weights
        The prior is a mixture of normal distributions with the variances ``scales`` · ``spread``, (S,) each.
    """

    spread: np.ndarray
    between: np.ndarray
    scales: np.ndarray
    weights: np.ndarray

    @classmethod
    def of(
        cls, rest: np.ndarray, inflation: np.ndarray, noise: np.ndarray, number: np.ndarray, variance: np.ndarray
    ) -> Prior:
        """Estimate the variances by moments, and the mixture by expectation maximisation."""
        spread, between = _variances(rest * np.sqrt(inflation)[:, None], inflation > 0, noise, number, variance)
        equal = cls(spread, between, _SCALES, np.full(len(_SCALES), 1 / len(_SCALES)))
        rows = [np.flatnonzero(number == i) for i in range(int(number.max()) + 1)]
        found = [pooled(rest[r], noise[r] + between, np.ones(len(r))) for r in rows]
        mean, of_mean = (np.stack([pair[k] for pair in found]) for k in (0, 1))
        return cls(spread, between, _SCALES, _mixture(mean, of_mean, equal))

    def arrays(self) -> dict[str, np.ndarray]:
        """The prior as arrays of a fit."""
        return {f"prior_{name}": value for name, value in vars(self).items()}

    @classmethod
    def load(cls, arrays: dict[str, np.ndarray]) -> Prior:
        """Inverse of :meth:`arrays`."""
        return cls(*(arrays[f"prior_{name}"] for name in ("spread", "between", "scales", "weights")))


def cell_variance(profiles: Profiles) -> np.ndarray:
    """Variance of a cell in each gene, (G,), from the difference of halves; 0 if no perturbation has two cells."""
    difference = profiles.half_difference()
    known = np.isfinite(difference).all(axis=1)
    if not known.any():
        return np.zeros(difference.shape[1])
    return np.asarray((profiles.n_cells[known][:, None] * difference[known] ** 2 / 4).mean(axis=0))


def deviations(
    change: np.ndarray, context: np.ndarray, templates: np.ndarray, n: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Deviation of each row from the template of its context, (m × G), and the factor for its variance, (m,).

    A template of n perturbations contains the perturbation itself, so the variance of a deviation is too small by
    (n − 1) / n. With n = 1 the deviation is 0 and says nothing: the factor is 0.
    """
    inflation = np.where(n > 1, n / np.maximum(n - 1, 1), 0.0)
    return change - templates[context], inflation[context]


def context_distances(control: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Distances between the control profiles of contexts, (a × b), from 0 to 4; NaN without controls.

    A distance is 2 − 2r. r is the correlation over genes of the differences from the mean control profile of
    ``others``.
    """
    centre = np.nanmean(others, axis=0) if np.isfinite(others).any() else np.zeros(others.shape[1])
    a, b = (_unit_rows(values - centre) for values in (control, others))
    return np.asarray(np.maximum(2 - 2 * a @ b.T, 0.0))


def closeness(distances: np.ndarray, bandwidth: float) -> np.ndarray:
    """Weights of contexts by their distance, 1 for the nearest of a row; all 1 with an infinite bandwidth."""
    if not np.isfinite(bandwidth) or not np.isfinite(distances).all():
        return np.ones(distances.shape)
    nearest = distances.min(axis=-1, keepdims=True)
    return np.asarray(np.exp(-(distances - nearest) / bandwidth))


def leave_one_out_errors(values: np.ndarray, number: np.ndarray, near: np.ndarray) -> float:
    """Sum of squared errors of each row, predicted from the other rows of the same perturbation with some weights."""
    total = 0.0
    for perturbation in np.unique(number):
        rows = np.flatnonzero(number == perturbation)
        if len(rows) < 2:
            continue
        weights = near[np.ix_(rows, rows)] * (1 - np.eye(len(rows)))
        weights = np.maximum(weights, 1e-300 * (1 - np.eye(len(rows))))
        predicted = weights @ values[rows] / weights.sum(axis=1, keepdims=True)
        total += float(((values[rows] - predicted) ** 2).sum())
    return total


def pooled(values: np.ndarray, variance: np.ndarray, near: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weighted mean over rows and its variance, (G,) each; weights are ``near`` (k,) / ``variance`` (k × G)."""
    safe = np.maximum(variance, 1e-300)
    weights = near[:, None] * (safe.min(axis=0) / safe)  # at most 1, so that their squares are finite
    total = weights.sum(axis=0)
    return (weights * values).sum(axis=0) / total, (weights**2 * safe).sum(axis=0) / total**2


def posterior_share(mean: np.ndarray, variance: np.ndarray, prior: Prior) -> np.ndarray:
    """Posterior mean of an effect divided by its measured mean, between 0 and 1; same shape as ``mean``."""
    of_part = [scale * prior.spread for scale in prior.scales]
    likelihood = _likelihoods(mean, variance, prior)
    weights = likelihood * prior.weights.reshape(-1, *[1] * mean.ndim)
    weights = weights / weights.sum(axis=0)
    shares = [part / np.maximum(part + variance, 1e-300) for part in of_part]
    return np.asarray(sum(weight * share for weight, share in zip(weights, shares, strict=True)))


def _likelihoods(mean: np.ndarray, variance: np.ndarray, prior: Prior) -> np.ndarray:
    """Likelihood of measured means under each part of the prior, up to a factor, (S × ...)."""
    logs = []
    for scale in prior.scales:
        total = np.maximum(scale * prior.spread + variance, 1e-300)
        logs.append(-0.5 * (np.log(total) + mean**2 / total))
    stacked = np.stack(logs)
    return np.exp(stacked - stacked.max(axis=0))


def _mixture(mean: np.ndarray, variance: np.ndarray, prior: Prior) -> np.ndarray:
    """Weights of the parts of the prior, (S,), by expectation maximisation over perturbations and genes."""
    step = max(1, -(-mean.size // _MOST_FITTED))
    flat = Prior(np.tile(prior.spread, len(mean))[::step], prior.between, prior.scales, prior.weights)
    likelihood = _likelihoods(mean.ravel()[::step], variance.ravel()[::step], flat)
    weights = prior.weights
    for _ in range(_STEPS):
        parts = likelihood * weights[:, None]
        weights = (parts / parts.sum(axis=0)).mean(axis=1)
    return np.asarray(weights)


def _variances(
    rest: np.ndarray, informative: np.ndarray, noise: np.ndarray, number: np.ndarray, variance: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Variance of the deviations that contexts share, and between contexts, (G,) each, by moments.

    The covariance of a perturbation between two contexts is due to what they share. With one context the variance
    between contexts cannot be estimated, and is 0. The ratio of each variance to the noise of the gene is
    shrunk towards the ratio over all genes.
    """
    total = (rest**2 - noise)[informative].sum(axis=0) / max(int(informative.sum()), 1)
    products, within = np.zeros((2, rest.shape[1]))
    n_products = n_within = 0
    for perturbation in np.unique(number):
        rows = np.flatnonzero((number == perturbation) & informative)
        k = len(rows)
        if k > 1:
            mean = rest[rows].mean(axis=0)
            products += (k * mean) ** 2 - (rest[rows] ** 2).sum(axis=0)
            within += ((rest[rows] - mean) ** 2).sum(axis=0) - (k - 1) / k * noise[rows].sum(axis=0)
            n_products, n_within = n_products + k * (k - 1), n_within + k - 1
    shared = products / n_products if n_products else total
    between = within / n_within if n_within else np.zeros_like(shared)
    base = variance if variance.any() else (rest**2).mean(axis=0)
    base = base + 1e-12 * max(float(base.max()), 1e-300)
    n = len(np.unique(number))
    of_gene = n / (n + _STRENGTH)
    least = _LEAST * max(float(total.sum()), float((rest**2).sum()) * 1e-9, 1e-300)
    ratio = max(float(shared.sum()), least) / base.sum()
    spread = np.maximum(of_gene * shared + (1 - of_gene) * ratio * base, 0.05 * ratio * base)
    other = max(float(between.sum()), 0.0) / base.sum()
    return spread, np.maximum(of_gene * between + (1 - of_gene) * other * base, 0.0)


def _unit_rows(values: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(values, axis=1, keepdims=True)
    return np.divide(values, length, out=np.zeros_like(values), where=length > 0)
