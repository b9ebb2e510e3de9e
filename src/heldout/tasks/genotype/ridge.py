"""Ridge-logistic regression on one row for each group. Inner folds over groups weigh the penalties."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from heldout._core.method import Fitted
from heldout.tasks.genotype.linear import fit_logistic, linear_log_probability
from heldout.tasks.genotype.newton import fit_newton
from heldout.tasks.genotype.penalty import Rows, weigh_penalties

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Features = Callable[[np.ndarray], np.ndarray]
    """From row numbers to the features of these rows, (n × p)."""

    Represent = Callable[[np.ndarray], tuple[dict[str, np.ndarray], Features]]
    """Learn features on train rows: the arrays that describe them, and the function that computes them."""

_TOL = 1e-9


def fit_averaged(
    represent: Represent, rows: Rows, Cs: Sequence[float], *, max_iter: int = 1000, calibrated: bool = True
) -> Fitted:
    """Weigh penalties by inner folds over groups, and average the fits on all rows, each with its temperature.

    Parameters
    ----------
    represent
        Learns the features on the rows that it gets. It is called for each inner fold, so that held-out rows have no
        influence on their own features.
    rows
        Classes, groups and units of the rows.
    Cs
        Penalties of the average. The unit is one over the mean squared length of a row.
    max_iter
        Maximum number of iterations of the solver.
    calibrated
        Whether to find temperatures.

    Returns
    -------
    ``coef``, ``intercept`` and the arrays of ``represent``, with the weights of the penalties in ``info``.
    """

    def predict(train: np.ndarray, test: np.ndarray) -> Callable[[float], np.ndarray]:
        _, features = represent(train)
        fit_with, held_out = ridge(features(train), rows.taken(train), max_iter=max_iter), features(test)
        return lambda C: linear_log_probability(fit_with(C).arrays, held_out)

    penalties = weigh_penalties(predict, rows, Cs, calibrated=calibrated)
    everything = np.arange(len(rows.labels))
    arrays, features = represent(everything)
    found = penalties.averaged(ridge(features(everything), rows, max_iter=max_iter))
    return Fitted({**found.arrays, **arrays}, found.info)


def ridge(X: np.ndarray, rows: Rows, *, max_iter: int = 1000) -> Callable[[float], Fitted]:
    """Weighted ridge-logistic regression as a function of C, fitted on the principal axes of the rows (exact).

    The unit of C is one over the mean squared length of a row. See :class:`Rows` for the weights.
    """
    left, sizes, axes = np.linalg.svd(X, full_matrices=False)
    scale = float((sizes**2).sum()) / len(X) or 1.0

    scores, weights = left * sizes, rows.weights

    def fit(C: float) -> Fitted:
        if rows.labels.max() > 1:
            several = fit_logistic(scores, rows.labels, C / scale, max_iter=max_iter, weights=weights, tol=_TOL)
            arrays, info = several.arrays, several.info
        else:
            arrays, info = fit_newton(scores, rows.labels, C / scale, weights, max_iter=max_iter, tol=_TOL)
        return Fitted({"coef": arrays["coef"] @ axes, "intercept": arrays["intercept"]}, info)

    return fit
