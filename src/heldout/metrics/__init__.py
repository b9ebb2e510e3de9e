"""Scores as pure functions on arrays."""

from heldout.metrics.agreement import de_jaccard, de_overlap, deg_recall, direction_fidelity, direction_reach, lfc_nmae
from heldout.metrics.challenge import bulk_profile, challenge_score, expression_mse
from heldout.metrics.classification import (
    accuracy,
    block_auc,
    brier,
    calibration_error,
    group_log_probability,
    log_loss,
    roc_auc,
)
from heldout.metrics.coexpression import coexpression_error
from heldout.metrics.critical import CriticalDifferences, critical_differences
from heldout.metrics.differential import Differential, differential, rest_moments, t_scores
from heldout.metrics.discrimination import centroid_accuracy, discrimination_score, perturbation_rank
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
from heldout.metrics.effects import cosine_logfc, log_fold_change, pearson_delta
from heldout.metrics.empirical_null import EmpiricalNull, empirical_null
from heldout.metrics.exchangeable import NextValue, next_value
from heldout.metrics.inference import GroupScores, bootstrap_weights, group_scores, jackknife_weights, smallest_p
from heldout.metrics.interaction_curve import InteractionCurve, interaction_curve, interaction_scores
from heldout.metrics.interactions import additive_expectation, interaction_classes
from heldout.metrics.intervals import (
    auc_interval,
    difference_interval,
    fold_interval,
    jackknife_interval,
    proportion_interval,
)
from heldout.metrics.marginals import gene_wasserstein, log_variance_ratio, zero_share_error
from heldout.metrics.paired import auc_interval_paired, sign_flip_interval, sign_flip_test
from heldout.metrics.permutation import Permutation, auc_permutation, permutation_test, swap_test
from heldout.metrics.power import GroupsNeeded, auc_power, groups_needed
from heldout.metrics.profiles import (
    profile_l2,
    profile_mae,
    profile_rmse,
    score_weights,
    top_genes,
    variance_ratio,
    weighted_mse,
)
from heldout.metrics.regression import change_correlation, change_sign_accuracy, mae, r2, rmse
from heldout.metrics.several_classes import PairOfClasses, class_auc_permutation, pairs_of_classes
from heldout.metrics.skill import Interval, paired_interval, skill, split_half
from heldout.metrics.transport import wasserstein
from heldout.metrics.unequal import auc_interval_unequal

__all__ = [
    "CriticalDifferences",
    "Differential",
    "EffectiveSize",
    "EmpiricalNull",
    "GroupScores",
    "GroupsNeeded",
    "InteractionCurve",
    "Interval",
    "NextValue",
    "PairOfClasses",
    "Permutation",
    "accuracy",
    "additive_expectation",
    "auc_interval",
    "auc_interval_paired",
    "auc_interval_unequal",
    "auc_permutation",
    "auc_power",
    "block_auc",
    "bootstrap_weights",
    "brier",
    "bulk_profile",
    "calibration_error",
    "centroid_accuracy",
    "challenge_score",
    "change_correlation",
    "change_sign_accuracy",
    "class_auc_permutation",
    "coexpression_error",
    "collapse",
    "correlation_error",
    "cosine_logfc",
    "critical_differences",
    "de_jaccard",
    "de_overlap",
    "deg_recall",
    "difference_interval",
    "differential",
    "direction_fidelity",
    "direction_reach",
    "discrimination_score",
    "distribution_scores",
    "effective_size",
    "empirical_null",
    "energy_distance",
    "expression_mse",
    "fold_interval",
    "gene_wasserstein",
    "group_log_probability",
    "group_scores",
    "groups_needed",
    "interaction_classes",
    "interaction_curve",
    "interaction_scores",
    "jackknife_interval",
    "jackknife_weights",
    "lfc_nmae",
    "log_fold_change",
    "log_loss",
    "log_variance_ratio",
    "mae",
    "median_bandwidths",
    "mmd",
    "next_value",
    "paired_interval",
    "pairs_of_classes",
    "pearson_delta",
    "permutation_test",
    "perturbation_rank",
    "profile_l2",
    "profile_mae",
    "profile_rmse",
    "proportion_interval",
    "r2",
    "rest_moments",
    "rmse",
    "roc_auc",
    "score_weights",
    "sign_flip_interval",
    "sign_flip_test",
    "skill",
    "smallest_p",
    "split_half",
    "swap_test",
    "t_scores",
    "top_genes",
    "variance_error",
    "variance_ratio",
    "wasserstein",
    "weighted_mse",
    "zero_share_error",
]
