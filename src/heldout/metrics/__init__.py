"""Scores as pure functions on arrays."""

from heldout.metrics.classification import accuracy, group_log_probability, log_loss, roc_auc
from heldout.metrics.inference import GroupScores, bootstrap_weights, group_scores, smallest_p

__all__ = [
    "GroupScores",
    "accuracy",
    "bootstrap_weights",
    "group_log_probability",
    "group_scores",
    "log_loss",
    "roc_auc",
    "smallest_p",
]
