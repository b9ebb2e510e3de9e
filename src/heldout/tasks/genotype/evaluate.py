"""Evaluation of a genotype method: for groups and for cells, with baselines and a verdict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from heldout._core.arrays import take
from heldout._core.metric import metric_of
from heldout._core.verdict import FEW
from heldout._core.versus import with_versus
from heldout.metrics.classification import group_log_probability, one_vs_rest
from heldout.metrics.effective import effective_size
from heldout.metrics.inference import group_scores
from heldout.tasks.genotype.levels import RANKS, Design, Level, levels_of
from heldout.tasks.genotype.linear import fit_logistic, linear_log_probability

if TYPE_CHECKING:
    from heldout._core.types import Matrix


_FEW_FOR_P = 5
"""Groups per class below which the test of the AUC rejects up to 9 % instead of 5 %; see docs/inference.md."""


@dataclass(frozen=True)
class Scored:
    """Predictions of one method for the cells that are evaluated.

    Parameters
    ----------
    method, role
        Its name, and whether it is a baseline or a model.
    log_probability
        (n × n_classes).
    note
        Words for the column ``note`` of the table.
    thresholds
        Log-odds above which the second of two classes is predicted, for groups and for cells, chosen on val. None
        without val.
    """

    method: str
    role: str
    log_probability: np.ndarray
    note: str = ""
    thresholds: tuple[float, float] | None = None


def evaluation_table(
    scored: list[Scored],
    labels: np.ndarray,
    groups: np.ndarray,
    *,
    unit: str,
    ceiling: np.ndarray | None,
    n_bootstrap: int,
    rng: np.random.Generator,
    blocks: np.ndarray | None = None,
) -> pd.DataFrame:
    """One row for each method, level and metric.

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
    blocks
        Block number of each group, (G,), within which labels could have been exchanged, or None.
    """
    group_labels = np.zeros(int(groups.max()) + 1, dtype=int)
    group_labels[groups] = labels
    design = Design(group_labels, scored[0].log_probability.shape[1], blocks)
    calibrated = all(each.thresholds is not None for each in scored)
    every = [*scored] if ceiling is None else [*scored, Scored("ceiling", "ceiling", ceiling, thresholds=(0.0, 0.0))]
    pooled = {each.method: group_log_probability(each.log_probability, groups) for each in every}
    group_numbers = np.arange(len(group_labels))
    scores: tuple[dict[str, Any], dict[str, Any]] = ({}, {})
    for each in every:
        of_group, of_cell = each.thresholds if calibrated and each.thresholds is not None else (None, None)
        p = pooled[each.method]
        scores[0][each.method] = group_scores(group_labels, p, group_numbers, blocks=blocks, threshold=of_group)
        scores[1][each.method] = group_scores(labels, each.log_probability, groups, blocks=blocks, threshold=of_cell)
    levels = levels_of(unit, labels, groups, design, scores, pooled, n_bootstrap=n_bootstrap, rng=rng)
    worth = {each.method: _worth(each, labels, groups) for each in scored}
    rows = [
        row
        for level in levels
        for metric in level.metrics()
        for row in _rows(level, metric, scored, worth, has_ceiling=ceiling is not None)
    ]
    return with_versus(pd.DataFrame(rows), _versus(levels[0], scored))


def _versus(level: Level, scored: list[Scored]) -> list[dict[str, object]]:
    """The judged method against each baseline, at one level."""
    method = scored[0].method
    return [
        {"method": method, "level": level.name, "metric": metric, **_against(other.method, method, level, metric)}
        for metric in level.metrics()
        for other in scored[1:]
        if np.isfinite(level.estimate(other.method, metric))
    ]


def _rows(
    level: Level, metric: str, scored: list[Scored], worth: dict[str, float], *, has_ceiling: bool
) -> list[dict[str, object]]:
    sign = metric_of(metric).sign
    estimate = {each.method: level.estimate(each.method, metric) for each in scored}
    baselines = [s.method for s in scored[1:] if np.isfinite(estimate[s.method])]
    best = max(baselines, key=lambda name: sign * estimate[name]) if baselines else None
    rows = []
    for each in scored:
        found = level.interval(each.method, metric)
        test = level.test(each.method, metric)
        row = {
            "method": each.method,
            "role": each.role,
            "level": level.name,
            "metric": metric,
            "estimate": found.estimate,
            "ci_low": found.low,
            "ci_high": found.high,
            "n": level.n,
            "n_groups": len(level.design.labels),
            "n_eff": worth[each.method] if level.name == "cell" else float(level.n),
            "p_value": np.nan if test is None else test.p_value,
            "p_mid": np.nan if test is None else test.mid_p,
            "p_smallest": np.nan if test is None else test.smallest,
            "p_kind": "" if test is None else "conditional on the fit",
            "baseline": "",
            "difference": np.nan,
            "difference_low": np.nan,
            "difference_high": np.nan,
            "difference_p": np.nan,
            "ceiling": level.estimate("ceiling", metric) if has_ceiling else np.nan,
            "verdict": "",
            "note": "; ".join(filter(None, [each.note, _interval_note(level, metric)])),
        }
        if each is scored[0]:
            row |= _against(best, each.method, level, metric)
        rows.append(row)
    return rows


def _against(best: str | None, method: str, level: Level, metric: str) -> dict[str, object]:
    """Paired difference to the best baseline, and the verdict it allows."""
    if best is None:
        return {"baseline": "", "verdict": "unidentifiable"}
    verdict = level.verdict(method, best, metric)
    found = level.difference(method, best, metric)
    row = {"baseline": best, "difference": found.estimate, "verdict": verdict}
    if verdict == "unidentifiable":
        return row
    p = level.difference_test(method, best, metric)
    return {**row, "difference_low": found.low, "difference_high": found.high, "difference_p": p}


def _worth(scored: Scored, labels: np.ndarray, groups: np.ndarray) -> float:
    """Number of independent cells, from the similarity of the log-odds within a group."""
    odds = one_vs_rest(scored.log_probability)[:, -1]
    return effective_size(odds, groups, labels).n_eff if np.isfinite(odds).all() and np.ptp(odds) > 0 else np.nan


def _interval_note(level: Level, metric: str) -> str:
    smallest = level.design.smallest
    if smallest < 1:
        return "one class has no group in this partition"
    if smallest == 1:
        return "one class has only 1 group: no interval"
    if metric == "calibration_error":
        return f"one class has only {smallest} groups: the error is biased upwards, no interval"
    weak = _weak(level, metric) if smallest < FEW else ""
    return f"one class has only {smallest} groups: {weak}" if weak else ""


def _weak(level: Level, metric: str) -> str:
    """What is not reliable with fewer than ``FEW`` groups in a class. Empty if nothing is."""
    if level.name == "cell":
        return "the bootstrap interval is too narrow to decide"
    if metric in ("loss", "brier"):
        return "the interval is too narrow if the values are skewed"
    if metric not in RANKS:
        return ""
    if level.design.n_classes > 2:
        return "the bootstrap interval is too narrow"
    if level.design.smallest < _FEW_FOR_P and not level.design.has_mixed_block:
        return "if this class varies more than the other, p-values near 0.05 are too small"
    return ""


def seen_groups_ceiling(X: Matrix, labels: np.ndarray, groups: np.ndarray, *, seed: int) -> np.ndarray | None:
    """Predictions of logistic regression that has seen other cells of the same groups.

    Each half of the cells of a group is predicted from the other half. A prediction for new groups is not expected to
    be better. With random labels it measures how well the groups themselves are recognised.

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
        fitted = fit_logistic(take(X, np.flatnonzero(half != side), None), labels[half != side], 1.0)
        rows = np.flatnonzero(half == side)
        result[rows] = linear_log_probability(fitted.arrays, take(X, rows, None))
    return result


def group_table(
    scored: list[Scored], labels: np.ndarray, groups: np.ndarray, names: np.ndarray, classes: list[str]
) -> pd.DataFrame:
    """Prediction for each group by each method: class, and log-odds of the positive (last) class."""
    parts = []
    for each in scored:
        pooled = group_log_probability(each.log_probability, groups)
        of_group = np.zeros(len(names), dtype=int)
        of_group[groups] = labels
        parts.append(
            pd.DataFrame(
                {
                    "method": each.method,
                    "role": each.role,
                    "group": names,
                    "label": np.array(classes)[of_group],
                    "n_cells": np.bincount(groups),
                    "predicted": np.array(classes)[pooled.argmax(axis=1)],
                    "log_odds": one_vs_rest(pooled)[:, -1],
                }
            )
        )
    return pd.concat(parts, ignore_index=True)
