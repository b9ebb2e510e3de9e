"""Scores as pure functions on arrays."""

from heldout.metrics.classification import (
    accuracy,
    block_auc,
    brier,
    calibration_error,
    group_log_probability,
    log_loss,
    roc_auc,
)
from heldout.metrics.distribution import (
    collapse,
    correlation_error,
    distribution_scores,
    energy_distance,
    median_bandwidths,
    mmd,
    variance_error,
)
from heldout.metrics.effective import EffectiveSize, effective_size
from heldout.metrics.inference import GroupScores, bootstrap_weights, group_scores, jackknife_weights, smallest_p
from heldout.metrics.intervals import (
    auc_interval,
    difference_interval,
    fold_interval,
    jackknife_interval,
    proportion_interval,
)
from heldout.metrics.permutation import Permutation, auc_permutation, permutation_test, swap_test
from heldout.metrics.regression import change_correlation, change_sign_accuracy, mae, r2, rmse
from heldout.metrics.skill import Interval, paired_interval, skill, split_half
from heldout.metrics.transport import wasserstein

__all__ = [
    "EffectiveSize",
    "GroupScores",
    "Interval",
    "Permutation",
    "accuracy",
    "auc_interval",
    "auc_permutation",
    "block_auc",
    "bootstrap_weights",
    "brier",
    "calibration_error",
    "change_correlation",
    "change_sign_accuracy",
    "collapse",
    "correlation_error",
    "difference_interval",
    "distribution_scores",
    "effective_size",
    "energy_distance",
    "fold_interval",
    "group_log_probability",
    "group_scores",
    "jackknife_interval",
    "jackknife_weights",
    "log_loss",
    "mae",
    "median_bandwidths",
    "mmd",
    "paired_interval",
    "permutation_test",
    "proportion_interval",
    "r2",
    "rmse",
    "roc_auc",
    "skill",
    "smallest_p",
    "split_half",
    "swap_test",
    "variance_error",
    "wasserstein",
]
