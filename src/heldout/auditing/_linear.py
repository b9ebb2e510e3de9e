"""Linear classifiers and principal components for the audit, on arrays."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np

from heldout.auditing._case import principal_components, products

if TYPE_CHECKING:
    from heldout._core.types import Matrix


def logistic(train: np.ndarray, labels: np.ndarray, test: np.ndarray, n_classes: int) -> np.ndarray:
    """Log-probabilities (m × n_classes) of a logistic regression on features standardised on the train cells."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    mean, sd = train.mean(axis=0), train.std(axis=0)
    sd[sd <= 1e-9 * np.abs(mean) + 1e-12] = 1.0
    model = LogisticRegression(max_iter=200)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit((train - mean) / sd, labels)
    with np.errstate(divide="ignore"):  # a probability of 0
        found = model.predict_log_proba((test - mean) / sd)
    result = np.full((len(test), n_classes), -50.0)
    result[:, model.classes_] = np.maximum(found, -50.0)
    return result


def ridge_scores(train: np.ndarray, targets: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Scores (m × R) of R linear discriminants: ridge regression on targets (n × R) of -1 and 1."""
    mean = train.mean(axis=0)
    centred = train - mean
    gram = centred.T @ centred
    gram[np.diag_indices_from(gram)] += 1e-3 * np.trace(gram) / len(gram) + 1e-12
    weights = np.linalg.solve(gram, centred.T @ (targets - targets.mean(axis=0)))
    return np.asarray((test - mean) @ weights)


def column_aucs(scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """AUC of each column of scores (m × R) for targets (m × R) of -1 and 1, (R,). NaN if a class is absent."""
    from scipy.stats import rankdata

    ranks = rankdata(scores, axis=0)
    positive = targets > 0
    n = positive.sum(axis=0)
    pairs = n * (len(scores) - n)
    won = (ranks * positive).sum(axis=0) - n * (n + 1) / 2
    return np.divide(won, pairs, out=np.full(len(n), np.nan), where=pairs > 0)


class FoldComponents:
    """Principal components of the train cells of each fold. Products of genes are summed once for each fold.

    Parameters
    ----------
    X
        Log-normalised values, (m × p).
    folds
        Fold in which each cell is tested, (m,). -1 for cells that are never tested.
    """

    def __init__(self, X: Matrix, folds: np.ndarray, *, n_comps: int) -> None:
        self.X, self.folds, self.n_comps = X, folds, n_comps
        self.parts = {fold: products(X, np.flatnonzero(folds == fold)) for fold in np.unique(folds)}

    def coordinates(self, fold: int, dropped: np.ndarray) -> np.ndarray:
        """Coordinates (m × k) of all cells on components of the cells that are not in ``fold`` and not ``dropped``."""
        p = self.X.shape[1]
        n, total, squares = 0, np.zeros(p), np.zeros((p, p))
        for part in (part for name, part in self.parts.items() if name != fold):
            n, total = n + part[0], total + part[1]
            squares += part[2]
        left = np.flatnonzero(dropped & (self.folds != fold))
        if len(left):
            part = products(self.X, left)
            n, total = n - part[0], total - part[1]
            squares -= part[2]
        mean, components = principal_components(n, total, squares, min(self.n_comps, n - 1))
        return np.asarray(self.X @ components.T - mean @ components.T)
