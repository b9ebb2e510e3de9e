"""Temperature of logits: one number that makes probabilities neither too bold nor too timid on held-out groups."""

from __future__ import annotations

import numpy as np
from scipy.special import log_softmax

_LOWEST, _HIGHEST = 0.05, 100.0
_SPREAD = 0.7
"""Standard deviation of log T that is expected before any group was seen."""


def temperature(logits: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Return the temperature T for which softmax(logits / T) predicts held-out rows best :cite:p:`guo2017`.

    It minimises the summed log-loss plus (log T)² / (2 · 0.7²). This prior holds T near 1 if there are few rows, so
    that a handful of groups without an error does not give an infinite certainty.

    Parameters
    ----------
    logits
        Logits or log-probabilities of held-out rows, (n × n_classes).
    labels
        Class number of each row, (n,).
    weights
        Weight of each row, (n,), with mean 1. None for equal weights.

    Returns
    -------
    A number in [0.05, 100]. It is 1 if all logits of each row are equal.
    """
    return calibrated_loss(logits, labels, weights)[0]


def calibrated_loss(
    logits: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None, *, fixed: bool = False
) -> tuple[float, float, float]:
    """Return the best temperature, the mean log-loss at it, and what it minimises: the summed loss with the prior.

    With ``fixed`` the temperature is 1. See :func:`temperature` for the arrays.
    """
    from scipy.optimize import minimize_scalar

    each = np.ones(len(labels)) if weights is None else weights
    rows = np.arange(len(labels))

    def summed(log_T: float) -> float:
        log_p = log_softmax(logits * np.exp(-log_T), axis=1)
        return float(-(each * log_p[rows, labels]).sum())

    def cost(log_T: float) -> float:
        return summed(log_T) + (log_T / _SPREAD) ** 2 / 2

    best = 0.0
    if not fixed and np.ptp(logits, axis=1).any():
        limits = (np.log(_LOWEST), np.log(_HIGHEST))
        best = float(minimize_scalar(cost, bounds=limits, method="bounded", options={"xatol": 1e-8}).x)
    return float(np.exp(best)), summed(best) / len(labels), cost(best)
