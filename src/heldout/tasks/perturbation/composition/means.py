"""Mean changes from closed forms, weighted by how well they predict held-out combinations of train."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from heldout._core.method import Fitted, with_prefix, without_prefix
from heldout._core.stacking import condensed, helps, nonnegative_weights
from heldout.tasks.perturbation.methods.informed_additive import InformedAdditive
from heldout.tasks.perturbation.methods.latent_additive import LatentAdditive
from heldout.tasks.perturbation.methods.members import HeldOut, fit_members, held_out
from heldout.tasks.perturbation.methods.pooled_transfer import PooledTransfer
from heldout.tasks.perturbation.methods.questions import questions_of
from heldout.tasks.perturbation.predictions import Controls

if TYPE_CHECKING:
    from heldout.tasks.perturbation.interface import Data
    from heldout.tasks.perturbation.pairs import Pairs

DEFAULT = "informed_additive"
"""Closed form that is used alone where train cannot tell which is better, and for unseen targets."""

_ADDITIVE = (DEFAULT, "latent_additive")
_POOLED = "pooled_transfer"
_FORMS: dict[str, Any] = {DEFAULT: InformedAdditive(), "latent_additive": LatentAdditive(), _POOLED: PooledTransfer()}

_STRENGTH = 0.01
"""Shrinkage towards the default, which decides where the closed forms predict the same."""


def fit_means(data: Data, *, seed: int) -> Fitted:
    """Fit the closed forms, and their weights for each question.

    For combinations, weights are not negative, their sum is 1, and they minimise the squared error over held-out
    combinations of train. They are used if the weights of the other folds predict a fold better than the default does.
    The same perturbation in other contexts is pooled by ``pooled_transfer`` alone.
    """
    asked = held_out(data, "combination", {name: _FORMS[name] for name in _ADDITIVE}, seed)
    weights = {"combination": {DEFAULT: 1.0} if asked is None else _weights(asked)}
    measured = data.profiles.pairs.targets
    in_contexts = {(pair.targets, pair.context) for pair in data.profiles.pairs}
    if len(in_contexts) > len(set(measured)):
        weights["context"] = {_POOLED: 1.0}
    used = sorted({DEFAULT, *(name for of_question in weights.values() for name in of_question)})
    fits = fit_members(data, {name: _FORMS[name] for name in used}, seed)
    arrays = {key: value for name in used for key, value in with_prefix(fits[name].arrays, f"{name}.").items()}
    perturbations = [list(targets) for targets in sorted(set(measured))]
    infos = {name: fits[name].info for name in used}
    return Fitted(arrays, {"weights": weights, "infos": infos, "perturbations": perturbations})


def mean_change(fitted: Fitted, pairs: Pairs, control: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weighted change of each perturbation, (m × G), and whether the form of largest weight uses a fallback, (m,)."""
    controls = Controls.without_cells(control)
    predicted = {
        name: _FORMS[name].predict(Fitted(without_prefix(fitted.arrays, f"{name}."), info), pairs, controls, seed=0)
        for name, info in fitted.info["infos"].items()
    }
    asked = questions_of(pairs, {tuple(targets) for targets in fitted.info["perturbations"]})
    total, fallback = np.zeros((len(pairs), control.shape[1])), np.zeros(len(pairs), dtype=bool)
    for question in set(asked.tolist()):
        rows = asked == question
        weights = fitted.info["weights"].get(question, {DEFAULT: 1.0})
        for name, weight in weights.items():
            total[rows] += weight * predicted[name].change[rows]
        fallback[rows] = predicted[max(sorted(weights), key=lambda name: float(weights[name]))].fallback[rows]
    return total, fallback


def _weights(asked: HeldOut) -> dict[str, float]:
    """Weight of each additive form for combinations, without those of weight 0."""
    nested = np.empty(len(asked.truth))
    for fold in np.unique(asked.fold):
        out = asked.fold == fold
        nested[out] = _errors(asked, out, _solved(asked, ~out))
    every = np.ones(len(nested), dtype=bool)
    if not helps(_errors(asked, every, np.eye(len(_ADDITIVE))[0]) - nested):
        return {DEFAULT: 1.0}
    weights = _solved(asked, every)
    return {name: float(weight) for name, weight in zip(_ADDITIVE, weights, strict=True) if weight > 0}


def _solved(asked: HeldOut, rows: np.ndarray) -> np.ndarray:
    """Weights of the additive forms from some rows."""
    few = condensed(asked.predicted[rows].reshape(-1, len(_ADDITIVE)), asked.truth[rows].ravel())
    return nonnegative_weights(*few, np.eye(len(_ADDITIVE))[0], strength=_STRENGTH, sum_to_one=True)


def _errors(asked: HeldOut, rows: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Distance of the weighted sum from the measured change of each of some rows."""
    return np.asarray(np.linalg.norm(asked.predicted[rows] @ weights - asked.truth[rows], axis=1))
