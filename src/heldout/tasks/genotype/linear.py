"""Linear models on any rows: logistic regression of scikit-learn, and its log-probabilities."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import log_expit, log_softmax

from heldout._core.method import Fitted

if TYPE_CHECKING:
    from heldout._core.types import Matrix


def fit_logistic(
    X: Matrix,
    labels: np.ndarray,
    C: float,
    *,
    max_iter: int = 1000,
    weights: np.ndarray | None = None,
    tol: float = 1e-4,
) -> Fitted:
    """Fit logistic regression of scikit-learn. ``info`` records whether it converged."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=C, max_iter=max_iter, tol=tol)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(X, labels, sample_weight=weights)
    n_iter = int(model.n_iter_.max())
    arrays = {"coef": model.coef_.astype(np.float64), "intercept": model.intercept_.astype(np.float64)}
    return Fitted(arrays, {"n_iter": n_iter, "converged": n_iter < max_iter})


def linear_log_probability(arrays: dict[str, np.ndarray], X: Matrix) -> np.ndarray:
    """Log-probabilities of a linear model with one row of coefficients (two classes), or one row for each class."""
    logits = np.asarray(X @ arrays["coef"].T) + arrays["intercept"]
    if logits.shape[1] == 1:
        return np.concatenate([log_expit(-logits), log_expit(logits)], axis=1).astype(np.float32)
    return np.asarray(log_softmax(logits, axis=1), dtype=np.float32)
