"""How a perturbation method is judged: over perturbations, beside baselines, with a verdict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from heldout import metrics

if TYPE_CHECKING:
    from heldout.tasks.perturbation.observed import Observed

N_TOP = 1000
"""Genes that errors are over: those most expressed in the train controls."""

N_RECALL = 50
"""Genes that respond most, of which a prediction should name many."""

LOWER_IS_BETTER = frozenset({"l2", "rmse", "weighted_mse", "rank"})

CHANCE = {"pearson_delta": 0.0, "pearson_delta_perturbed": 0.0, "cosine_logfc": 0.0, "rank": 0.5, "discrimination": 0.5}
"""What a prediction that knows nothing of the perturbation gets; the others have no such level."""

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
    "variance_ratio",
)
"""Columns of the evaluation, in this order. The last one says how varied predictions are; its best value is 1."""


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
    """

    method: str
    role: Literal["model", "baseline", "control"]
    change: np.ndarray
    fallback: np.ndarray


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

    def own(self, truth: Observed) -> np.ndarray:
        """Whether a gene is a target of the perturbation itself, (m × G)."""
        result = np.zeros(truth.mean.shape, dtype=bool)
        for i, members in enumerate(truth.pairs.targets):
            result[i, [self.targets[target] for target in members if target in self.targets]] = True
        return result


def score_rows(truth: Observed, change: np.ndarray, reference: Reference) -> dict[str, np.ndarray]:
    """Each metric for each judged perturbation and context, (m,); NaN where it is not defined.

    The true change is counted from the controls measured beside the truth, the predicted one from the train controls, so
    that no noise of controls is in both.
    """
    context, top = truth.pairs.context, reference.top
    start = reference.control[context]
    said = start + change
    result = {
        "l2": metrics.profile_l2(truth.mean[:, top], said[:, top]),
        "rmse": metrics.profile_rmse(truth.mean[:, top], said[:, top]),
        "pearson_delta_perturbed": metrics.pearson_delta(
            truth.mean[:, top], said[:, top], (start + reference.centroid[context])[:, top]
        ),
        **score_controls(truth, truth.control, change, reference),
        **_responding(truth, change, reference),
    }
    result["rank"] = np.full(len(context), np.nan)
    for here in _panels(context):
        result["rank"][here] = metrics.perturbation_rank(truth.mean[np.ix_(here, top)], said[np.ix_(here, top)])
    return {name: np.asarray(values, dtype=np.float64) for name, values in result.items()}


def score_controls(
    truth: Observed, control: np.ndarray, change: np.ndarray, reference: Reference
) -> dict[str, np.ndarray]:
    """The metrics that depend on the controls measured beside the truth, with these as given, (C × G)."""
    context, top = truth.pairs.context, reference.top
    start, beside = reference.control[context], control[context]
    said, own = start + change, reference.own(truth)
    rows = (truth.mean[:, top], said[:, top])
    result = {
        "pearson_delta": metrics.pearson_delta(*rows, beside[:, top], prediction_reference=start[:, top]),
        "cosine_logfc": metrics.cosine_logfc(truth.mean, said, beside, prediction_control=start),
        "discrimination": np.full(len(context), np.nan),
    }
    for here in _panels(context):
        result["discrimination"][here] = metrics.discrimination_score(
            truth.mean[here] - beside[here], change[here], exclude=own[here]
        )
    return result


def _responding(truth: Observed, change: np.ndarray, reference: Reference) -> dict[str, np.ndarray]:
    """The metrics that look at the genes that truly respond."""
    context = truth.pairs.context
    beside = (truth.control[context], truth.control_var[context], truth.control_n[context][:, None])
    own = (truth.mean, truth.var, truth.n_cells[:, None])
    measured = np.isfinite(truth.var).all(axis=1) & (truth.control_n[context] > 1)
    result = {name: np.full(len(context), np.nan) for name in ("weighted_mse", "deg_recall")}
    if not measured.any():
        return result
    rows = np.flatnonzero(measured)
    weights = metrics.score_weights(metrics.t_scores(*(part[rows] for part in (*own, *_rest(truth)))))
    said = reference.control[context] + change
    result["weighted_mse"][rows] = metrics.weighted_mse(truth.mean[rows], said[rows], weights)
    scores = metrics.t_scores(*(part[rows] for part in (*own, *beside)))
    spread = np.sqrt(truth.control_var[context[rows]])
    in_spreads = np.divide(change[rows], spread, out=np.zeros_like(change[rows]), where=spread > 0)
    in_spreads[np.isnan(change[rows]).any(axis=1)] = np.nan
    result["deg_recall"][rows] = metrics.deg_recall(scores, in_spreads, k=min(N_RECALL, change.shape[1]))
    return result


def _rest(truth: Observed) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, variance and number of all other judged cells of the same context, for each perturbation."""
    n, squares = truth.n_cells[:, None].astype(np.float64), np.nan_to_num(truth.var) * (truth.n_cells[:, None] - 1)
    sums, second = n * truth.mean, squares + n * truth.mean**2
    mean, var, others = (np.full(truth.mean.shape, np.nan) for _ in range(3))
    for here in _panels(truth.pairs.context, fewest=1):
        others[here] = n[here].sum() - n[here]
        with np.errstate(invalid="ignore", divide="ignore"):
            mean[here] = (sums[here].sum(axis=0) - sums[here]) / others[here]
            left = second[here].sum(axis=0) - second[here]
            var[here] = np.maximum(left - others[here] * mean[here] ** 2, 0) / (others[here] - 1)
    return mean, var, others


def _panels(context: np.ndarray, *, fewest: int = 2) -> list[np.ndarray]:
    """Rows of each context with at least so many perturbations."""
    rows = [np.flatnonzero(context == number) for number in np.unique(context)]
    return [here for here in rows if len(here) >= fewest]
