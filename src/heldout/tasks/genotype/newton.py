"""Ridge-logistic regression of two classes by Newton's method, which is fast for few rows on few axes."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import expit

_DECREASE = 1e-4
"""Share of the expected decrease that a step must give (Armijo)."""
_SMALLEST_STEP = 1e-8


def fit_newton(
    X: np.ndarray, labels: np.ndarray, C: float, weights: np.ndarray, *, max_iter: int, tol: float
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Minimise C · Σ weight · log-loss + ‖coef‖² / 2, as LogisticRegression of scikit-learn does.

    Parameters
    ----------
    X
        Rows, (n × p). Each iteration solves a system of p + 1 equations.
    labels, weights
        Class of each row, 0 or 1, and its weight, (n,).
    C
        Inverse strength of the penalty. The intercept has no penalty.
    max_iter, tol
        Iterations end when no entry of the gradient of the mean loss is larger than ``tol``.

    Returns
    -------
    Arrays ``coef``, (1 × p), and ``intercept``, (1,); and the values ``n_iter`` and ``converged``.
    """
    A = np.column_stack([X, np.ones(len(X))])
    penalty = np.append(np.full(X.shape[1], 1 / C), 0.0) / len(X)
    share, signs = weights / len(X), np.where(labels == 1, 1.0, -1.0)

    def loss(theta: np.ndarray) -> float:
        return float(share @ np.logaddexp(0.0, -signs * (A @ theta)) + penalty @ theta**2 / 2)

    theta, converged, n_iter = np.zeros(A.shape[1]), False, 0
    value = loss(theta)
    while not converged and n_iter < max_iter:
        p = expit(A @ theta)
        gradient = A.T @ (share * (p - labels)) + penalty * theta
        converged = bool(np.abs(gradient).max() <= tol)
        if converged:
            break
        n_iter += 1
        hessian = (A.T * (share * p * (1 - p))) @ A
        hessian[np.diag_indices(len(theta))] += penalty + 1e-14
        step = np.linalg.solve(hessian, gradient)
        size, decrease = 1.0, float(gradient @ step)
        while (new := loss(theta - size * step)) > value - _DECREASE * size * decrease and size > _SMALLEST_STEP:
            size /= 2
        if size <= _SMALLEST_STEP:  # the loss cannot become smaller by more than rounding
            converged = True
            break
        theta, value = theta - size * step, new
    return {"coef": theta[None, :-1], "intercept": theta[-1:]}, {"n_iter": n_iter, "converged": converged}
