"""Temperature of logits: one number that makes probabilities neither too bold nor too timid on held-out groups."""

from __future__ import annotations

import numpy as np
from scipy.special import log_softmax

_LOWEST, _HIGHEST = 0.05, 100.0


def temperature(logits: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Return the temperature T for which softmax(logits / T) has the lowest log-loss :cite:p:`guo2017`.

    Targets are smoothed as in Platt scaling :cite:p:`platt1999`: for a class with N of the rows and K classes, the true
    class has the probability (N + 1) / (N + K). Few groups that are all predicted correctly then do not give an
    infinite certainty.

    Parameters
    ----------
    logits
        Logits or log-probabilities of held-out rows, (n × n_classes).
    labels
        Class number of each row, (n,).
    weights
        Weight of each row, (n,). None for equal weights.

    Returns
    -------
    A number in [0.05, 100]. It is 100 if the logits contain no information, and 1 if all are equal.
    """
    from scipy.optimize import minimize_scalar

    n_classes = logits.shape[1]
    if not np.ptp(logits, axis=1).any():
        return 1.0
    counts = np.bincount(labels, minlength=n_classes)[labels]
    targets = np.tile(1 / (counts + n_classes)[:, None], n_classes)
    targets[np.arange(len(labels)), labels] = (counts + 1) / (counts + n_classes)
    weighted = targets if weights is None else targets * weights[:, None]

    def loss(inverse: float) -> float:
        return -float((weighted * log_softmax(logits * inverse, axis=1)).sum())

    limits = (1 / _HIGHEST, 1 / _LOWEST)
    found = float(minimize_scalar(loss, bounds=limits, method="bounded", options={"xatol": 1e-8}).x)
    best = min((found, *limits), key=loss)
    return 1 / best
