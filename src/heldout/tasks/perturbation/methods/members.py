"""What several methods predict for the same perturbations, and for held-out perturbations of train."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from heldout._core.progress import progress
from heldout.tasks.perturbation.methods.questions import folds, train_controls

if TYPE_CHECKING:
    from collections.abc import Mapping

    from heldout._core.method import Fitted
    from heldout.tasks.perturbation.interface import Data, PerturbationMethod
    from heldout.tasks.perturbation.methods.questions import Question
    from heldout.tasks.perturbation.pairs import Pairs
    from heldout.tasks.perturbation.predictions import Controls

logger = logging.getLogger("heldout")


@dataclass(frozen=True)
class HeldOut:
    """What the members predict for held-out perturbations of train.

    Parameters
    ----------
    truth
        Measured changes, (h × G).
    predicted
        Changes predicted by each member, (h × G × M).
    fold
        Fold of each row, (h,).
    """

    truth: np.ndarray
    predicted: np.ndarray
    fold: np.ndarray


def fit_members(data: Data, methods: Mapping[str, PerturbationMethod], seed: int) -> dict[str, Fitted]:
    """Fits of the members; a member that cannot be fitted is left out."""
    members = {}
    for name, method in methods.items():
        try:
            members[name] = method.fit(data, method.default_config, seed=seed)
        except ValueError as problem:
            logger.info("member %r of the stack is left out: %s", name, problem)
    return members


def predictions(
    methods: Mapping[str, PerturbationMethod],
    members: Mapping[str, Fitted],
    pairs: Pairs,
    controls: Controls,
    seed: int,
    *,
    n_genes: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Changes by each member, (m × G × M), and whether a member uses a fallback, (m,).

    What a member cannot predict is replaced by the first member, or by no change.
    """
    predicted, fallback = np.zeros((len(pairs), n_genes, len(members))), np.zeros(len(pairs), dtype=bool)
    for j, (name, fitted) in enumerate(members.items()):
        prediction = methods[name].predict(fitted, pairs, controls, seed=seed)
        lacking = ~np.isfinite(prediction.change).all(axis=1)
        predicted[:, :, j] = np.where(lacking[:, None], predicted[:, :, 0], prediction.change)
        fallback |= prediction.fallback | lacking
    return predicted, fallback


def held_out(data: Data, question: Question, methods: Mapping[str, PerturbationMethod], seed: int) -> HeldOut | None:
    """Predictions of held-out train perturbations; None if train is too small for the question."""
    truth, predicted, number, names = [], [], [], list(methods)
    parts = list(folds(data, question, np.random.default_rng(seed)))
    for fold, part in enumerate(progress(parts, f"held-out folds, {question}")):
        fits = fit_members(part.data, methods, seed)
        rows = data.profiles.pairs.only(part.held_out)
        controls = train_controls(part.data, with_cells=any(methods[name].reads == "cells" for name in fits))
        of_fold = np.zeros((len(rows), data.profiles.change.shape[1], len(names)))
        of_fold[:, :, [names.index(name) for name in fits]] = predictions(
            methods, fits, rows, controls, seed, n_genes=of_fold.shape[1]
        )[0]
        truth.append(data.profiles.change[part.held_out])
        predicted.append(of_fold)
        number.append(np.full(len(rows), fold))
    if len(truth) < 2:
        return None
    return HeldOut(np.concatenate(truth), np.concatenate(predicted), np.concatenate(number))
