"""Scores as pure functions on arrays."""

from heldout.metrics.classification import accuracy, group_log_probability, log_loss, roc_auc
from heldout.metrics.distribution import (
    collapse,
    correlation_error,
    distribution_scores,
    energy_distance,
    median_bandwidths,
    mmd,
    variance_error,
)
from heldout.metrics.inference import GroupScores, bootstrap_weights, group_scores, smallest_p
from heldout.metrics.regression import change_correlation, change_sign_accuracy, mae, r2, rmse
from heldout.metrics.skill import Interval, paired_interval, skill, split_half
from heldout.metrics.transport import wasserstein

__all__ = [
    "GroupScores",
    "Interval",
    "accuracy",
    "bootstrap_weights",
    "change_correlation",
    "change_sign_accuracy",
    "collapse",
    "correlation_error",
    "distribution_scores",
    "energy_distance",
    "group_log_probability",
    "group_scores",
    "log_loss",
    "mae",
    "median_bandwidths",
    "mmd",
    "paired_interval",
    "r2",
    "rmse",
    "roc_auc",
    "skill",
    "smallest_p",
    "split_half",
    "variance_error",
    "wasserstein",
]
