"""Ridge-logistic regression on one row for each group. Inner folds over groups choose the penalty."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from heldout._core.method import Fitted
from heldout.tasks.genotype.baselines import fit_logistic, linear_log_probability
from heldout.tasks.genotype.config import LogisticConfig
from heldout.tasks.genotype.penalty import balanced_weights, choose_C

if TYPE_CHECKING:
    from collections.abc import Callable

    from heldout.tasks.genotype.config import ShrunkenConfig

    Features = Callable[[np.ndarray], np.ndarray]
    """From row numbers to the features of these rows, (n × p)."""

    Represent = Callable[[np.ndarray], tuple[dict[str, np.ndarray], Features]]
    """Learn features on train rows: the arrays that describe them, and the function that computes them."""

_TOL = 1e-9


def fit_chosen(
    represent: Represent, labels: np.ndarray, groups: np.ndarray, config: ShrunkenConfig, *, method: str
) -> Fitted:
    """Choose the penalty by inner folds over groups, and fit on all rows with it.

    Parameters
    ----------
    represent
        Learns the features on the rows that it gets. It is called for each inner fold, so that held-out rows have no
        influence on their own features.
    labels, groups
        Class and group of each row, (R,).
    config
        Candidates for the penalty, and the number of iterations.
    method
        Name of the method, for errors.

    Returns
    -------
    ``coef``, ``intercept`` and the arrays of ``represent``, with the chosen C and the losses in ``info``.

    Raises
    ------
    ValueError
        If a class has fewer than two groups.
    """

    def predict(train: np.ndarray, test: np.ndarray) -> Callable[[float], np.ndarray]:
        _, features = represent(train)
        fit_with, held_out = ridge(features(train), labels[train], groups[train], config), features(test)
        return lambda C: linear_log_probability(fit_with(C).arrays, held_out)

    C, losses, errors = choose_C(predict, labels, groups, config.Cs, method=method)
    everything = np.arange(len(labels))
    arrays, features = represent(everything)
    chosen = ridge(features(everything), labels, groups, config)(C)
    return Fitted(
        {**chosen.arrays, **arrays}, {**chosen.info, "C": C, "losses": losses.tolist(), "errors": errors.tolist()}
    )


def ridge(X: np.ndarray, labels: np.ndarray, groups: np.ndarray, config: ShrunkenConfig) -> Callable[[float], Fitted]:
    """Weighted ridge-logistic regression as a function of C, fitted on the principal axes of the rows (exact).

    The unit of C is one over the mean squared length of a row. Classes have the same weight, and within a class each
    group counts once.
    """
    left, sizes, axes = np.linalg.svd(X, full_matrices=False)
    scale = float((sizes**2).sum()) / len(X) or 1.0
    weights = balanced_weights(labels, groups)

    def fit(C: float) -> Fitted:
        options = LogisticConfig(C=C / scale, max_iter=config.max_iter)
        found = fit_logistic(left * sizes, labels, options, weights=weights, tol=_TOL)
        arrays = {"coef": found.arrays["coef"] @ axes, "intercept": found.arrays["intercept"]}
        return Fitted(arrays, found.info)

    return fit
