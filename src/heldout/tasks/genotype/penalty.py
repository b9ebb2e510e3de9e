"""Choose the penalty of a classifier by inner cross-validation over the groups of train."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from heldout.tasks.genotype.temperature import temperature

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Predict = Callable[[np.ndarray, np.ndarray], Callable[[float], np.ndarray]]
    """From train and held-out rows to a function of C that gives log-probabilities of the held-out rows."""

USUAL_C = 10.0
"""C that is used with few groups, and if no other value is better by one standard error."""

FEWEST = 4
"""Units of each class from which a penalty is chosen. With fewer, the choice is worse than the usual penalty."""


@dataclass(frozen=True)
class Rows:
    """What a fit on group means knows about its rows. A row is a group, or the cells of a group with one class.

    Parameters
    ----------
    labels, groups
        Class and group of each row, (R,).
    units
        Unit that is left out as a whole, e.g. the patient of two libraries, (R,).
    balanced
        Whether classes have the same weight.
    """

    labels: np.ndarray
    groups: np.ndarray
    units: np.ndarray
    balanced: bool = True

    @property
    def weights(self) -> np.ndarray:
        """Weight of each row, with mean 1."""
        return balanced_weights(self.labels, self.groups, balanced=self.balanced)

    def taken(self, rows: np.ndarray) -> Rows:
        """Only these rows."""
        return Rows(self.labels[rows], self.groups[rows], self.units[rows], self.balanced)


@dataclass(frozen=True)
class Penalty:
    """The chosen penalty, and how it did on held-out groups.

    Parameters
    ----------
    C
        Inverse strength of the penalty.
    how
        How it was chosen, in words.
    losses, errors
        Mean log-loss over held-out groups of each candidate, in ascending order, and its standard error. Empty if
        groups were not left out.
    temperature
        Number by which logits are divided.
    """

    C: float
    how: str
    losses: np.ndarray
    errors: np.ndarray
    temperature: float = 1.0

    @property
    def info(self) -> dict[str, Any]:
        """JSON values for a fit."""
        found = {"C": self.C, "penalty": self.how, "temperature": self.temperature}
        return found | {"losses": self.losses.tolist(), "errors": self.errors.tolist()}


def choose_C(
    predict: Predict, rows: Rows, candidates: Sequence[float], *, usual: float = USUAL_C, calibrated: bool = True
) -> Penalty:
    """Choose the penalty by leaving groups out, one standard error towards the usual one.

    The loss of a held-out group is the mean log-loss of its rows, weighted as in the fit. A candidate is as good as
    the best one if it is worse by at most one standard error of the difference over groups.
    The nearest of these to ``usual`` is chosen: the loss of a few groups varies too much to decide between more
    extreme values.

    Parameters
    ----------
    predict
        Prepares a fit on train rows; the function that it returns fits with one C and predicts the held-out rows.
    rows
        Classes, groups and units of the rows.
    candidates
        Values of C, the inverse of the penalty. With one value nothing is chosen, but the temperature is.
    usual
        Value that needs no evidence. It is used if a class has fewer than four units.
    calibrated
        Whether to find the temperature of the held-out logits; see :func:`heldout.tasks.genotype.temperature`.
    """
    ascending = np.sort(np.asarray(candidates, dtype=float))
    usual = float(ascending[np.abs(np.log(ascending / usual)).argmin()])
    folds = inner_folds(rows)
    how = "fixed" if len(ascending) == 1 else "fixed, because a class has fewer than four groups in train"
    if units_of_rarest(rows) < FEWEST:
        ascending = np.array([usual])
    if not folds or (len(ascending) == 1 and not calibrated):
        return Penalty(usual, how, np.empty(0), np.empty(0))
    n_classes = int(rows.labels.max()) + 1
    log_p = np.full((len(ascending), len(rows.labels), n_classes), np.nan)
    for test in folds:
        log_probability = predict(np.setdiff1d(np.arange(len(rows.labels)), test), test)
        for i, C in enumerate(ascending):
            log_p[i, test] = log_probability(float(C))
    held_out = np.concatenate(folds)
    left = rows.taken(held_out)
    table = np.stack([_losses(each[held_out], left) for each in log_p], axis=1)
    mean, error = table.mean(axis=0), table.std(axis=0, ddof=1) / np.sqrt(len(table))
    chosen = _nearest(table, np.log(ascending / usual))
    scale = temperature(log_p[chosen, held_out], left.labels, left.weights) if calibrated else 1.0
    if len(ascending) > 1:
        how = f"chosen by leaving out {len(table)} groups in {len(folds)} folds"
    return Penalty(float(ascending[chosen]), how, mean, error, scale)


def _losses(log_p: np.ndarray, rows: Rows) -> np.ndarray:
    """Weighted log-loss of each group, (G,), with mean weight 1 over groups."""
    names, group_of = np.unique(rows.groups, return_inverse=True)
    each = -log_p[np.arange(len(rows.labels)), rows.labels] * rows.weights
    return np.bincount(group_of, each) * len(names) / len(rows.labels)


def _nearest(table: np.ndarray, distance: np.ndarray) -> int:
    """Column nearest to distance 0 that is within one standard error of the best; (G × k) losses."""
    best = int(table.mean(axis=0).argmin())
    worse = table - table[:, [best]]
    good = worse.mean(axis=0) <= worse.std(axis=0, ddof=1) / np.sqrt(len(table))
    return int(np.where(good, np.abs(distance), np.inf).argmin())


def balanced_weights(labels: np.ndarray, groups: np.ndarray, *, balanced: bool = True) -> np.ndarray:
    """Weights of rows, with mean 1. Each group counts once, and if ``balanced`` classes have the same sum."""
    pairs, pair_of = np.unique(np.stack([groups, labels]), axis=1, return_inverse=True)
    pair_of = pair_of.ravel()
    weight = 1 / np.bincount(pair_of)[pair_of]
    if balanced:
        weight /= np.bincount(pairs[1])[labels]
    return np.asarray(weight / weight.mean())


def units_of_rarest(rows: Rows) -> int:
    """Number of units that have the class with the fewest units."""
    pairs = np.unique(np.stack([rows.units, rows.labels]), axis=1)
    return int(np.bincount(pairs[1]).min())


def inner_folds(rows: Rows, *, n_folds: int = 5) -> list[np.ndarray]:
    """Held-out rows of each fold. Units stay whole, and units of a class are dealt out one after another.

    There are at most as many folds as the rarest class has units. A fold that leaves train without a class is left
    out. The list is empty if fewer than two units have a class, or if fewer than two folds are left.
    """
    names, unit_of = np.unique(rows.units, return_inverse=True)
    has = np.zeros((len(names), int(rows.labels.max()) + 1), dtype=bool)
    has[unit_of, rows.labels] = True
    if (rarest := units_of_rarest(rows)) < 2:
        return []
    fold_of = np.empty(len(names), dtype=int)
    fold_of[np.lexsort(has.T)] = np.arange(len(names)) % min(n_folds, rarest)
    kept = [fold for fold in np.unique(fold_of) if has[fold_of != fold].any(axis=0).all()]
    return [np.flatnonzero(fold_of[unit_of] == fold) for fold in kept] if len(kept) > 1 else []
