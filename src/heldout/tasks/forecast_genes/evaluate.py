"""Evaluation of a gene forecast: over genes or their modules, with baselines and a verdict."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from heldout._core.metric import metric_of
from heldout._core.verdict import against, few_units, interval
from heldout._core.versus import with_versus

METRICS = ("skill", "skill_corrected", "rmse", "mae", "r2", "change_correlation", "change_sign_accuracy")


@dataclass(frozen=True)
class Scored:
    """Change of the evaluated genes as predicted by one method, (n,)."""

    method: str
    role: str
    change: np.ndarray


@dataclass(frozen=True)
class Truth:
    """True changes of the evaluated genes.

    Parameters
    ----------
    change
        True change of each gene, (n,).
    level
        True mean at the target time, (n,).
    error
        Bootstrap standard error of the change, (n,).
    floor
        Squared difference of the means of two halves of the target cells, (n,), mean over draws.
    halves
        Means of one and the other half in each draw, (2 × draws × n).
    units
        Number of each gene's unit, (n,).
    """

    change: np.ndarray
    level: np.ndarray
    error: np.ndarray
    floor: np.ndarray
    halves: np.ndarray
    units: np.ndarray


def split_halves(cells: np.ndarray, libraries: np.ndarray | None, *, n: int, rng: np.random.Generator) -> np.ndarray:
    """Means of two random halves of the cells, (2 × n × genes). All libraries have the same weight."""
    libraries = np.zeros(len(cells), dtype=int) if libraries is None else libraries
    draws = np.empty((2, n, cells.shape[1]))
    for draw in range(n):
        parts: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
        for library in np.unique(libraries):
            here = rng.permutation(np.flatnonzero(libraries == library))
            for side in (0, 1):
                if len(here) > side:
                    parts[side].append(cells[here[side::2]].mean(axis=0))
        for side in (0, 1):
            draws[side, draw] = np.mean(parts[side], axis=0)
    return draws


def scores(truth: Truth, change: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Each metric for weights of the genes, (draws × n). Weights of 1 give the plain metric.

    ``skill`` is 1 - MSE / MSE of persistence, ``skill_corrected`` the same with the floor taken off both. Correlation
    and sign of the change are over genes whose change exceeds twice its error.
    """
    total = weights.sum(axis=1)
    wrong = truth.change - change
    mean = weights @ truth.level / total
    spread = weights @ truth.level**2 - total * mean**2
    with np.errstate(divide="ignore", invalid="ignore"):
        return {
            **skills(truth.change, change, truth.floor, weights),
            "mae": weights @ np.abs(wrong) / total,
            "r2": 1 - weights @ wrong**2 / np.where(spread > 1e-12 * total, spread, np.nan),
            **_change_scores(truth, change, weights),
        }


def skills(change: np.ndarray, predicted: np.ndarray, floor: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Skill, corrected skill and RMSE for weights of the genes, (draws × n)."""
    squares, nothing, least = (weights @ v for v in ((change - predicted) ** 2, change**2, floor))
    with np.errstate(divide="ignore", invalid="ignore"):
        return {
            "skill": 1 - squares / np.where(nothing > 0, nothing, np.nan),
            "skill_corrected": (nothing - squares) / np.where(nothing > least, nothing - least, np.nan),
            "rmse": np.sqrt(squares / weights.sum(axis=1)),
        }


def _change_scores(truth: Truth, change: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    moves = np.abs(truth.change) > 2 * truth.error
    W, true, predicted = weights[:, moves], truth.change[moves], change[moves]
    total = W.sum(axis=1)
    total = np.where(total > 0, total, np.nan)
    a, b = W @ true / total, W @ predicted / total
    covariance = W @ (true * predicted) / total - a * b
    var_a, var_b = W @ true**2 / total - a**2, W @ predicted**2 / total - b**2
    flat = (var_a < 1e-12) | (var_b < 1e-12 * max(1.0, float(np.max(predicted**2, initial=0.0))))
    right = np.where(predicted == 0, 0.5, np.sign(predicted) == np.sign(true))
    return {
        "change_correlation": covariance / np.sqrt(np.where(flat, np.nan, var_a * var_b)),
        "change_sign_accuracy": W @ right / total,
    }


def ceilings(truth: Truth) -> dict[str, float]:
    """Ceiling of each metric: how well half of the target cells predicts the other half. NaN where no half tells."""
    ones = np.ones((1, len(truth.change)))
    last = truth.level - truth.change
    found = []
    for first, second in zip(*truth.halves, strict=True):
        half = Truth(first - last, first, truth.error, truth.floor, truth.halves, truth.units)
        found.append({name: float(value[0]) for name, value in scores(half, second - last, ones).items()})
    means = {}
    for name in METRICS:
        known = [half[name] for half in found if not np.isnan(half[name])]
        means[name] = float(np.mean(known)) if known else np.nan
    return {**means, "skill_corrected": 1.0}


def evaluation_table(
    scored: list[Scored], truth: Truth, *, unit: str, n_bootstrap: int, rng: np.random.Generator
) -> pd.DataFrame:
    """One row for each method and metric: first the evaluated method, then the baselines."""
    n_units = int(truth.units.max()) + 1
    drawn = rng.multinomial(n_units, np.full(n_units, 1 / n_units), size=n_bootstrap)
    weights = np.vstack([np.ones(n_units), drawn])[:, truth.units].astype(np.float64)
    values = {each.method: scores(truth, each.change, weights) for each in scored}
    best_possible = ceilings(truth)
    n_moving = int((np.abs(truth.change) > 2 * truth.error).sum())
    rows, versus = [], []
    for metric in METRICS:
        sign, bounds = metric_of(metric).sign, metric_of(metric).bounds
        baselines = [each.method for each in scored[1:] if np.isfinite(values[each.method][metric][0])]
        best = max(baselines, key=lambda name: sign * values[name][metric][0], default=None)
        n = n_moving if metric.startswith("change_") else len(truth.change)
        for each in scored:
            low, high = interval(values[each.method][metric], n_units, bounds=bounds)
            row = {
                "method": each.method,
                "role": each.role,
                "level": unit,
                "metric": metric,
                "estimate": float(values[each.method][metric][0]),
                "ci_low": low,
                "ci_high": high,
                "n": n_units,
                "n_genes": n,
                "baseline": "",
                "difference": np.nan,
                "difference_low": np.nan,
                "difference_high": np.nan,
                "ceiling": best_possible[metric],
                "verdict": "",
                "note": few_units(n_units, unit),
            }
            if each is scored[0]:
                of_judged = values[each.method][metric]
                difference = np.full_like(of_judged, np.nan) if best is None else of_judged - values[best][metric]
                row |= against(best, difference, sign=sign, n_units=n_units, bounds=bounds)
            rows.append(row)
        for baseline in baselines:
            difference = values[scored[0].method][metric] - values[baseline][metric]
            found = against(baseline, difference, sign=sign, n_units=n_units, bounds=bounds)
            versus.append({"method": scored[0].method, "level": unit, "metric": metric, **found})
    return with_versus(pd.DataFrame(rows), versus)
