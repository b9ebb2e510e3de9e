"""How a genotype method is judged: at the level of groups and of cells, beside baselines, with a verdict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from heldout._core.arrays import take
from heldout.metrics.classification import group_log_probability, one_vs_rest
from heldout.metrics.inference import METRICS, GroupScores, bootstrap_weights, group_scores, smallest_p
from heldout.tasks.genotype.baselines import fit_logistic, linear_log_probability
from heldout.tasks.genotype.config import LogisticConfig

if TYPE_CHECKING:
    from heldout._core.arrays import Matrix

ALPHA = 0.05
FEW = 10
"""Groups a class below which a bootstrap interval is known to be too narrow."""

LOWER_IS_BETTER = frozenset({"loss"})


@dataclass(frozen=True)
class Scored:
    """Predictions of one method on the cells that are judged, (n × n_classes) log-probabilities."""

    method: str
    role: str
    log_probability: np.ndarray
    note: str = ""


@dataclass(frozen=True)
class Level:
    """One unit of inference, the groups themselves or their cells: its name, its number, the scores of each method."""

    name: str
    n: int
    scores: dict[str, GroupScores]
    p_values: dict[str, float]


def evaluation_table(
    scored: list[Scored],
    labels: np.ndarray,
    groups: np.ndarray,
    *,
    unit: str,
    ceiling: np.ndarray | None,
    n_bootstrap: int,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """One row a method, level and metric.

    Parameters
    ----------
    scored
        The judged method first, then the baselines.
    labels, groups
        Class and group number of each cell, (n,); each group has one class.
    unit
        Name of the group level, e.g. ``library``.
    ceiling
        Log-probabilities of :func:`seen_groups_ceiling`, or None.
    n_bootstrap
        Number of bootstrap draws over groups.
    rng
        Source of randomness.
    """
    group_labels = np.zeros(int(groups.max()) + 1, dtype=int)
    group_labels[groups] = labels
    weights = bootstrap_weights(group_labels, n_bootstrap, rng)
    every = [*scored] if ceiling is None else [*scored, Scored("ceiling", "ceiling", ceiling)]
    pooled = {one.method: group_log_probability(one.log_probability, groups) for one in every}
    own = np.arange(len(group_labels))
    levels = [
        Level(
            unit,
            len(group_labels),
            {method: group_scores(group_labels, p, own) for method, p in pooled.items()},
            {method: exact_p(group_labels, p) for method, p in pooled.items()},
        ),
        Level(
            "cell", len(labels), {one.method: group_scores(labels, one.log_probability, groups) for one in every}, {}
        ),
    ]
    rows = [
        row
        for level in levels
        for metric in METRICS
        for row in _rows(level, metric, scored, group_labels, weights, has_ceiling=ceiling is not None)
    ]
    return pd.DataFrame(rows)


def _rows(
    level: Level,
    metric: str,
    scored: list[Scored],
    group_labels: np.ndarray,
    weights: np.ndarray,
    *,
    has_ceiling: bool,
) -> list[dict[str, object]]:
    ones = np.ones((1, len(group_labels)))
    n_classes = scored[0].log_probability.shape[1]
    smallest = np.bincount(group_labels, minlength=n_classes).min()
    estimate = {name: float(s.evaluate(metric, ones)[0]) for name, s in level.scores.items()}
    draws = {name: s.evaluate(metric, weights) for name, s in level.scores.items()} if smallest > 1 else {}
    sign = -1.0 if metric in LOWER_IS_BETTER else 1.0
    baselines = [s.method for s in scored[1:] if np.isfinite(estimate[s.method])]
    best = max(baselines, key=lambda name: sign * estimate[name]) if baselines else None
    rows = []
    for one in scored:
        low, high = np.percentile(draws[one.method], [2.5, 97.5]) if draws else (np.nan, np.nan)
        row = {
            "method": one.method,
            "role": one.role,
            "level": level.name,
            "metric": metric,
            "estimate": estimate[one.method],
            "ci_low": low,
            "ci_high": high,
            "n": level.n,
            "n_groups": len(group_labels),
            "p_value": level.p_values.get(one.method, np.nan) if metric == "auc" else np.nan,
            "baseline": "",
            "difference": np.nan,
            "difference_low": np.nan,
            "difference_high": np.nan,
            "ceiling": estimate["ceiling"] if has_ceiling else np.nan,
            "verdict": "",
            "note": "; ".join(filter(None, [one.note, _interval_note(int(smallest))])),
        }
        if one is scored[0]:
            row |= _against(best, one.method, estimate, draws, sign=sign, group_labels=group_labels)
        rows.append(row)
    return rows


def _against(
    best: str | None,
    method: str,
    estimate: dict[str, float],
    draws: dict[str, np.ndarray],
    *,
    sign: float,
    group_labels: np.ndarray,
) -> dict[str, object]:
    """Paired difference to the best baseline, and the verdict it allows."""
    row: dict[str, object] = {"baseline": best or ""}
    if best is not None:
        row["difference"] = estimate[method] - estimate[best]
    if best is None or not draws or smallest_p(group_labels) > ALPHA:
        return {**row, "verdict": "unidentifiable"}
    low, high = np.percentile(draws[method] - draws[best], [2.5, 97.5])
    worst, best_case = sorted((sign * low, sign * high))
    verdict = "better" if worst > 0 else "not better" if best_case <= 0 else "undecided"
    return {**row, "difference_low": low, "difference_high": high, "verdict": verdict}


def exact_p(labels: np.ndarray, log_probability: np.ndarray) -> float:
    """One-sided exact p of the AUC of groups of two classes under permuted labels, conditional on the fit.

    NaN for more classes, for one class, and where groups are tied, since the exact distribution is then another.
    """
    from scipy.stats import mannwhitneyu

    odds = one_vs_rest(log_probability)[:, -1]
    if log_probability.shape[1] != 2 or len(np.unique(labels)) < 2 or len(np.unique(odds)) < len(odds):
        return float("nan")
    return float(mannwhitneyu(odds[labels == 1], odds[labels == 0], alternative="greater", method="exact").pvalue)


def _interval_note(smallest: int) -> str:
    if smallest < 1:
        return "a class has no group here"
    if smallest == 1:
        return "one group of a class: no interval"
    if smallest < FEW:
        return f"{smallest} groups of a class: interval too narrow"
    return ""


def seen_groups_ceiling(X: Matrix, labels: np.ndarray, groups: np.ndarray, *, seed: int) -> np.ndarray | None:
    """What logistic regression reaches when it has seen other cells of the very same groups.

    Half of each group's cells predict the other half, and the other way round. A prediction for new groups is not
    expected above it; under labels that mean nothing it measures how well the groups themselves are recognised.

    Returns
    -------
    Log-probabilities, (n × n_classes), or None if a group has a single cell or a class is absent.
    """
    sizes = np.bincount(groups)
    if sizes.min() < 2 or len(np.unique(labels)) < 2:
        return None
    order = np.lexsort((np.random.default_rng(seed).random(len(groups)), groups))
    half = np.empty(len(groups), dtype=int)
    half[order] = np.arange(len(groups)) % 2
    result = np.empty((len(labels), int(labels.max()) + 1), dtype=np.float32)
    if len(np.unique(labels[half == 0])) < result.shape[1] or len(np.unique(labels[half == 1])) < result.shape[1]:
        return None
    for side in (0, 1):
        fitted = fit_logistic(take(X, np.flatnonzero(half != side), None), labels[half != side], LogisticConfig())
        rows = np.flatnonzero(half == side)
        result[rows] = linear_log_probability(fitted.arrays, take(X, rows, None))
    return result


def group_table(
    scored: list[Scored], labels: np.ndarray, groups: np.ndarray, names: np.ndarray, classes: list[str]
) -> pd.DataFrame:
    """Score of each group by each method: probability of its own class, and log-odds of the positive (last) class."""
    parts = []
    for one in scored:
        pooled = group_log_probability(one.log_probability, groups)
        own = np.zeros(len(names), dtype=int)
        own[groups] = labels
        parts.append(
            pd.DataFrame(
                {
                    "method": one.method,
                    "role": one.role,
                    "group": names,
                    "label": np.array(classes)[own],
                    "n_cells": np.bincount(groups),
                    "predicted": np.array(classes)[pooled.argmax(axis=1)],
                    "log_odds": one_vs_rest(pooled)[:, -1],
                }
            )
        )
    return pd.concat(parts, ignore_index=True)
