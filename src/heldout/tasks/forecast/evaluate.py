"""Evaluation of a forecast: predicted and observed cells, baselines, the noise floor and the collapsed predictor."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from heldout._core.metric import metric_of
from heldout._core.verdict import FEWEST, verdict
from heldout._core.versus import with_versus
from heldout.metrics import collapse, paired_interval, skill
from heldout.tasks.forecast.noise import LEVEL, distances_of_halves
from heldout.tasks.forecast.scorer import DISTANCE, Scorer, halved
from heldout.tasks.forecast.words import sentence

if TYPE_CHECKING:
    from heldout.metrics import Interval
    from heldout.tasks.forecast.scorer import Target
    from heldout.tasks.forecast.space import Space

METRICS = (
    DISTANCE,
    "skill",
    "skill_corrected",
    "mmd",
    "variance_error",
    "wasserstein2",
    "rmse",
    "mae",
    "r2",
    "change_correlation",
    "change_sign_accuracy",
)
REFERENCE = "persistence"
COLLAPSED = "collapsed"
_MIN_CELLS = 10
_NOTES = {
    "wasserstein2": "secondary: with many components it rewards a forecast of only the mean",
    "r2": "of the means of the genes; repeating the last time scores high",
}


@dataclass(frozen=True)
class Scores:
    """Scores of all targets.

    Parameters
    ----------
    times, starts
        Target times, and the times of the start cells.
    values
        Score by method and metric, each (n_targets,).
    floor
        Score of one half of the observed cells against the other by metric, (n_targets,).
    noise
        Energy distance that 95 % of halves of the observed cells stay below, (n_targets,).
    seeds
        Scores of the judged method fitted with other seeds.
    by_group
        Energy distance by library.
    time_key
        Column of the times.
    """

    times: list[float]
    starts: list[float]
    values: dict[str, dict[str, np.ndarray]]
    floor: dict[str, np.ndarray]
    noise: np.ndarray
    seeds: list[dict[str, np.ndarray]]
    by_group: pd.DataFrame
    time_key: str = "time"

    @property
    def no_gap(self) -> np.ndarray:
        """Whether the last cells are as near to the observed ones as halves of these to each other, (n_targets,)."""
        return np.asarray(self.values[REFERENCE][DISTANCE] <= self.noise)


def score_targets(targets: list[Target], space: Space, *, rng: np.random.Generator) -> Scores:
    """Score all methods on all targets. The collapsed predictor is the mean of the cells of the evaluated method."""
    rows: dict[str, list[dict[str, float]]] = {}
    floors, noise, groups = [], [], []
    seeds: list[list[dict[str, float]]] = [[] for _ in (targets[0].seeds if targets else [])]
    for target in targets:
        scorer = Scorer(target.truth, target.last, space)
        predicted = dict(target.predicted)
        predicted[COLLAPSED] = collapse(next(iter(predicted.values())))
        for method, cells in predicted.items():
            rows.setdefault(method, []).append(scorer(cells))
        for i, cells in enumerate(target.seeds):
            seeds[i].append(scorer(cells))
        kept = halved(target.groups)
        halves = distances_of_halves(target.truth, kept, rng)
        floors.append(scorer.floor(kept, halves, rng))
        noise.append(np.quantile(halves, LEVEL))
        groups += _by_group(target, predicted, space)
    floor = _columns(floors)
    values = {method: _columns(found) for method, found in rows.items()}
    every = [*values.values(), *(_columns(found) for found in seeds)]
    for found in every:
        found["skill"] = np.atleast_1d(skill(found[DISTANCE], values[REFERENCE][DISTANCE]))
        found["skill_corrected"] = np.atleast_1d(skill(found[DISTANCE], values[REFERENCE][DISTANCE], floor[DISTANCE]))
    return Scores(
        times=[t.time for t in targets],
        starts=[t.start_time for t in targets],
        values=values,
        floor=floor,
        noise=np.array(noise),
        seeds=every[len(values) :],
        by_group=pd.DataFrame(groups),
    )


def _columns(rows: list[dict[str, float]]) -> dict[str, np.ndarray]:
    return {name: np.array([row[name] for row in rows]) for name in (rows[0] if rows else {})}


def _by_group(target: Target, predicted: dict[str, np.ndarray], space: Space) -> list[dict[str, Any]]:
    if target.groups is None:
        return []
    names, counts = np.unique(target.groups, return_counts=True)
    rows = []
    for name in names[counts >= _MIN_CELLS]:
        scorer = Scorer(target.truth[target.groups == name], target.last, space)
        for method, cells in predicted.items():
            rows.append(
                {
                    "target": target.time,
                    "group": name,
                    "method": method,
                    DISTANCE: scorer(cells, primary=True)[DISTANCE],
                }
            )
    return rows


def evaluation_table(
    scores: Scores,
    *,
    roles: dict[str, str],
    notes: dict[str, str],
    time_key: str,
    n_bootstrap: int,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """One row for each method, level and metric. The first method of ``scores.values`` is evaluated.

    Levels are ``time_key``, the mean over target times, and with several targets each of them, ``time_key=time``.
    """
    rows: list[dict[str, Any]] = []
    scores = replace(scores, time_key=time_key)
    levels = [(time_key, np.arange(len(scores.times)))]
    if len(scores.times) > 1:
        levels += [(f"{time_key}={time:g}", np.array([i])) for i, time in enumerate(scores.times)]
    for level, at in levels:
        for metric in METRICS:
            rows += _rows(scores, level, at, metric, roles, notes, n_bootstrap, rng)
    return with_versus(pd.DataFrame(rows), _versus(scores, *levels[0], roles, n_bootstrap, rng))


def _versus(
    scores: Scores, level: str, at: np.ndarray, roles: dict[str, str], n_bootstrap: int, rng: np.random.Generator
) -> list[dict[str, Any]]:
    """The judged method against each baseline, at one level."""
    judged = next(iter(scores.values))
    rows = []
    for metric in METRICS:
        for method in scores.values:
            if roles[method] == "baseline" and np.isfinite(_mean(scores.values[method][metric][at])):
                found = _judged(
                    scores,
                    at,
                    metric,
                    judged,
                    method,
                    sign=metric_of(metric).sign,
                    row={"note": ""},
                    n_bootstrap=n_bootstrap,
                    rng=rng,
                )
                rows.append({"method": judged, "level": level, "metric": metric, **found})
    return rows


def _rows(
    scores: Scores,
    level: str,
    at: np.ndarray,
    metric: str,
    roles: dict[str, str],
    notes: dict[str, str],
    n_bootstrap: int,
    rng: np.random.Generator,
) -> list[dict[str, Any]]:
    judged = next(iter(scores.values))
    estimate = {method: _mean(found[metric][at]) for method, found in scores.values.items()}
    sign = metric_of(metric).sign
    baselines = [m for m, role in roles.items() if role == "baseline" and m != judged and np.isfinite(estimate[m])]
    best = max(baselines, key=lambda m: sign * estimate[m]) if baselines else None
    rows = []
    for method, found in scores.values.items():
        interval = _interval(found[metric][at], n_bootstrap, rng)
        row: dict[str, Any] = {
            "method": method,
            "role": roles[method],
            "level": level,
            "metric": metric,
            "estimate": estimate[method],
            "ci_low": interval[0],
            "ci_high": interval[1],
            "n": len(at),
            "n_groups": _n_groups(scores, at),
            "p_value": np.nan,
            "baseline": "",
            "difference": np.nan,
            "difference_low": np.nan,
            "difference_high": np.nan,
            "ceiling": _mean(scores.floor[metric][at]) if metric in scores.floor else np.nan,
            "verdict": "",
            "note": "; ".join(filter(None, [notes.get(method, ""), _NOTES.get(metric, "")])),
        }
        if method == judged:
            row |= _judged(scores, at, metric, judged, best, sign=sign, row=row, n_bootstrap=n_bootstrap, rng=rng)
        rows.append(row)
    return rows


def _judged(
    scores: Scores,
    at: np.ndarray,
    metric: str,
    judged: str,
    best: str | None,
    *,
    sign: float,
    row: dict[str, Any],
    n_bootstrap: int,
    rng: np.random.Generator,
) -> dict[str, Any]:
    """Paired difference to the best baseline over independent units, and the verdict."""
    of_judged = scores.values[judged]
    other = scores.values[best][metric][at] if best else np.full(len(at), np.nan)
    differences = of_judged[metric][at] - other
    low, high, unit, n_units = np.nan, np.nan, "", len(at)
    changes: dict[str, Any] = {"baseline": best or "", "difference": _mean(differences)}
    if best and len(at) >= FEWEST and np.isfinite(differences).all():
        low, high = paired_interval(differences, units=at, n=n_bootstrap, rng=rng)[1:3]
        unit = "target times"
    elif best and metric == DISTANCE and _n_groups(scores, at) >= FEWEST:
        interval = _group_interval(scores, at, judged, best, n_bootstrap, rng)
        low, high, n_units, unit = interval.low, interval.high, interval.n_units, "groups"
    elif scores.seeds:
        reached = np.array([_mean(of_seed[metric][at]) for of_seed in [of_judged, *scores.seeds]])
        if np.isfinite(reached).all():
            changes |= {"ci_low": reached.min(), "ci_high": reached.max()}
            changes |= {
                "difference_low": (reached - _mean(other)).min(),
                "difference_high": (reached - _mean(other)).max(),
            }
    if unit:
        changes |= {"difference_low": low, "difference_high": high}
    note = sentence(
        n_targets=len(at),
        unit=unit,
        n_units=n_units,
        n_seeds=len(scores.seeds) + 1 if "ci_low" in changes else 0,
        skill=_mean(of_judged["skill_corrected"][at[~scores.no_gap[at]]]) if not scores.no_gap[at].all() else np.nan,
        collapsed_wins=_mean(scores.values[COLLAPSED][DISTANCE][at]) < _mean(of_judged[DISTANCE][at]),
        **_when(scores, at),
    )
    return {**changes, "verdict": verdict(low, high, sign=sign), "note": "; ".join(filter(None, [row["note"], note]))}


def _when(scores: Scores, at: np.ndarray) -> dict[str, str]:
    """Start and target in words, if there is one target."""
    if len(at) > 1:
        return {}
    start, target = scores.starts[at[0]], scores.times[at[0]]
    return {"start": f"{scores.time_key} {start:g}", "target": f"{scores.time_key} {target:g}"}


def _mean(values: np.ndarray) -> float:
    """Mean. NaN if any value is NaN."""
    return float(np.mean(values))


def _interval(values: np.ndarray, n: int, rng: np.random.Generator) -> tuple[float, float]:
    if len(values) < FEWEST or not np.isfinite(values).all():
        return np.nan, np.nan
    found = paired_interval(values, units=np.arange(len(values)), n=n, rng=rng)
    return found.low, found.high


def _n_groups(scores: Scores, at: np.ndarray) -> int:
    if scores.by_group.empty:
        return 0
    here = scores.by_group["target"].isin([scores.times[i] for i in at])
    return int(scores.by_group.loc[here, "group"].nunique())


def _group_interval(
    scores: Scores, at: np.ndarray, judged: str, best: str, n: int, rng: np.random.Generator
) -> Interval:
    here = scores.by_group[scores.by_group["target"].isin([scores.times[i] for i in at])]
    wide = here.pivot_table(index=["target", "group"], columns="method", values=DISTANCE)
    differences = (wide[judged] - wide[best]).to_numpy()
    return paired_interval(differences, units=wide.index.get_level_values("group").to_numpy(), n=n, rng=rng)


def target_table(scores: Scores, targets: list[Target], roles: dict[str, str]) -> pd.DataFrame:
    """All scores of all methods at all target times."""
    rows = []
    for method, found in scores.values.items():
        for i, target in enumerate(targets):
            rows.append(
                {
                    "method": method,
                    "role": roles[method],
                    "target": target.time,
                    "start": target.start_time,
                    "n_cells": len(target.truth),
                    **{metric: float(found[metric][i]) for metric in METRICS},
                    "floor": float(scores.floor[DISTANCE][i]),
                    "noise": float(scores.noise[i]),
                    "no_gap": bool(scores.no_gap[i]),
                }
            )
    return pd.DataFrame(rows)
