"""Additive effects that are shrunk towards what the vectors of the targets predict."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from heldout._core.method import Fitted
from heldout.tasks.perturbation.config import InformedAdditiveConfig
from heldout.tasks.perturbation.interface import Vectors
from heldout.tasks.perturbation.methods.latent_additive import Latent, fit_effects, latent_change
from heldout.tasks.perturbation.methods.vectors import vectors_of_targets
from heldout.tasks.perturbation.predictions import Controls, Shifted

if TYPE_CHECKING:
    from collections.abc import Callable

    from heldout.splitting._perturbations import Targets
    from heldout.tasks.perturbation.interface import Data
    from heldout.tasks.perturbation.pairs import Pairs

PENALTIES = np.geomspace(1e-2, 1e6, 33)
"""Ridge penalties that are compared, in cells; an infinite penalty, which ignores the vectors, is compared too."""

N_FOLDS = 5


class InformedAdditive:
    """``latent_additive``, with the effect of each target shrunk towards the prediction from its vector.

    The effects are regressed on the vectors of the targets: their principal components over the train pseudobulks, or
    an embedding. Leaving out whole targets chooses the ridge penalty. The rest is estimated as in ``latent_additive``.
    A target that train has not seen gets the prediction from its vector; a target without a vector gets the mean
    effect. If the vectors do not help, the penalty becomes so high that they are not used.
    """

    default_config: ClassVar[InformedAdditiveConfig] = InformedAdditiveConfig()
    stochastic: ClassVar[bool] = False
    reads: ClassVar[Literal["profiles", "cells"]] = "profiles"
    gene_axes: ClassVar[dict[str, int]] = {"basis": 1}

    def fit(self, data: Data, config: InformedAdditiveConfig, *, seed: int, start: Fitted | None = None) -> Fitted:
        """Regress on vectors, then estimate effects.

        With ``start``, the vectors predict what the effects of the earlier fit leave.
        """
        profiles = data.profiles
        latent = Latent.of(profiles, config.n_comps, start)
        vectors = _standardised(vectors_of_targets(data, config.n_vector_comps))
        P = np.nan_to_num(vectors.of([(target,) for target in latent.targets]))
        penalty = _best_penalty(latent, P, profiles.n_cells, np.random.default_rng(seed))
        slopes = _regress(latent.design @ P, latent.rest, profiles.n_cells, penalty)
        predicted = P @ slopes
        effects = fit_effects(latent, latent.rest - latent.design @ predicted, profiles, config.penalty) + predicted
        arrays = {**latent.arrays(effects), "vectors": vectors.values, "slopes": slopes}
        info = {**latent.info(), "vectors": vectors.to_json(), "vector_penalty": _json_number(penalty)}
        return Fitted(arrays, info)

    def predict(self, fitted: Fitted, pairs: Pairs, controls: Controls, *, seed: int) -> Shifted:
        """Add up the effects; for an unseen target, the prediction from its vector."""
        change, fallback = latent_change(fitted, pairs)
        known = set(fitted.info["targets"])
        vectors = Vectors.load(fitted.info["vectors"], fitted.arrays["vectors"])
        unseen: list[Targets] = [tuple(t for t in targets if t not in known) for targets in pairs.targets]
        lacking = fitted.arrays["lacking"]
        for i in (i for i, targets in enumerate(unseen) if targets):
            P = vectors.of([(target,) for target in unseen[i]])
            change[i] += np.nan_to_num(P).sum(axis=0) @ fitted.arrays["slopes"] @ fitted.arrays["basis"]
            known_context = pairs.context[i] < len(lacking) - 1 and not lacking[pairs.context[i]]
            fallback[i] = bool(np.isnan(P).any()) or not known_context
        return Shifted.of(pairs, controls, change, fallback)


def _standardised(vectors: Vectors) -> Vectors:
    """Centre and scale to a mean square length of 1, so that a penalty means the same for every embedding."""
    values = vectors.values.astype(np.float64)
    values = values - values.mean(axis=0)
    length = float(np.sqrt((values**2).sum(axis=1).mean()))
    return replace(vectors, values=values / length if length > 0 else values)


def _best_penalty(latent: Latent, P: np.ndarray, n_cells: np.ndarray, rng: np.random.Generator) -> float:
    """Penalty that predicts the rows of left-out targets best; infinite if no penalty beats ignoring the vectors.

    Rows with one target are predicted if there are any, else all rows; always from the rows without a target of the
    fold.
    """
    n_targets = latent.design.sum(axis=1)
    judged = (n_targets == 1) if (n_targets == 1).any() else np.ones(len(n_targets), dtype=bool)
    fold = rng.permutation(np.arange(len(P)) % N_FOLDS)
    X, weight = latent.design @ P, n_cells[:, None]
    errors = np.zeros(len(PENALTIES) + 1)
    for number in range(N_FOLDS):
        out = (latent.design @ (fold == number)) > 0
        test = out & judged
        if out.all() or not test.any():
            continue
        errors[-1] += float((weight[test] * latent.rest[test] ** 2).sum())
        fitted = _path(X[~out], latent.rest[~out], n_cells[~out])
        for i, penalty in enumerate(PENALTIES):
            errors[i] += float((weight[test] * (latent.rest[test] - X[test] @ fitted(penalty)) ** 2).sum())
    best = int(np.argmin(errors))
    return float(PENALTIES[best]) if errors[best] < errors[-1] else float("inf")


def _path(X: np.ndarray, Y: np.ndarray, n_cells: np.ndarray) -> Callable[[float], np.ndarray]:
    """Return a function from a ridge penalty to the slopes, (d × K), of a regression weighted by cells."""
    root = np.sqrt(n_cells)[:, None]
    U, S, Vt = np.linalg.svd(X * root, full_matrices=False)
    UtY = U.T @ (Y * root)
    return lambda penalty: Vt.T @ ((S / (S**2 + penalty))[:, None] * UtY)


def _regress(X: np.ndarray, Y: np.ndarray, n_cells: np.ndarray, penalty: float) -> np.ndarray:
    if not np.isfinite(penalty):
        return np.zeros((X.shape[1], Y.shape[1]))
    return np.asarray(_path(X, Y, n_cells)(penalty))


def _json_number(value: float) -> float | None:
    return value if np.isfinite(value) else None
