"""Ridge regression with a penalty chosen by leave-one-out over genes, and principal components of features."""

from __future__ import annotations

import numpy as np

_PENALTIES = np.logspace(-2, 3, 16)

MOST_GENES = 3000
"""Number of train genes for which a process over genes can invert its matrix."""


def check_invertible(n_train: int, method: str) -> None:
    """Refuse more train genes than the matrix of a process over genes can have."""
    if n_train > MOST_GENES:
        msg = (
            f"{method} inverts a matrix of train × train genes, and there are {n_train} (limit {MOST_GENES}). Use "
            "method='low_rank', or fewer genes."
        )
        raise ValueError(msg)


def fit_ridge(F: np.ndarray, y: np.ndarray) -> dict[str, np.ndarray]:
    """Ridge of ``y`` (n,) on ``F`` (n × p), with an intercept that is not penalised.

    Returns
    -------
    ``coef`` (p,), ``intercept`` (1,), ``penalty`` (1,) of least leave-one-out error, and ``held_out`` (n,): each entry
    as predicted by the fit without it.
    """
    centre, level, n = F.mean(axis=0), y.mean(), len(y)
    U, S, Vt = np.linalg.svd(F - centre, full_matrices=False)
    projected, best, least = U.T @ (y - level), None, np.inf
    for penalty in _PENALTIES:
        shrunk = S**2 / (S**2 + penalty)
        leverage = (U**2 * shrunk).sum(axis=1) + 1 / n
        residual = (y - level - U @ (shrunk * projected)) / np.maximum(1 - leverage, 1e-9)
        error = float(np.mean(residual**2))
        if error < least:
            least, best = error, (penalty, residual)
    assert best is not None
    penalty, residual = best
    coef = Vt.T @ (S / (S**2 + penalty) * projected)
    return {
        "coef": coef,
        "intercept": np.array([level - centre @ coef]),
        "penalty": np.array([penalty]),
        "held_out": y - residual,
    }


def apply_ridge(arrays: dict[str, np.ndarray], F: np.ndarray) -> np.ndarray:
    """Prediction of :func:`fit_ridge`, (n,)."""
    return np.asarray(F @ arrays["coef"] + arrays["intercept"][0])


def fit_components(F: np.ndarray, train: np.ndarray, n: int) -> dict[str, np.ndarray]:
    """Centre, scale and loadings (p × n) of the first ``n`` principal components of the train rows of ``F``."""
    centre, scale = F[train].mean(axis=0), F[train].std(axis=0)
    scale = np.where(scale > 1e-9, scale, np.inf)  # a constant feature has no information
    _, _, Vt = np.linalg.svd((F[train] - centre) / scale, full_matrices=False)
    loadings = Vt[:n].T
    sign = np.sign(loadings[np.abs(loadings).argmax(axis=0), np.arange(loadings.shape[1])])
    return {"centre": centre, "scale": scale, "loadings": loadings * np.where(sign == 0, 1, sign)}


def apply_components(arrays: dict[str, np.ndarray], F: np.ndarray) -> np.ndarray:
    """Scores of each row on the components, (n × n_comps)."""
    return np.asarray((F - arrays["centre"]) / arrays["scale"] @ arrays["loadings"])
