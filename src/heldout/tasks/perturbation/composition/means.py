"""Mean changes from closed forms, weighted by how well they predict held-out perturbations of train."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.optimize import nnls

from heldout._core.method import Fitted, with_prefix, without_prefix
from heldout._core.progress import progress
from heldout.tasks.perturbation.composition.held_out import contexts_of, folds, kind_of, without
from heldout.tasks.perturbation.config import InformedAdditiveConfig, LatentAdditiveConfig, PooledTransferConfig
from heldout.tasks.perturbation.methods.informed_additive import InformedAdditive
from heldout.tasks.perturbation.methods.latent_additive import LatentAdditive
from heldout.tasks.perturbation.methods.pooled_transfer import PooledTransfer
from heldout.tasks.perturbation.predictions import Controls

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from heldout.tasks.perturbation.composition.held_out import Kind
    from heldout.tasks.perturbation.interface import Data
    from heldout.tasks.perturbation.pairs import Pairs

DEFAULT = "informed_additive"
"""Closed form that is used alone where train cannot tell which is better, and for unseen targets."""

LEAST_ROWS = 6
"""Least number of held-out rows from which weights are estimated."""

_OF_SUM = 100.0
"""How strictly the sum of the weights is 1."""

_ADDITIVE = (DEFAULT, "latent_additive")
_OF_KIND: dict[Kind, Sequence[str]] = {
    "combination": _ADDITIVE,
    "context": ("pooled_transfer",),
}
_FORMS: dict[str, tuple[Any, Any]] = {
    "informed_additive": (InformedAdditive(), InformedAdditiveConfig()),
    "latent_additive": (LatentAdditive(), LatentAdditiveConfig()),
    "pooled_transfer": (PooledTransfer(), PooledTransferConfig()),
}


def fit_means(data: Data, *, seed: int) -> Fitted:
    """Fit the closed forms, and their weights for each kind of question.

    Weights are not negative, their sum is 1, and they minimise the squared error over held-out perturbations of train.
    They are used if the weights of the other folds predict a fold better than the default does, by more than one
    standard error. The same perturbation in other contexts is pooled by ``pooled_transfer`` alone.
    """
    weights = {kind: _weights(data, kind, names, seed) for kind, names in _OF_KIND.items()}
    used = sorted({DEFAULT, *(name for of_kind in weights.values() for name in of_kind)})
    fits = _fits(data, used, seed)
    arrays = {key: value for name in used for key, value in with_prefix(fits[name].arrays, f"{name}.").items()}
    contexts = sorted((list(targets), sorted(at)) for targets, at in contexts_of(data.profiles.pairs).items())
    info = {"weights": weights, "infos": {name: fits[name].info for name in used}}
    return Fitted(arrays, {**info, "contexts": [list(item) for item in contexts]})


def mean_change(fitted: Fitted, pairs: Pairs, control: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weighted change of each perturbation, (m × G), and whether the form of largest weight uses a fallback, (m,)."""
    infos = fitted.info["infos"]
    fits = {name: Fitted(without_prefix(fitted.arrays, f"{name}."), info) for name, info in infos.items()}
    change, fallback = _predicted(fits, pairs, control)
    contexts = {tuple(targets): set(at) for targets, at in fitted.info["contexts"]}
    total, flags = np.zeros((len(pairs), control.shape[1])), np.zeros(len(pairs), dtype=bool)
    for i, pair in enumerate(pairs):
        weights = fitted.info["weights"].get(kind_of(pair, contexts)) or {DEFAULT: 1.0}
        for name, weight in weights.items():
            total[i] += weight * change[name][i]
        flags[i] = fallback[max(sorted(weights), key=lambda name: float(weights[name]))][i]
    return total, flags


def _fits(data: Data, names: Sequence[str], seed: int) -> dict[str, Fitted]:
    return {name: _FORMS[name][0].fit(data, _FORMS[name][1], seed=seed) for name in names}


def _predicted(
    fits: Mapping[str, Fitted], pairs: Pairs, control: np.ndarray
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Change and fallback of each perturbation from each closed form."""
    controls = Controls.without_cells(control)
    found = {name: _FORMS[name][0].predict(fit, pairs, controls, seed=0) for name, fit in fits.items()}
    return {name: p.change for name, p in found.items()}, {name: p.fallback for name, p in found.items()}


def _weights(data: Data, kind: Kind, names: Sequence[str], seed: int) -> dict[str, float]:
    """Weight of each closed form for one kind of question, without those of weight 0; the first is the default."""
    profiles, default = data.profiles, np.eye(len(names))[0]
    parts = folds(profiles.pairs, kind, np.random.default_rng(seed))
    if len(names) == 1 or sum(map(len, parts)) < LEAST_ROWS:
        return {names[0]: 1.0} if parts else {}
    errors, grams, rights = [], [], []
    for rows in progress(parts, f"closed forms, {kind}"):
        fits = _fits(without(data, rows), names, seed)
        change, _ = _predicted(fits, profiles.pairs.only(rows), profiles.control)
        stacked, truth = np.stack([change[name] for name in names]), profiles.change[rows]
        grams.append(np.einsum("arg,brg->rab", stacked, stacked))
        rights.append(np.einsum("arg,rg->ra", stacked, truth))
        errors.append((truth**2).sum(axis=1))
    found = [
        _solved(np.concatenate(grams[:i] + grams[i + 1 :]), np.concatenate(rights[:i] + rights[i + 1 :]))
        for i in range(len(parts))
    ]
    gains = np.concatenate(
        [
            np.sqrt(np.maximum(_error(default, *fold), 0)) - np.sqrt(np.maximum(_error(weights, *fold), 0))
            for weights, *fold in zip(found, grams, rights, errors, strict=True)
        ]
    )
    if gains.mean() <= gains.std() / np.sqrt(len(gains)):
        return {names[0]: 1.0}
    weights = _solved(np.concatenate(grams), np.concatenate(rights))
    return {name: float(weight) for name, weight in zip(names, weights, strict=True) if weight > 0}


def _solved(grams: np.ndarray, rights: np.ndarray) -> np.ndarray:
    """Non-negative weights of least squared error whose sum is 1, (A,), from the inner products of each row."""
    gram, right = grams.sum(axis=0), rights.sum(axis=0)
    values, vectors = np.linalg.eigh(gram)
    root = np.sqrt(np.maximum(values, values.max() * 1e-9))
    ones = np.full((1, len(gram)), _OF_SUM * root.max())
    found = nnls(np.concatenate([(vectors * root).T, ones]), np.append((vectors / root).T @ right, ones[0, 0]))[0]
    return np.asarray(found / found.sum())


def _error(weights: np.ndarray, grams: np.ndarray, rights: np.ndarray, squares: np.ndarray) -> np.ndarray:
    """Squared error of each row, (r,)."""
    return np.asarray(np.einsum("a,rab,b->r", weights, grams, weights) - 2 * rights @ weights + squares)
