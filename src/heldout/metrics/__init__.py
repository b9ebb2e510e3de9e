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
from heldout.metrics.empirical_null import EmpiricalNull, empirical_null
from heldout.metrics.inference import GroupScores, bootstrap_weights, group_scores, smallest_p
from heldout.metrics.interaction_curve import InteractionCurve, interaction_curve, interaction_scores
from heldout.metrics.interactions import additive_expectation, interaction_classes
from heldout.metrics.regression import change_correlation, change_sign_accuracy, mae, r2, rmse
from heldout.metrics.skill import Interval, paired_interval, skill, split_half
from heldout.metrics.transport import wasserstein

__all__ = [
    "EmpiricalNull",
    "GroupScores",
    "InteractionCurve",
    "Interval",
    "accuracy",
    "additive_expectation",
    "bootstrap_weights",
    "change_correlation",
    "change_sign_accuracy",
    "collapse",
    "correlation_error",
    "distribution_scores",
    "empirical_null",
    "energy_distance",
    "group_log_probability",
    "group_scores",
    "interaction_classes",
    "interaction_curve",
    "interaction_scores",
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
