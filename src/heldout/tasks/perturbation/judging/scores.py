"""How a perturbation method is judged: over perturbations, beside baselines, with a verdict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from heldout import metrics
from heldout.tasks.perturbation.observed import panels

if TYPE_CHECKING:
    from collections.abc import Callable

    from heldout.tasks.perturbation.observed import Observed

N_TOP = 1000
"""Genes that errors are over: those most expressed in the train controls."""

N_RECALL = 50
"""Genes that respond most, of which a prediction should name many."""

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
    "energy_distance",
    "variance_ratio",
)
"""Metrics of the evaluation, in this order. The last one says how varied predictions are; its best value is 1."""


@dataclass(frozen=True)
class Scored:
    """What one method says of the judged perturbations.

    Parameters
    ----------
    method, role
        Its name, and what it is there for: ``model`` is judged, ``baseline`` to be beaten, ``control`` has its embedding
        replaced.
    change
        Predicted change from the train controls, (m × G); rows of NaN were not predicted.
    fallback
        Rows that rest on a stand-in, (m,).
    cells
        Function from the number of each to its predicted cells, (n × G), where cells were predicted; otherwise the train
        controls are moved.
    """

    method: str
    role: Literal["model", "baseline", "control"]
    change: np.ndarray
    fallback: np.ndarray
    cells: Callable[[int], np.ndarray] | None = None


@dataclass(frozen=True)
class Reference:
    """What is known without the judged perturbations.

    Parameters
    ----------
    control
        Mean of the train controls of each context, (C × G): what predictions start from.
    centroid
        Mean change of the train perturbations of each context, (C × G).
    top
        Columns of the genes that errors are over.
    targets
        Column of each target that is a gene at hand.
    """

    control: np.ndarray
    centroid: np.ndarray
    top: np.ndarray
    targets: dict[str, int]

    def perturbed(self, truth: Observed, rows: np.ndarray) -> np.ndarray:
        """Whether a gene is a target of any of these perturbations, (G,); none, if they are more than half of the genes.

        Left out for all alike, as in the Virtual Cell Challenge of 2026: without its own targets only, a perturbation would
        be told by genes that are left in for others.
        """
        result = np.zeros(truth.mean.shape[1], dtype=bool)
        named = {target for i in rows.tolist() for target in truth.pairs.targets[i]}
        result[[self.targets[target] for target in named if target in self.targets]] = True
        return result if 2 * result.sum() <= len(result) else np.zeros_like(result)


def score_rows(truth: Observed, change: np.ndarray, reference: Reference) -> dict[str, np.ndarray]:
    """Each metric of profiles for each judged perturbation and context, (m,); NaN where it is not defined.

    The true change is counted from the controls measured beside the truth, the predicted one from the train controls, so
    that no noise of controls is in both.
    """
    context, top = truth.pairs.context, reference.top
    start = reference.control[context]
    said = start + change
    result: dict[str, Any] = {
        "l2": metrics.profile_l2(truth.mean[:, top], said[:, top]),
        "rmse": metrics.profile_rmse(truth.mean[:, top], said[:, top]),
        "pearson_delta_perturbed": beside_centroid(truth, said, reference),
        **score_controls(truth, truth.control, change, reference),
        **_responding(truth, change, reference),
    }
    result["rank"] = np.full(len(context), np.nan)
    for here in panels(context):
        result["rank"][here] = metrics.perturbation_rank(truth.mean[np.ix_(here, top)], said[np.ix_(here, top)])
    return {name: np.asarray(values, dtype=np.float64) for name, values in result.items()}


def beside_centroid(truth: Observed, said: np.ndarray, reference: Reference) -> np.ndarray:
    """Correlation of true and predicted profiles less the mean train perturbation of the context, (m,)."""
    context, top = truth.pairs.context, reference.top
    centroid = (reference.control + reference.centroid)[context]
    return np.asarray(metrics.pearson_delta(truth.mean[:, top], said[:, top], centroid[:, top]))


def score_controls(
    truth: Observed, control: np.ndarray, change: np.ndarray, reference: Reference
) -> dict[str, np.ndarray]:
    """The metrics that depend on the controls measured beside the truth, with these as given, (C × G)."""
    context, top = truth.pairs.context, reference.top
    start, beside = reference.control[context], control[context]
    said = start + change
    rows = (truth.mean[:, top], said[:, top])
    result: dict[str, Any] = {
        "pearson_delta": metrics.pearson_delta(*rows, beside[:, top], prediction_start=start[:, top]),
        "cosine_logfc": metrics.cosine_logfc(truth.mean, said, beside, prediction_control=start, floor=0),
        "discrimination": np.full(len(context), np.nan),
    }
    for here in panels(context):
        result["discrimination"][here] = metrics.discrimination_score(
            truth.mean[here] - beside[here], change[here], exclude=reference.perturbed(truth, here)
        )
    return result


def _responding(truth: Observed, change: np.ndarray, reference: Reference) -> dict[str, np.ndarray]:
    """The metrics that look at the genes that truly respond; of perturbations with two cells or more."""
    context = truth.pairs.context
    result = {name: np.full(len(context), np.nan) for name in ("weighted_mse", "deg_recall")}
    weights, scores = truth.response
    known = np.isfinite(weights).all(axis=1)
    if known.any():
        said = (reference.control[context] + change)[known]
        result["weighted_mse"][known] = metrics.weighted_mse(truth.mean[known], said, weights[known])
    known = np.isfinite(scores).any(axis=1)
    if known.any() and change.shape[1] > N_RECALL:
        spread = np.sqrt(truth.control_var[context[known]])
        result["deg_recall"][known] = metrics.deg_recall(scores[known], _in_spreads(change[known], spread), k=N_RECALL)
    return result


def _in_spreads(change: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """Predicted changes in standard deviations of a control cell; a row without any change ranks no gene and is NaN."""
    scores = np.divide(change, spread, out=np.zeros_like(change), where=spread > 0)
    scores[np.isnan(change).any(axis=1) | (change == 0).all(axis=1)] = np.nan
    return scores
