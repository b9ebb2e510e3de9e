"""Tables of measured interactions, and of predictions compared with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from heldout._core.metric import metric_of
from heldout._core.store import logger, some
from heldout._core.verdict import verdict
from heldout.metrics.interaction_curve import interaction_curve, interaction_scores
from heldout.metrics.interactions import CLASSES
from heldout.tasks.interactions.predicted import common

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData

    from heldout._core.rng import Rng
    from heldout.tasks.interactions.measured import Interactions

GRID = np.linspace(0, 1, 101)
"""False discovery proportions of the curve."""


def gene_table(found: Interactions) -> pd.DataFrame:
    """One row per combination and gene; see :func:`heldout.get.interactions`."""
    n_pairs, n_genes = found.deviation.shape
    frame = _contexts(found).loc[np.repeat(np.arange(n_pairs), n_genes)].reset_index(drop=True)
    frame["gene"] = pd.Categorical.from_codes(np.tile(np.arange(n_genes), n_pairs), categories=found.genes)
    columns: dict[str, np.ndarray] = {"control": found.control}
    for i in range(found.of_member.shape[1]):
        there = found.of_member[:, i] >= 0
        columns[f"single_{chr(ord('a') + i)}"] = np.where(there[:, None], found.profiles[found.of_member[:, i]], np.nan)
    columns |= {"additive": found.additive, "observed": found.observed, "deviation": found.deviation, "se": found.se}
    columns |= {"local_fdr": found.null.local_fdr(found.statistic), "called": found.called}
    for name, values in columns.items():
        frame[name] = values.ravel()
    frame["interaction"] = pd.Categorical.from_codes(found.classes.ravel(), categories=list(CLASSES))
    return frame


def pair_table(found: Interactions) -> pd.DataFrame:
    """One row per combination; see :func:`heldout.get.interaction_pairs`."""
    table = _contexts(found)
    table["n_targets"] = found.sizes
    table["n_cells"] = found.n_cells[found.of_double]
    members = np.where(found.of_member >= 0, found.n_cells[found.of_member], np.iinfo(np.int64).max)
    table["n_cells_members"] = members.min(axis=1)
    table["n_cells_control"] = found.n_cells[found.of_control]
    table["rms_deviation"] = np.sqrt((found.deviation**2).mean(axis=1))
    table["median_se"] = np.median(found.se, axis=1)
    table["n_called"] = found.called.sum(axis=1)
    for number, name in enumerate(CLASSES[1:], start=1):
        table[f"n_{name}"] = (found.classes == number).sum(axis=1)
    table["n_doubtful"] = found.doubtful.sum(axis=1)
    return table.sort_values(["perturbation", *found.names.covariate_keys], ignore_index=True)


def curve_table(found: Interactions, predictions: Mapping[str, AnnData], perturbation_key: str) -> pd.DataFrame:
    """One row per method and false discovery proportion; see :func:`heldout.get.interaction_curve`."""
    rows, profiles, _ = _compared(found, predictions, perturbation_key)
    frames = []
    for name, predicted in profiles.items():
        observed, additive = found.observed[rows], found.additive[rows]
        curve = interaction_curve(observed, predicted, additive, cutoffs=found.limits(rows))
        frame = pd.DataFrame({"method": name, "fdp": GRID, "tpr": curve.tpr_at(GRID)})
        frames.append(frame.assign(n_pairs=len(rows), n_interactions=int(curve.n_interactions)))
    return pd.concat(frames, ignore_index=True)


def score_table(
    found: Interactions,
    predictions: Mapping[str, AnnData],
    perturbation_key: str,
    *,
    n_bootstrap: int,
    rng: Rng,
) -> pd.DataFrame:
    """One row per method and metric; see :func:`heldout.get.interaction_scores`."""
    rows, profiles, covered = _compared(found, predictions, perturbation_key)
    observed, additive = found.observed[rows], found.additive[rows]
    profiles = {"no_change": profiles.pop("no_change"), "additive": additive, **profiles}
    scored = interaction_scores(
        observed, profiles, additive, cutoffs=found.limits(rows), n_bootstrap=n_bootstrap, rng=rng
    )
    truth = found.called[rows]
    records: list[dict[str, Any]] = []
    for method, metrics in scored.items():
        excess = metrics.pop("excess")
        share = covered.get(method, 1.0)
        for metric, value in metrics.items():
            chance = metric_of(metric).chance
            row = {"method": method, "metric": metric, "estimate": value.estimate, "ci_low": value.low}
            row |= {"ci_high": value.high, "chance": truth.mean() if chance is None else chance}
            row |= {"difference": np.nan, "difference_low": np.nan, "difference_high": np.nan, "verdict": ""}
            if metric == "average_precision" and method != "no_change":
                row |= {"difference": excess.estimate, "difference_low": excess.low, "difference_high": excess.high}
                row["verdict"] = verdict(excess.low, excess.high)
            row |= {"n": len(rows), "coverage": share, "n_interactions": int(truth.sum())}
            records.append(row)
    return pd.DataFrame(records)


def _contexts(found: Interactions) -> pd.DataFrame:
    """Name and context of each combination."""
    frame = pd.DataFrame({"perturbation": found.labels})
    for i, name in enumerate(found.names.covariate_keys):
        frame[name] = [found.names.contexts[c][i] for c in found.context]
    return frame


def _compared(
    found: Interactions, predictions: Mapping[str, AnnData], perturbation_key: str
) -> tuple[np.ndarray, dict[str, np.ndarray], dict[str, float]]:
    """Combinations that all methods predict, the profiles of ``no_change`` and of each method, and coverages."""
    reserved = {"no_change", "additive"}.intersection(predictions)
    if reserved or not predictions:
        what = f"{some(reserved)} is always included; choose another name" if reserved else "it is empty"
        msg = f"predictions must map names of methods to AnnData of predicted profiles: {what}."
        raise ValueError(msg)
    rows, profiles, covered = common(found, predictions, perturbation_key)
    if len(rows) < len(found.targets):
        logger.warning(
            "%d of %d combinations are compared; the other combinations are not predicted by every method",
            len(rows),
            len(found.targets),
        )
    return rows, {"no_change": found.control[rows], **profiles}, covered
