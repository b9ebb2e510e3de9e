"""Choose the penalty of a classifier by inner cross-validation over the groups of train."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Predict = Callable[[np.ndarray, np.ndarray], Callable[[float], np.ndarray]]
    """From train and held-out rows to a function of C that gives log-probabilities of the held-out rows."""


def choose_C(
    predict: Predict, labels: np.ndarray, groups: np.ndarray, candidates: Sequence[float], *, method: str
) -> tuple[float, np.ndarray, np.ndarray]:
    """Return the strongest penalty that is within one standard error of the best, with the losses of all candidates.

    The loss of a held-out group is the mean log-loss of its rows, weighted so that classes are balanced and each group
    counts once. The standard error is that of the mean over groups.

    Parameters
    ----------
    predict
        Prepares a fit on train rows; the function that it returns fits with one C and predicts the held-out rows.
    labels, groups
        Class and group of each row.
    candidates
        Values of C, the inverse of the penalty.
    method
        Name of the method, for errors.

    Returns
    -------
    C, the mean loss of each candidate in ascending order, and its standard error.

    Raises
    ------
    ValueError
        If a class has fewer than two groups.
    """
    ascending = sorted(candidates)
    weights = balanced_weights(labels, groups)
    losses = []
    for test in inner_folds(labels, groups, method=method):
        train = np.setdiff1d(np.arange(len(labels)), test)
        log_probability = predict(train, test)
        log_p = [log_probability(C)[np.arange(len(test)), labels[test]] for C in ascending]
        held_out, group_of = np.unique(groups[test], return_inverse=True)
        totals = np.zeros((len(held_out), len(ascending)))
        np.add.at(totals, group_of, -np.stack(log_p, axis=1) * weights[test, None])
        losses.append(totals)
    table = np.concatenate(losses) * (len(np.unique(groups)) / len(labels))
    mean, error = table.mean(axis=0), table.std(axis=0, ddof=1) / np.sqrt(len(table))
    best = int(mean.argmin())
    return ascending[int(np.argmax(mean <= mean[best] + error[best]))], mean, error


def balanced_weights(labels: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Weights of rows, with mean 1. Classes have the same sum, and within a class each group counts once."""
    pairs, pair_of = np.unique(np.stack([groups, labels]), axis=1, return_inverse=True)
    pair_of = pair_of.ravel()
    weight = 1 / (np.bincount(pair_of)[pair_of] * np.bincount(pairs[1])[labels])
    return np.asarray(weight / weight.mean())


def inner_folds(labels: np.ndarray, groups: np.ndarray, *, method: str, n_folds: int = 5) -> list[np.ndarray]:
    """Held-out rows of each fold. Groups stay whole, and groups of a class are dealt out one after another.

    There are at most as many folds as the rarest class has groups. A fold that leaves train without a class is left
    out.
    """
    names, group_of = np.unique(groups, return_inverse=True)
    has = np.zeros((len(names), int(labels.max()) + 1), dtype=bool)
    has[group_of, labels] = True
    rarest = int(has.sum(axis=0).min())
    if rarest < 2:
        msg = (
            f"{method} chooses its penalty by leaving groups out, so each class needs two or more groups in train. The "
            f"class number {int(has.sum(axis=0).argmin())} has {rarest}. Use a split with more train groups, or a "
            "method with a fixed penalty, such as pseudobulk_logistic."
        )
        raise ValueError(msg)
    fold_of = np.empty(len(names), dtype=int)
    fold_of[np.lexsort(has.T)] = np.arange(len(names)) % min(n_folds, rarest)
    kept = [fold for fold in np.unique(fold_of) if has[fold_of != fold].any(axis=0).all()]
    return [np.flatnonzero(fold_of[group_of] == fold) for fold in kept]
