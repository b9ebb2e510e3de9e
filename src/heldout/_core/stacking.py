"""Non-negative weights of several predictions, and whether a prediction helps on held-out units."""

from __future__ import annotations

import numpy as np
from scipy.special import stdtrit

_HEAVY = 1e3
"""Weight of the row that makes the weights sum to one, against a truth of length 1."""


def nonnegative_weights(
    predictions: np.ndarray, truth: np.ndarray, prior: np.ndarray, *, strength: float, sum_to_one: bool = False
) -> np.ndarray:
    """Non-negative weights that predict held-out values best, shrunk towards a prior, (k,).

    They minimise ‖predictions · w − truth‖² / ‖truth‖² + strength · ‖w − prior‖².

    Parameters
    ----------
    predictions
        Held-out values by each of k methods, (n × k).
    truth
        Held-out values, (n,).
    prior
        Weights towards which the result is shrunk, (k,).
    strength
        Strength of the shrinkage.
    sum_to_one
        Whether the weights sum to one.
    """
    from scipy.optimize import nnls

    size, k = np.sqrt((truth**2).sum()) or 1.0, predictions.shape[1]
    A = np.vstack([predictions / size, np.sqrt(strength) * np.eye(k)])
    b = np.concatenate([truth / size, np.sqrt(strength) * prior])
    if sum_to_one:
        A, b = np.vstack([A, np.full((1, k), _HEAVY)]), np.append(b, _HEAVY)
    weights = nnls(A, b)[0]
    return np.asarray(weights / weights.sum() if sum_to_one else weights)


def condensed(predictions: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Few rows with the same least squares problem, up to a constant: (k + 1 × k) predictions and (k + 1,) truth."""
    R = np.asarray(np.linalg.qr(np.column_stack([predictions, truth]), mode="r"))
    return R[:, :-1], R[:, -1]


def helps(gains: np.ndarray) -> bool:
    """Whether left-out units gain on average: the lower end of the one-sided 95 % interval (Student) is above 0."""
    n = len(gains)
    return n > 2 and float(gains.mean()) > float(stdtrit(n - 1, 0.95) * gains.std(ddof=1) / np.sqrt(n))
