"""Scores of predicted mean changes, one value for each judged perturbation and context."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from heldout import metrics
from heldout.tasks.perturbation.judging.cells import METRICS as OF_CELLS
from heldout.tasks.perturbation.observed import panels

if TYPE_CHECKING:
    from heldout.tasks.perturbation.observed import Observed

N_TOP = 1000
"""Number of genes that errors are taken over: those with the highest mean in the train controls."""

N_RECALL = 50
"""Number of genes that respond most; a prediction should find many of them."""

METRICS = (
    "l2",
    "rmse",
    "pearson_delta",
    "pearson_delta_perturbed",
    "cosine_logfc",
    "rank",
    "discrimination",
    "weighted_mse",
    "deg_recall",
    *OF_CELLS,
    "variance_ratio",
)
"""Metrics of the evaluation, in this order."""


@dataclass(frozen=True)
class Reference:
    """What is known without the judged perturbations.

    Parameters
    ----------
    control
        Mean of the train controls of each context, (C × G). Predicted changes are added to it.
    centroid
        Mean change of the train perturbations of each context, (C × G).
    top
        Columns of the genes that errors are taken over.
    targets
        Column of each target that is a gene of the data.
    """

    control: np.ndarray
    centroid: np.ndarray
    top: np.ndarray
    targets: dict[str, int]

    def perturbed(self, truth: Observed, rows: np.ndarray) -> np.ndarray:
        """Whether a gene is a target of any of these perturbations, (G,); all False if over half of the genes are.

        These genes are left out for all perturbations, as in the Virtual Cell Challenge of 2026. If only the targets of
        each perturbation were left out, the remaining targets of the others would identify it.
        """
        result = np.zeros(truth.mean.shape[1], dtype=bool)
        named = {target for i in rows.tolist() for target in truth.pairs.targets[i]}
        result[[self.targets[target] for target in named if target in self.targets]] = True
        return result if 2 * result.sum() <= len(result) else np.zeros_like(result)


def score_rows(truth: Observed, change: np.ndarray, reference: Reference) -> dict[str, np.ndarray]:
    """Each metric of profiles for each judged perturbation and context, (m,); NaN where it is not defined.

    True changes are measured from the controls of the judged partition, predicted changes from the train controls, so
    true and predicted changes share no noise of controls.
    """
    context, top = truth.pairs.context, reference.top
    start = reference.control[context]
    predicted = start + change
    result: dict[str, Any] = {
        "l2": metrics.profile_l2(truth.mean[:, top], predicted[:, top]),
        "rmse": metrics.profile_rmse(truth.mean[:, top], predicted[:, top]),
        "pearson_delta_perturbed": centroid_correlation(truth, predicted, reference),
        **score_controls(truth, truth.control, change, reference),
        **_responding(truth, change, reference),
    }
    result["rank"] = np.full(len(context), np.nan)
    for panel in panels(context):
        result["rank"][panel] = metrics.perturbation_rank(truth.mean[np.ix_(panel, top)], predicted[np.ix_(panel, top)])
    return {name: np.asarray(values, dtype=np.float64) for name, values in result.items()}


def centroid_correlation(truth: Observed, predicted: np.ndarray, reference: Reference) -> np.ndarray:
    """Correlation of true and predicted differences from the mean train perturbation of the context, (m,)."""
    context, top = truth.pairs.context, reference.top
    centroid = (reference.control + reference.centroid)[context]
    return np.asarray(metrics.pearson_delta(truth.mean[:, top], predicted[:, top], centroid[:, top]))


def score_controls(
    truth: Observed, control: np.ndarray, change: np.ndarray, reference: Reference
) -> dict[str, np.ndarray]:
    """The metrics that depend on the controls of the judged partition, whose means are ``control``, (C × G)."""
    context, top = truth.pairs.context, reference.top
    start, control_rows = reference.control[context], control[context]
    predicted = start + change
    rows = (truth.mean[:, top], predicted[:, top])
    result: dict[str, Any] = {
        "pearson_delta": metrics.pearson_delta(*rows, control_rows[:, top], prediction_start=start[:, top]),
        "cosine_logfc": metrics.cosine_logfc(truth.mean, predicted, control_rows, prediction_control=start, floor=0),
        "discrimination": np.full(len(context), np.nan),
    }
    for panel in panels(context):
        result["discrimination"][panel] = metrics.discrimination_score(
            truth.mean[panel] - control_rows[panel], change[panel], exclude=reference.perturbed(truth, panel)
        )
    return result


def _responding(truth: Observed, change: np.ndarray, reference: Reference) -> dict[str, np.ndarray]:
    """The metrics of genes that truly respond; NaN for perturbations with one cell."""
    context = truth.pairs.context
    result = {name: np.full(len(context), np.nan) for name in ("weighted_mse", "deg_recall")}
    weights, scores = truth.response
    known = np.isfinite(weights).all(axis=1)
    if known.any():
        predicted = (reference.control[context] + change)[known]
        result["weighted_mse"][known] = metrics.weighted_mse(truth.mean[known], predicted, weights[known])
    known = np.isfinite(scores).all(axis=1) & ((scores != 0).sum(axis=1) > N_RECALL)  # of fewer all are found
    if known.any():
        spread = np.sqrt(truth.control_var[context[known]])
        result["deg_recall"][known] = metrics.deg_recall(scores[known], _in_spreads(change[known], spread), k=N_RECALL)
    return result


def _in_spreads(change: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """Predicted changes in standard deviations of a control cell; NaN for a row without any change."""
    scores = np.divide(change, spread, out=np.zeros_like(change), where=spread > 0)
    scores[np.isnan(change).any(axis=1) | (change == 0).all(axis=1)] = np.nan
    return scores


def centroids(train: Observed) -> np.ndarray:
    """Mean change of the train perturbations in each context, (C × G); the mean over all where a context has none."""
    means = np.tile(train.change.mean(axis=0), (len(train.control), 1))
    for context in np.unique(train.pairs.context):
        means[context] = train.change[train.pairs.context == context].mean(axis=0)
    return means
