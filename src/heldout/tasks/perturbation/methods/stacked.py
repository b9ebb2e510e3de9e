"""A weighted sum of several methods. The weights depend on how well they predict held-out train perturbations."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from heldout._core.method import Fitted, with_prefix, without_prefix
from heldout._core.stacking import condensed, helps, nonnegative_weights
from heldout.tasks.perturbation.config import StackedConfig
from heldout.tasks.perturbation.methods.members import HeldOut, fit_members, held_out, predictions
from heldout.tasks.perturbation.methods.questions import QUESTIONS, questions_of
from heldout.tasks.perturbation.predictions import Controls, Shifted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from heldout._core.method import Registry
    from heldout.tasks.perturbation.interface import Data, PerturbationMethod
    from heldout.tasks.perturbation.methods.questions import Question
    from heldout.tasks.perturbation.pairs import Pairs

MEMBERS = ("mean", "additive", "linear", "latent_additive", "informed_additive")
WITH_CONTEXTS = ("context_mean", "transfer", "pooled_transfer")
WITH_VECTORS = ("vector_knn", "vector_lasso")

_STRENGTHS = (1.0, 0.1, 0.01)
"""Strengths of the shrinkage of weights that are compared."""

_ROWS_OF_MODULE = 20
"""With fewer held-out perturbations for each module, there are fewer modules."""

_MOST_MODULES = 5


class Stacked:
    """Stack methods: non-negative weights for each gene module, fitted on held-out perturbations of train.

    Three questions are asked in folds of train: a known perturbation in a new context, a new combination of known
    targets, and an unseen target. Each question has weights of its own, and each predicted perturbation uses the
    weights of its question. Non-negative least squares gives the weights. They are shrunk towards the best single
    method. If the weighted sum does not predict held-out folds better than the best single method, this method is used
    alone.
    """

    default_config: ClassVar[StackedConfig] = StackedConfig()
    stochastic: ClassVar[bool] = True
    reads: ClassVar[Literal["profiles", "cells"]] = "cells"

    def __init__(self) -> None:
        self.registry: Registry | None = None

    def _methods(self, names: Sequence[str]) -> dict[str, PerturbationMethod]:
        """Members by name."""
        assert self.registry is not None
        if "stacked" in names:
            msg = "StackedConfig: members must not contain 'stacked'. Name other methods."
            raise ValueError(msg)
        return {name: self.registry.implementation(name) for name in names}

    def fit(self, data: Data, config: StackedConfig, *, seed: int, start: Fitted | None = None) -> Fitted:
        """Fit the members, predict folds of train with them, and find the weights."""
        methods = self._methods(_names(data, config))
        members = fit_members(data, methods, seed)
        if not members:
            msg = "None of the members of method='stacked' can be fitted on train. Name others in config.members."
            raise ValueError(msg)
        module = gene_modules(data.profiles.change, _n_modules(config, len(data.profiles.pairs)))
        weights, used = np.empty((len(QUESTIONS), int(module.max()) + 1, len(members))), {}
        for q, question in enumerate(QUESTIONS):
            asked = held_out(data, question, {name: methods[name] for name in members}, seed)
            weights[q], used[question] = _weights(asked, module, list(members), question)
        arrays: dict[str, np.ndarray] = {"weights": weights, "module": module}
        for name, fitted in members.items():
            arrays |= with_prefix(fitted.arrays, f"{name}.")
        seen = sorted(set(data.profiles.pairs.targets))
        info = {
            "names": list(members),
            "members": {name: fitted.info for name, fitted in members.items()},
            "used": used,
            "perturbations": [list(targets) for targets in seen],
        }
        return Fitted(arrays, info)

    def chosen(self, fitted: Fitted) -> str:
        """What each question uses, for the table of an evaluation."""
        return "uses " + ", ".join(f"{what} ({question})" for question, what in fitted.info["used"].items())

    def predict(self, fitted: Fitted, pairs: Pairs, controls: Controls, *, seed: int) -> Shifted:
        """Add up what the members predict, with the weights of the question and of the module of the gene."""
        weights, module = fitted.arrays["weights"], fitted.arrays["module"]
        asked = questions_of(pairs, {tuple(targets) for targets in fitted.info["perturbations"]})
        change = np.zeros((len(pairs), len(module)))
        lost = np.zeros(len(pairs), dtype=bool)
        for q, question in enumerate(QUESTIONS):
            rows = np.flatnonzero(asked == question)
            if not len(rows):
                continue
            used = np.flatnonzero(weights[q].any(axis=0))
            names = [fitted.info["names"][j] for j in used]
            members = {
                name: Fitted(without_prefix(fitted.arrays, f"{name}."), fitted.info["members"][name]) for name in names
            }
            predicted, fallback = predictions(
                self._methods(names), members, pairs.only(rows), controls, seed, n_genes=len(module)
            )
            change[rows] = np.einsum("hgm,gm->hg", predicted, weights[q][module][:, used])
            lost[rows] = fallback
        return Shifted.of(pairs, controls, change, lost)


def gene_modules(change: np.ndarray, n: int) -> np.ndarray:
    """Module of each gene, (G,): k-means of the train changes of genes, scaled to the same length."""
    if n < 2 or change.shape[1] <= n:
        return np.zeros(change.shape[1], dtype=np.int64)
    from sklearn.cluster import KMeans

    length = np.linalg.norm(change, axis=0)
    scaled = np.divide(change, length, out=np.zeros_like(change), where=length > 0).T
    labels = KMeans(n, n_init=3, random_state=0).fit(scaled).labels_
    return np.asarray(np.unique(labels, return_inverse=True)[1])


def _names(data: Data, config: StackedConfig) -> list[str]:
    """Names of the members."""
    if config.members is not None:
        return list(dict.fromkeys(config.members))
    names = [*MEMBERS, *(WITH_CONTEXTS if data.profiles.n_contexts > 1 else ())]
    return [*names, *(WITH_VECTORS if data.target_vectors is not None else ())]


def _n_modules(config: StackedConfig, n_rows: int) -> int:
    return config.n_modules or max(1, min(_MOST_MODULES, n_rows // _ROWS_OF_MODULE))


def _weights(asked: HeldOut | None, module: np.ndarray, names: list[str], question: Question) -> tuple[np.ndarray, str]:
    """Weights of each module, (modules × M), and the name of what is used."""
    usual = ("pooled_transfer", "transfer") if question == "context" else ("latent_additive", "mean")
    if asked is None:
        name = next((name for name in usual if name in names), names[0])
        return _single(names.index(name), module, len(names)), name
    squared = ((asked.predicted - asked.truth[:, :, None]) ** 2).sum(axis=1)
    every = np.ones(len(squared), dtype=bool)
    best = int(np.argmin(squared.sum(axis=0)))
    nested = np.empty(len(squared))
    for fold in np.unique(asked.fold):
        out = asked.fold == fold
        nested[out] = squared[out, int(np.argmin(squared[~out].sum(axis=0)))]
    candidates = [(strength, modules) for modules in _modules_compared(module) for strength in _STRENGTHS]
    gains = [nested - _nested_errors(asked, modules, strength) for strength, modules in candidates]
    chosen = int(np.argmax([gain.sum() for gain in gains]))
    if not helps(gains[chosen]):
        return _single(best, module, len(names)), names[best]
    strength, modules = candidates[chosen]
    return _stack(asked, every, modules, strength)[modules_of(module, modules)], "weighted sum"


def _modules_compared(module: np.ndarray) -> list[np.ndarray]:
    """All genes as one module, and the modules."""
    whole = np.zeros_like(module)
    return [whole] if module.max() == 0 else [whole, module]


def modules_of(module: np.ndarray, used: np.ndarray) -> np.ndarray:
    """Number of the used module of each module, (modules,)."""
    return np.array([int(used[np.flatnonzero(module == k)[0]]) for k in range(int(module.max()) + 1)])


def _single(j: int, module: np.ndarray, n: int) -> np.ndarray:
    weights = np.zeros((int(module.max()) + 1, n))
    weights[:, j] = 1
    return weights


def _stack(asked: HeldOut, rows: np.ndarray, module: np.ndarray, strength: float) -> np.ndarray:
    """Weights of each module from some rows, (modules × M), shrunk towards the best single member."""
    truth, predicted = asked.truth[rows], asked.predicted[rows]
    n = predicted.shape[2]
    best = int(np.argmin(((predicted - truth[:, :, None]) ** 2).sum(axis=(0, 1))))
    prior = np.eye(n)[best]
    weights = []
    for k in range(int(module.max()) + 1):
        genes = module == k
        few = condensed(predicted[:, genes].reshape(-1, n), truth[:, genes].ravel())
        weights.append(nonnegative_weights(*few, prior, strength=strength))
    return np.stack(weights)


def _nested_errors(asked: HeldOut, module: np.ndarray, strength: float) -> np.ndarray:
    """Squared error of each row with weights from the other folds, (h,)."""
    errors = np.empty(len(asked.fold))
    for fold in np.unique(asked.fold):
        out = asked.fold == fold
        weights = _stack(asked, ~out, module, strength)[module]
        total = np.einsum("hgm,gm->hg", asked.predicted[out], weights)
        errors[out] = ((total - asked.truth[out]) ** 2).sum(axis=1)
    return errors
