"""Pool the scores of several splits of a screen: estimates, intervals, verdicts and strata over perturbations."""

from __future__ import annotations

import numpy as np
import pandas as pd
from _screens import KEY

from heldout._core.metric import metric_of
from heldout._core.verdict import FEWEST, against, few_units, interval
from heldout.tasks.perturbation.judging.scores import METRICS as ALL_METRICS

METRICS = tuple(name for name in ALL_METRICS if name != "variance_ratio")  # it has no value for one perturbation
N_BOOTSTRAP = 5000
HARM_METRIC, HARM_BASELINE = "l2", "context_mean"


def pooled(scores: pd.DataFrame, tables: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Compute the table of an evaluation from the scores of several splits.

    The scores of a unit (a perturbation, or a context where there is one perturbation) are averaged over the splits in
    which it was held out. Each model is compared with the baseline that is best by the metric.
    """
    unit = unit_of(scores)
    level = "context" if unit == "at" else unit
    roles = scores.drop_duplicates("method").set_index("method")["role"]
    units = scores[unit].unique()
    weights = _weights(len(units), rng)
    ceiling = tables.groupby("metric")["ceiling"].mean()
    rows = []
    for metric in METRICS:
        wide = _wide(scores, metric, unit).reindex(columns=roles.index)
        for method, role in roles.items():
            draws, n = means(wide[method], units, weights)
            low, high = interval(draws, n, bounds=metric_of(metric).bounds)
            row = {"method": method, "role": role, "level": level, "metric": metric, "estimate": draws[0]}
            row |= {"ci_low": low, "ci_high": high, "n": n, "chance": metric_of(metric).chance}
            row |= {"ceiling": ceiling[metric], "share_harmed": np.nan}
            if metric == HARM_METRIC and HARM_BASELINE in wide and method != HARM_BASELINE:
                row["share_harmed"] = _share_harmed(wide, str(method), units)
            lost = scores.loc[scores["method"] == method, "l2"].isna().all()
            row |= {
                "note": f"predicts 0 of {len(units)}" if lost else few_units(n, level),
                "verdict": "",
                "baseline": "",
            }
            judged = role == "model" and metric_of(metric).direction in ("higher", "lower")
            rows.append(row | (_judged(metric, str(method), wide, roles, units, weights) if judged else {}))
    return pd.DataFrame(rows)


def differences(scores: pd.DataFrame, reference: str, rng: np.random.Generator) -> pd.DataFrame:
    """Compare each method with one method, paired, by each metric."""
    unit = unit_of(scores)
    units, models = scores[unit].unique(), scores.loc[scores["role"] != "baseline", "method"].unique()
    weights = _weights(len(units), rng)
    rows = []
    for metric in METRICS:
        if metric_of(metric).direction not in ("higher", "lower"):
            continue
        wide = _wide(scores, metric, unit)
        for method in wide.columns[wide.columns.isin(models)].drop(reference, errors="ignore"):
            if reference not in wide or wide[reference].isna().all():
                continue
            draws, n = means(_difference(wide, method, reference), units, weights)
            row = against(reference, draws, sign=metric_of(metric).sign, n_units=n)
            rows.append({"method": method, "metric": metric, "n": n, **row})
    return pd.DataFrame(rows)


def unit_of(scores: pd.DataFrame) -> str:
    """Return the column of the units: perturbations, or contexts if there are too few perturbations."""
    return "at" if scores[KEY].nunique() < FEWEST <= scores["at"].nunique() else KEY


def _weights(n: int, rng: np.random.Generator) -> np.ndarray:
    drawn = rng.multinomial(n, np.full(n, 1 / n), size=N_BOOTSTRAP)
    return np.vstack([np.ones(n), drawn])


def _wide(scores: pd.DataFrame, metric: str, unit: str) -> pd.DataFrame:
    index = list(dict.fromkeys([unit, KEY, "seed", "at"]))
    return scores.pivot_table(index=index, columns="method", values=metric, dropna=False, observed=True)


def means(values: pd.Series, units: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, int]:
    """Average over units their mean over splits and contexts, plain and in each draw; return the number too."""
    of_units = values.groupby(level=0, observed=True).mean().reindex(units).to_numpy()
    known = np.isfinite(of_units)
    if not known.any():
        return np.full(len(weights), np.nan), 0
    total = weights[:, known].sum(axis=1)
    sums = weights[:, known] @ of_units[known]
    return np.divide(sums, total, out=np.full(len(total), np.nan), where=total > 0), int(known.sum())


def _difference(wide: pd.DataFrame, method: str, other: str) -> pd.Series:
    """Scores of a method minus those of another where both have one; 0 where they differ by rounding only."""
    both = wide[[method, other]].dropna()
    difference = both[method] - both[other]
    return difference.where(difference.abs() > 1e-9 * both.abs().max(axis=1), 0.0)


def _share_harmed(wide: pd.DataFrame, method: str, units: np.ndarray) -> float:
    """Share of the units for which a method has a larger error than the mean of the context."""
    worse = (wide[method] - wide[HARM_BASELINE]).groupby(level=0, observed=True).mean().reindex(units).dropna()
    return float((worse > 1e-9 * wide[HARM_BASELINE].mean()).mean()) if len(worse) else float("nan")


def _judged(
    metric: str, method: str, wide: pd.DataFrame, roles: pd.Series, units: np.ndarray, weights: np.ndarray
) -> dict[str, object]:
    """Compare with the best baseline, paired, on the units and splits that both predict."""
    sign = metric_of(metric).sign
    rivals = {}
    for name in roles.index[roles == "baseline"]:
        both = wide[[method, name]].dropna()
        if len(both):
            rivals[name] = both
    if not rivals:
        return against(None, np.array([np.nan]), sign=sign, n_units=0)
    best = max(rivals, key=lambda name: sign * means(rivals[name][name], units, weights[:1])[0][0])
    draws, n = means(_difference(wide, method, best), units, weights)
    return against(best, draws, sign=sign, n_units=n)
