"""Table of a comparison of methods over folds and seeds: paired differences, ranks and verdicts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from heldout._core.metric import metric_of
from heldout._core.verdict import verdict
from heldout.metrics.classification import accuracy, brier, log_loss, roc_auc
from heldout.metrics.inference import smallest_p
from heldout.metrics.intervals import fold_interval
from heldout.tasks.genotype.levels import ALPHA

if TYPE_CHECKING:
    from collections.abc import Mapping

    from heldout.metrics.skill import Interval

METRICS = ("auc", "accuracy", "accuracy_calibrated", "loss", "brier", "cell_auc")
MIN_FOLDS = 3
_NOTHING = 1e-12


def fold_scores(scores: pd.DataFrame) -> pd.DataFrame:
    """Scores of each method, seed and fold, one column for each metric. NaN where a fold lacks a class.

    Parameters
    ----------
    scores
        One row for each evaluated group: ``method``, ``fold``, ``seed``, ``label`` (class number), ``cell_auc``,
        ``threshold`` and ``log_probability_<number>``. ``cell_auc`` is NaN for a method that predicts whole groups.
    """
    columns = [name for name in scores if name.startswith("log_probability_")]
    rows = []
    for (method, fold, seed), rows_of_fit in scores.groupby(["method", "fold", "seed"], sort=False):
        labels, log_p = rows_of_fit["label"].to_numpy(dtype=int), rows_of_fit[columns].to_numpy(dtype=float)
        threshold = float(rows_of_fit["threshold"].iloc[0])
        calibrated = np.nan
        if np.isfinite(threshold):
            calibrated = float(((log_p[:, -1] - log_p[:, 0] > threshold) == (labels == 1)).mean())
        rows.append(
            {
                "method": method,
                "fold": fold,
                "seed": seed,
                "auc": roc_auc(labels, log_p),
                "accuracy": accuracy(labels, log_p),
                "accuracy_calibrated": calibrated,
                "loss": log_loss(labels, log_p),
                "brier": brier(labels, log_p),
                "cell_auc": float(rows_of_fit["cell_auc"].iloc[0]),
            }
        )
    return pd.DataFrame(rows)


def comparison_table(
    scores: pd.DataFrame, roles: Mapping[str, str], *, unit: str, n_train: float, blocks: pd.Series | None = None
) -> pd.DataFrame:
    """One row for each method and metric.

    Parameters
    ----------
    scores
        As for :func:`fold_scores`.
    roles
        Whether each method is a baseline or a model.
    unit
        Name of the groups.
    n_train
        Mean number of train groups of a fold.
    blocks
        Block of each group, by name, within which labels can be exchanged.
    """
    by_fold = fold_scores(scores)
    groups = scores.drop_duplicates("group")
    least = smallest_p(groups["label"].to_numpy(), None if blocks is None else blocks[groups["group"]].to_numpy())
    n_test = scores.groupby(["method", "fold", "seed"]).size().mean()
    rows: list[dict[str, object]] = []
    for metric in METRICS:
        values = by_fold.groupby(["fold", "method"], sort=False)[metric].mean().unstack("method").dropna(how="all")
        if values.empty:
            continue
        ranks = values.rank(axis=1, ascending=metric_of(metric).lower_is_better).mean()
        spread = by_fold.groupby(["method", "seed"], sort=False)[metric].mean().groupby("method").std(ddof=1)
        best = _best_baseline(values, roles, metric)
        for method in values.columns:
            if values[method].isna().all():
                continue
            found = _clipped(_over_folds(values[method], n_train, n_test), metric)
            row = {
                "method": method,
                "role": roles[method],
                "level": "cell" if metric == "cell_auc" else unit,
                "metric": metric,
                "estimate": found.estimate,
                "ci_low": found.low,
                "ci_high": found.high,
                "rank": float(ranks[method]),
                "n_folds": len(values),
                "n_seeds": int(by_fold.loc[by_fold["method"] == method, "seed"].nunique()),
                "seed_sd": float(spread.get(method, np.nan)),
                "n_groups": len(groups),
                "baseline": "",
                "difference": np.nan,
                "difference_low": np.nan,
                "difference_high": np.nan,
                "ceiling": np.nan,
                "verdict": "",
                "note": _note(values[method], found),
            }
            if roles[method] == "model" and best is not None:
                gap = _over_folds(values[method] - values[best], n_train, n_test)
                row |= _against(gap, best, metric, decidable=len(values) >= MIN_FOLDS and least <= ALPHA)
            rows.append(row)
    return pd.DataFrame(rows)


def _best_baseline(values: pd.DataFrame, roles: Mapping[str, str], metric: str) -> str | None:
    baselines = [name for name in values.columns if roles[name] == "baseline" and values[name].notna().any()]
    if not baselines:
        return None
    means = values[baselines].mean()
    return str(means.idxmin() if metric_of(metric).lower_is_better else means.idxmax())


def _over_folds(values: pd.Series, n_train: float, n_test: float) -> Interval:
    """Corrected interval over folds. There is none if all folds have the same value, because its width would be 0."""
    found = fold_interval(values, n_train=n_train, n_test=n_test)
    return found._replace(low=np.nan, high=np.nan) if np.ptp(values) < _NOTHING else found


def _note(values: pd.Series, found: Interval) -> str:
    if len(values) < MIN_FOLDS:
        return f"{len(values)} folds: too few for a valid interval"
    return "" if np.isfinite(found.low) else "all folds have the same value: no interval"


def _against(gap: Interval, best: str, metric: str, *, decidable: bool) -> dict[str, object]:
    sign = metric_of(metric).sign
    low, high = gap.low, gap.high
    if np.isnan(low):  # all folds are alike
        gain = sign * gap.estimate > _NOTHING
        low, high = (-1.0, 1.0) if gain else (0.0, 0.0)
    return {
        "baseline": best,
        "difference": gap.estimate,
        "difference_low": gap.low,
        "difference_high": gap.high,
        "verdict": verdict(low, high, sign=sign) if decidable else "unidentifiable",
    }


def _clipped(found: Interval, metric: str) -> Interval:
    """Limit the interval to values that the metric can have."""
    low, high = np.clip([found.low, found.high], *metric_of(metric).bounds)
    return found._replace(low=float(low), high=float(high))
