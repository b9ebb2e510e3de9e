"""Additive effects whose starting point is what the vectors of the targets say."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from heldout.tasks.perturbation.config import InformedAdditiveConfig
from heldout.tasks.perturbation.interface import Data, Fitted, Pairs, Prediction, Vectors
from heldout.tasks.perturbation.methods.latent_additive import Latent, fit_effects, predict_latent
from heldout.tasks.perturbation.methods.vectors import gene_components, own_vectors

if TYPE_CHECKING:
    from collections.abc import Callable

    from heldout.splitting._perturbations import Targets

PENALTIES = np.geomspace(1e-2, 1e6, 33)
"""Ridge penalties that are tried, in cells; the last is tried too: no use of the vectors."""

N_FOLDS = 5


class InformedAdditive:
    """``latent_additive``, in which the effect of a target is drawn to what is foretold from its vector.

    The effects are regressed on the vectors of the targets (by default their principal components over the train
    pseudobulks, or an embedding), with a ridge penalty chosen by leaving out whole targets; what that leaves is estimated
    as in ``latent_additive``. A target that train has not seen has what its vector foretells, one without a vector the mean
    effect. Where vectors say nothing, the penalty comes out so high that they are not used.
    """

    default_config: ClassVar[Any] = InformedAdditiveConfig()

    def fit(self, data: Data, config: InformedAdditiveConfig, *, seed: int) -> Fitted:
        """Regress on vectors, then estimate effects."""
        latent = Latent.of(data, config.n_components)
        given = data.target_vectors
        vectors = own_vectors(data, gene_components(data, config.n_vector_components)) if given is None else given
        vectors = _standardised(vectors)
        P = np.nan_to_num(vectors.of([(target,) for target in latent.targets]))
        penalty = _best_penalty(latent, P, data.n_cells, np.random.default_rng(seed))
        slopes = _regress(latent.design @ P, latent.rest, data.n_cells, penalty)
        foretold = P @ slopes
        effects = fit_effects(latent, latent.rest - latent.design @ foretold, data, config.penalty) + foretold
        arrays = {**latent.arrays(effects), "vectors": vectors.values, "slopes": slopes}
        info = {"targets": latent.targets, "vectors": vectors.to_json(), "vector_penalty": _json_number(penalty)}
        return Fitted(arrays, info)

    def predict(self, fitted: Fitted, pairs: Pairs) -> Prediction:
        """Sum of the effects; of an unseen target what its vector foretells."""
        prediction = predict_latent(fitted, pairs)
        known = set(fitted.info["targets"])
        vectors = Vectors.load(fitted.info["vectors"], fitted.arrays["vectors"])
        unseen: list[Targets] = [tuple(t for t in targets if t not in known) for targets in pairs.targets]
        change, fallback = prediction.change, prediction.fallback.copy()
        for i in (i for i, targets in enumerate(unseen) if targets):
            P = vectors.of([(target,) for target in unseen[i]])
            change[i] += np.nan_to_num(P).sum(axis=0) @ fitted.arrays["slopes"] @ fitted.arrays["basis"]
            own_context = (
                pairs.context[i] < len(fitted.arrays["lacking"]) - 1 and not fitted.arrays["lacking"][pairs.context[i]]
            )
            fallback[i] = bool(np.isnan(P).any()) or not own_context
        return Prediction(change, fallback)


def _standardised(vectors: Vectors) -> Vectors:
    """Centred, with a mean square length of 1, so that penalties mean the same for every embedding."""
    values = vectors.values.astype(np.float64)
    values = values - values.mean(axis=0)
    length = float(np.sqrt((values**2).sum(axis=1).mean()))
    return replace(vectors, values=values / length if length > 0 else values)


def _best_penalty(latent: Latent, P: np.ndarray, n_cells: np.ndarray, rng: np.random.Generator) -> float:
    """Penalty under which the rows of left-out targets are foretold best, infinite if not better than nothing.

    Rows with one target are foretold, where there are any, from all rows without a target of the fold.
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
    """Function from a ridge penalty to the slopes, (d × K), of a regression weighted by cells."""
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
