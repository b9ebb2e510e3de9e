"""Thresholds of the log-odds of two classes, chosen on val."""

from __future__ import annotations

import numpy as np

from heldout.metrics.classification import group_log_probability, one_vs_rest


def thresholds(labels: np.ndarray, log_probability: np.ndarray, groups: np.ndarray) -> tuple[float, float] | None:
    """Thresholds of groups and of cells with the best balanced accuracy. None unless there are two classes.

    Parameters
    ----------
    labels, log_probability, groups
        Class, log-probabilities and group number of each val cell; one class a group.
    """
    if log_probability.shape[1] != 2 or len(np.unique(labels)) < 2:
        return None
    of_group = np.zeros(int(groups.max()) + 1, dtype=int)
    of_group[groups] = labels
    pooled = one_vs_rest(group_log_probability(log_probability, groups))[:, 1]
    return best_threshold(of_group, pooled), best_threshold(labels, one_vs_rest(log_probability)[:, 1])


def best_threshold(labels: np.ndarray, score: np.ndarray) -> float:
    """Threshold with the best balanced accuracy, half-way between two scores, and as near to 0 as possible."""
    values, at = np.unique(score, return_inverse=True)
    counts = np.stack([np.bincount(at, labels == c, minlength=len(values)) for c in (0, 1)])
    below = np.concatenate([np.zeros((2, 1)), np.cumsum(counts, axis=1)], axis=1)
    balanced = below[0] / below[0, -1] - below[1] / below[1, -1]
    cuts = np.concatenate([[values[0] - 1], (values[1:] + values[:-1]) / 2, [values[-1] + 1]])
    best = cuts[balanced >= balanced.max() - 1e-12]
    return float(best[abs(best).argmin()])
