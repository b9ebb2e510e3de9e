"""Logistic regression on cells, with weights of groups, averaged over penalties that inner folds over groups weigh."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np

from heldout._core.arrays import moments
from heldout._core.method import Fitted
from heldout.tasks.genotype.group_rows import row_means, rows_of_train
from heldout.tasks.genotype.linear import fit_logistic, linear_log_probability
from heldout.tasks.genotype.penalty import USUAL_C, weigh_penalties

if TYPE_CHECKING:
    from collections.abc import Callable

    from heldout._core.types import Matrix
    from heldout.tasks.genotype.config import LogisticConfig
    from heldout.tasks.genotype.interface import Data
    from heldout.tasks.genotype.penalty import Rows

_MOST_CELLS = 5000
"""Number of cells of inner fits. Groups count once, so fewer cells of each group give the same penalty."""
_TOL = 1e-3


def fit_cells(X: Matrix, data: Data, config: LogisticConfig, method: str) -> Fitted:
    """Fit on the train cells ``X``, averaged over penalties if ``C`` is ``auto``, with logits divided by temperatures.

    A group is predicted by the mean logit of its cells, which is the logit of its mean profile. Without groups
    the usual penalty is taken, and all cells have the same weight within a class.
    """
    labels = data.labels[data.train]
    if config.C == "auto":
        scale = float(moments(X).var.sum()) or 1.0
        candidates = [C / scale for C in config.Cs]
        usual = USUAL_C / scale
    else:
        candidates, usual = [config.C], config.C
    if data.groups is None:
        weights = _of_classes(labels) if config.balanced else None
        found = fit_logistic(X, labels, usual, max_iter=config.max_iter, weights=weights)
        how = "fixed, because groups are not known" if config.C == "auto" else "fixed"
        return Fitted(found.arrays, found.info | {"C": usual, "penalty": how})
    rows, row_of = rows_of_train(data, method, balanced=config.balanced)
    weights = weights_of_rows(rows, row_of, config)

    def fit(C: float) -> Fitted:
        return fit_logistic(X, labels, C, max_iter=config.max_iter, weights=weights)

    if len(candidates) == 1 and not config.calibrated:
        found = fit(usual)
        return Fitted(found.arrays, found.info | {"C": usual, "penalty": "fixed"})
    inner = _inner(X, row_means(data, row_of, len(rows.labels)), rows, row_of, weights)
    return weigh_penalties(inner, rows, candidates, usual=usual, calibrated=config.calibrated).averaged(fit)


def _of_classes(labels: np.ndarray) -> np.ndarray:
    """Weight of each cell, with mean 1, so that classes have the same sum."""
    weights = 1 / np.bincount(labels)[labels]
    return np.asarray(weights / weights.mean())


def weights_of_rows(rows: Rows, row_of: np.ndarray, config: LogisticConfig) -> np.ndarray | None:
    """Weight of each train cell with the row ``row_of``. If groups are equal, the sum is the number of rows."""
    if config.equal_groups:
        return np.asarray((rows.weights / np.bincount(row_of))[row_of])
    return _of_classes(rows.labels[row_of]) if config.balanced else None


def _inner(
    X: Matrix, means: np.ndarray, rows: Rows, row_of: np.ndarray, weights: np.ndarray | None
) -> Callable[[np.ndarray, np.ndarray], Callable[[float], np.ndarray]]:
    """Fits on the cells of some rows. Fits with ascending C start from the one before."""
    each = -(-_MOST_CELLS // len(rows.labels))
    cells = np.concatenate([_spread(np.flatnonzero(row_of == row), each) for row in range(len(rows.labels))])
    grown = np.bincount(row_of) / np.bincount(row_of[cells])
    of_cell = grown[row_of[cells]] * (1.0 if weights is None else weights[cells])

    def predict(train: np.ndarray, test: np.ndarray) -> Callable[[float], np.ndarray]:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression

        kept = np.isin(row_of[cells], train)
        inner, labels = X[cells[kept]], rows.labels[row_of[cells[kept]]]
        model = LogisticRegression(tol=_TOL, max_iter=200, warm_start=True)

        def log_probability(C: float) -> np.ndarray:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                model.set_params(C=C).fit(inner, labels, sample_weight=of_cell[kept])
            return linear_log_probability({"coef": model.coef_, "intercept": model.intercept_}, means[test])

        return log_probability

    return predict


def _spread(rows: np.ndarray, most: int) -> np.ndarray:
    """At most this many of the rows, evenly spread."""
    return rows if len(rows) <= most else rows[np.linspace(0, len(rows) - 1, most).astype(int)]
