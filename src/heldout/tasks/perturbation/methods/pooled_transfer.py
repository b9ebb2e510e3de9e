"""The same perturbation in other contexts, pooled by reliability and shrunk towards the mean of the context."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from heldout._core.method import Fitted
from heldout.tasks.perturbation.config import PooledTransferConfig
from heldout.tasks.perturbation.methods.pooling import (
    NEARNESS,
    Prior,
    cell_variance,
    closeness,
    context_distances,
    deviations,
    leave_one_out_errors,
    pooled,
    posterior_share,
)
from heldout.tasks.perturbation.predictions import Controls, Shifted

if TYPE_CHECKING:
    from heldout.splitting._perturbations import Targets
    from heldout.tasks.perturbation.interface import Data, Profiles
    from heldout.tasks.perturbation.pairs import Pairs

_WEIGHT_OF_CHANGE = 1 / 3
"""Weight of the error of the change against that of the profile; see :func:`_template_share`."""


class PooledTransfer:
    """Predict a perturbation from other contexts, weighted by reliability, and shrunk towards the mean of the context.

    A perturbation in a context has the mean change of the context (template) and a deviation from it. The deviation is
    pooled over the other contexts. A context has a high weight if the perturbation has many cells there, if the effects
    vary little between contexts, and if the controls of the context are similar to those of the target context. The
    pooled deviation is then shrunk, separately for each perturbation and gene (empirical Bayes, with a mixture of
    normal distributions as prior). All variances come from train. Leaving out one context of each perturbation chooses
    how much the similarity counts.

    A context without perturbed train cells has the weighted mean of the templates of the other contexts. A perturbation
    that is absent from train has the template of its context as a fallback.
    """

    default_config: ClassVar[PooledTransferConfig] = PooledTransferConfig()
    stochastic: ClassVar[bool] = False
    reads: ClassVar[Literal["profiles", "cells"]] = "profiles"

    def fit(self, data: Data, config: PooledTransferConfig, *, seed: int, start: Fitted | None = None) -> Fitted:
        """Estimate variances and choose the weight of similar contexts."""
        profiles = data.profiles
        identities, number = _perturbations(profiles.pairs)
        variance = cell_variance(profiles)
        templates, n_perturbations = _templates(profiles)
        rest, inflation = deviations(profiles.change, profiles.pairs.context, templates, n_perturbations)
        noise = variance / profiles.n_cells[:, None]
        prior = Prior.of(rest, inflation, noise, number, variance)
        distances = context_distances(profiles.control, profiles.control)
        bandwidth = _bandwidth(profiles, rest, number, n_perturbations, distances) if config.similarity else np.inf
        template_noise = (noise.sum(axis=1).mean() + prior.between.sum()) / np.maximum(n_perturbations, 1)
        share = _template_share(profiles, templates, template_noise, distances, bandwidth, float(variance.sum()))
        arrays = {
            "change": profiles.change,
            "rest": rest,
            "noise": noise,
            "perturbation": number,
            "context": profiles.pairs.context,
            "control": profiles.control,
            "templates": templates,
            "template_noise": template_noise,
            "share": share,
            **prior.arrays(),
        }
        info = {
            "perturbations": [[list(targets), dose] for targets, dose in identities],
            "bandwidth": float(bandwidth) if np.isfinite(bandwidth) else None,
            "matched_spread": config.matched_spread,
        }
        return Fitted(arrays, info)

    def predict(self, fitted: Fitted, pairs: Pairs, controls: Controls, *, seed: int) -> Shifted:
        """Add the shrunken pooled deviation to the template of the context."""
        model = _Model.of(fitted)
        change = np.empty((len(pairs), fitted.arrays["change"].shape[1]))
        fallback = np.zeros(len(pairs), dtype=bool)
        distances = context_distances(controls.mean[pairs.context], fitted.arrays["control"])
        for i, pair in enumerate(pairs):
            rows = model.rows.get((pair.targets, pair.dose), np.array([], dtype=np.int64))
            template, known = model.template(pair.context, distances[i], rows)
            change[i] = template + model.deviation(pair.context, distances[i], rows)
            fallback[i] = not len(rows) or not known
        return Shifted.of(pairs, controls, change, fallback)


@dataclass(frozen=True)
class _Model:
    """A fit, ready to predict."""

    fitted: Fitted
    prior: Prior
    rows: dict[tuple[Targets, float | None], np.ndarray]
    bandwidth: float

    @classmethod
    def of(cls, fitted: Fitted) -> _Model:
        number = fitted.arrays["perturbation"]
        identities = [(tuple(targets), dose) for targets, dose in fitted.info["perturbations"]]
        rows = {identity: np.flatnonzero(number == i) for i, identity in enumerate(identities)}
        bandwidth = fitted.info["bandwidth"]
        return cls(fitted, Prior.load(fitted.arrays), rows, np.inf if bandwidth is None else bandwidth)

    def template(self, context: int, distances: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, bool]:
        """Mean change of a context, (G,), and whether train says anything about it or about the perturbation."""
        arrays = self.fitted.arrays
        known = np.isfinite(arrays["templates"]).all(axis=1)
        here = context < len(known) and bool(known[context])
        others = np.flatnonzero(known & (np.arange(len(known)) != context))
        if not len(others):
            return arrays["templates"][context if here else np.flatnonzero(known)[0]], here or bool(len(rows))
        weights = closeness(distances[others], self.bandwidth) / _reliable(arrays["template_noise"][others])
        elsewhere = weights @ arrays["templates"][others] / weights.sum()
        if not here:
            return elsewhere, bool(len(rows))
        share = arrays["share"][context]
        return share * arrays["templates"][context] + (1 - share) * elsewhere, True

    def deviation(self, context: int, distances: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Shrunken pooled deviation of a perturbation from the template, (G,)."""
        arrays, prior = self.fitted.arrays, self.prior
        if not len(rows):
            return np.zeros(arrays["change"].shape[1])
        contexts = arrays["context"][rows]
        between = np.where((contexts == context)[:, None], 0.0, prior.between)
        near = closeness(distances[contexts], self.bandwidth)
        mean, variance = pooled(arrays["rest"][rows], arrays["noise"][rows] + between, near)
        share = posterior_share(mean, variance, prior)
        return mean * (np.sqrt(share) if self.fitted.info["matched_spread"] else share)


def _perturbations(pairs: Pairs) -> tuple[list[tuple[Targets, float | None]], np.ndarray]:
    """Distinct perturbations, with their dose, and the number of each row, (m,)."""
    of_row = [(pair.targets, pair.dose) for pair in pairs]
    distinct = sorted(set(of_row), key=lambda identity: (identity[0], identity[1] or 0.0))
    number = {identity: i for i, identity in enumerate(distinct)}
    return distinct, np.array([number[identity] for identity in of_row], dtype=np.int64)


def _templates(profiles: Profiles) -> tuple[np.ndarray, np.ndarray]:
    """Mean change of each context, (C × G), NaN where train has no perturbation; and the number of these, (C,)."""
    n = np.bincount(profiles.pairs.context, minlength=profiles.n_contexts)
    sums = np.zeros(profiles.control.shape)
    np.add.at(sums, profiles.pairs.context, profiles.change)
    return np.divide(sums, n[:, None], out=np.full(sums.shape, np.nan), where=n[:, None] > 0), n


def _reliable(noise: np.ndarray) -> np.ndarray:
    """Variances that are safe to divide by."""
    return np.asarray(np.maximum(noise, 1e-9 * max(float(noise.max()), 1e-280)))


def _bandwidth(
    profiles: Profiles, rest: np.ndarray, number: np.ndarray, n_perturbations: np.ndarray, distances: np.ndarray
) -> float:
    """Bandwidth of the similarity that predicts left-out contexts of train best; infinite if none helps."""
    used = np.flatnonzero(n_perturbations > 0)
    between = distances[np.ix_(used, used)][np.triu_indices(len(used), 1)]
    between = between[np.isfinite(between)]
    if not len(between) or not np.median(between) > 0:
        return np.inf
    values = rest if n_perturbations.max() > 1 else profiles.change
    bandwidths = [nearness * float(np.median(between)) for nearness in NEARNESS]
    context = profiles.pairs.context
    errors = [
        leave_one_out_errors(values, number, closeness(distances[np.ix_(context, context)], bandwidth))
        for bandwidth in bandwidths
    ]
    return bandwidths[int(np.argmin(errors))]


def _template_share(
    profiles: Profiles,
    templates: np.ndarray,
    template_noise: np.ndarray,
    distances: np.ndarray,
    bandwidth: float,
    cell: float,
) -> np.ndarray:
    """Weight of the template of a context against the templates of the other contexts, (C,).

    The difference of the two has the variance s². A part of it is the sampling of perturbations. Another part is the
    noise of the control mean, which is in each change of the context. This part belongs into the predicted profile and
    not into the predicted change. The weight minimises the sum of the squared errors of both.
    """
    share = np.ones(len(templates))
    known = np.flatnonzero(np.isfinite(templates).all(axis=1))
    if len(known) < 2:
        return share
    squared = []
    for context in known:
        others = known[known != context]
        weights = closeness(distances[context, others], bandwidth) / _reliable(template_noise[others])
        squared.append(((templates[context] - weights @ templates[others] / weights.sum()) ** 2).sum())
    of_control = np.zeros(len(templates))
    if profiles.control_n is not None:
        of_control = cell / np.maximum(profiles.control_n, 1)
    share[known] = 1 - (template_noise[known] + _WEIGHT_OF_CHANGE * of_control[known]) / max(
        float(np.mean(squared)), 1e-300
    )
    return np.clip(share, 0, 1)
