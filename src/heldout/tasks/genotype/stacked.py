"""A weighted sum of the logits of several methods. The weights depend on how well they predict left-out groups."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from scipy.special import log_softmax

from heldout.tasks.genotype.combined import Combined
from heldout.tasks.genotype.config import StackedGroupsConfig


class StackedMethods(Combined):
    """Stack methods: a weighted average of logits, with the weights that predict left-out groups best.

    Each member predicts groups of train that it was not fitted on (inner folds over groups). The weights minimise the
    log-loss of the average of these logits. A penalty shrinks the weights towards equal weights, and counts more with
    fewer groups.
    """

    default_config: ClassVar[Any] = StackedGroupsConfig()
    name: ClassVar[str] = "stacked"
    argument: ClassVar[str] = "members"
    of_probabilities: ClassVar[bool] = False

    def weights_of(
        self, logits: np.ndarray, labels: np.ndarray, balance: np.ndarray, config: StackedGroupsConfig
    ) -> np.ndarray:
        """Weights that minimise the log-loss of the average."""
        return stacking_weights(logits, labels, balance, strength=config.strength)


def stacking_weights(logits: np.ndarray, labels: np.ndarray, balance: np.ndarray, *, strength: float) -> np.ndarray:
    """Weights of k methods, non-negative with the sum 1, that minimise the log-loss of the weighted sum of logits.

    The penalty is strength · k · ‖w − 1/k‖² / n. It is 0 for equal weights, and strength · (k − 1) / n for one method
    alone.

    Parameters
    ----------
    logits
        Logits or log-probabilities of left-out groups by each method, (k × n × n_classes).
    labels, balance
        Class and weight of each group, (n,).
    strength
        Strength of the penalty.
    """
    from scipy.optimize import minimize

    k, n = logits.shape[:2]
    equal = np.full(k, 1 / k)
    of_true = logits[:, np.arange(n), labels]

    def loss(w: np.ndarray) -> tuple[float, np.ndarray]:
        log_p = log_softmax(np.tensordot(w, logits, axes=1), axis=1)
        slopes = np.einsum("nc,mnc->mn", np.exp(log_p), logits) - of_true
        value = -float(balance @ log_p[np.arange(n), labels]) + strength * k * float(((w - equal) ** 2).sum())
        return value / n, (slopes @ balance + 2 * strength * k * (w - equal)) / n

    limits = {"type": "eq", "fun": lambda w: w.sum() - 1, "jac": lambda w: np.ones(k)}
    found = minimize(
        loss, equal, jac=True, bounds=[(0, 1)] * k, constraints=limits, method="SLSQP", options={"ftol": 1e-10}
    )
    weights = np.clip(found.x, 0, None)
    return np.asarray(weights / weights.sum())
