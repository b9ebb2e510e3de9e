"""Average a linear classifier over penalties, weighted by how well they predict left-out groups of train."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from heldout._core.method import Fitted
from heldout.tasks.genotype.temperature import calibrated_loss

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Predict = Callable[[np.ndarray, np.ndarray], Callable[[float], np.ndarray]]
    """From train and held-out rows to a function of C that gives log-probabilities of the held-out rows."""

USUAL_C = 10.0
"""C of a fit for which no group can be left out."""

_POWER = 0.5
"""Power of the likelihood of left-out groups. Left-out groups share the fits, so they tell less than new groups do."""

_LEAST_WEIGHT = 0.01
"""Penalties and methods with a smaller weight are not fitted."""


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
class Penalties:
    """Penalties over which a fit is averaged, and how each did on held-out groups.

    Parameters
    ----------
    Cs
        Inverse strength of each penalty, ascending, (k,).
    weights
        Weight of each penalty, (k,), with the sum 1. Very small weights are 0.
    temperatures
        Number by which the logits of each penalty are divided, (k,).
    losses
        Mean log-loss over held-out groups of each penalty at its temperature, (k,). Empty if groups were not left out.
    how
        How they were found, in words.
    """

    Cs: np.ndarray
    weights: np.ndarray
    temperatures: np.ndarray
    losses: np.ndarray
    how: str

    @property
    def info(self) -> dict[str, Any]:
        """JSON values for a fit. ``C`` is the penalty with the largest weight."""
        numbers = {"Cs": self.Cs, "weights": self.weights, "temperatures": self.temperatures, "losses": self.losses}
        found = {"C": float(self.Cs[self.weights.argmax()]), "penalty": self.how}
        return found | {name: values.tolist() for name, values in numbers.items()}

    def averaged(self, fit: Callable[[float], Fitted]) -> Fitted:
        """Average of the logits of a linear model over the penalties, as one linear model."""
        used = np.flatnonzero(self.weights)
        fits = [fit(float(self.Cs[i])) for i in used]
        shares = self.weights[used] / self.temperatures[used]
        arrays = {
            name: np.tensordot(shares, np.stack([each.arrays[name] for each in fits]), axes=1)
            for name in ("coef", "intercept")
        }
        n_iter, converged = (
            max(each.info["n_iter"] for each in fits),
            all(each.info["converged"] for each in fits),
        )
        return Fitted(arrays, {"n_iter": n_iter, "converged": converged} | self.info)


def weigh_penalties(
    predict: Predict, rows: Rows, candidates: Sequence[float], *, usual: float = USUAL_C, calibrated: bool = True
) -> Penalties:
    """Weigh penalties by how well they predict left-out groups.

    The loss of a held-out group is the mean log-loss of its rows, weighted as in the fit. Each candidate gets the
    temperature that is best for the held-out groups. Its weight is the square root of the likelihood of these groups at
    this temperature, times the prior of the temperature. With few groups, whose losses hardly differ between
    penalties, this is an average over penalties. With many groups one penalty gets nearly all the weight.

    Parameters
    ----------
    predict
        Prepares a fit on train rows; the function that it returns fits with one C and predicts the held-out rows.
    rows
        Classes, groups and units of the rows.
    candidates
        Values of C, the inverse of the penalty.
    usual
        The candidate that is nearest to this value has all the weight if no group can be left out.
    calibrated
        Whether to find temperatures; see :func:`heldout.tasks.genotype.temperature.calibrated_loss`.
    """
    Cs = np.sort(np.asarray(candidates, dtype=float))
    folds = inner_folds(rows)
    if not folds or (len(Cs) == 1 and not calibrated):
        weights = (np.arange(len(Cs)) == np.abs(np.log(Cs / usual)).argmin()).astype(float)
        how = "fixed" if len(Cs) == 1 else "fixed, because a class has fewer than two groups to leave out"
        return Penalties(Cs, weights, np.ones(len(Cs)), np.empty(0), how)
    log_p = np.full((len(Cs), len(rows.labels), int(rows.labels.max()) + 1), np.nan)
    for test in folds:
        log_probability = predict(np.setdiff1d(np.arange(len(rows.labels)), test), test)
        for i, C in enumerate(Cs):
            log_p[i, test] = log_probability(float(C))
    held_out = np.concatenate(folds)
    left = rows.taken(held_out)
    found = [calibrated_loss(each[held_out], left.labels, left.weights, fixed=not calibrated) for each in log_p]
    temperatures, losses, costs = np.array(found).T
    weights = likelihood_weights(costs, power=_POWER)
    n_groups = len(np.unique(left.groups))
    how = "fixed" if len(Cs) == 1 else f"averaged by the log-loss of {n_groups} left-out groups in {len(folds)} folds"
    return Penalties(Cs, weights, temperatures, losses, how)


def likelihood_weights(costs: np.ndarray, *, power: float = 1.0) -> np.ndarray:
    """Weights with the sum 1 from negative log-likelihoods summed over held-out groups, (k,).

    Weights are likelihoods to this power. Weights below 0.01 are set to 0.
    """
    weights = np.exp(-power * (costs - costs.min()))
    weights = np.where(weights < _LEAST_WEIGHT * weights.sum(), 0.0, weights)
    return np.asarray(weights / weights.sum())


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
