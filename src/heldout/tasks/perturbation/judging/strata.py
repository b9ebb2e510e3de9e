"""Split the results of an evaluation by how far baselines already solve a perturbation."""

from __future__ import annotations

import numpy as np
import pandas as pd

from heldout._core.metric import metric_of
from heldout._core.verdict import interval, verdict

SOLVED, RESISTANT = 2 / 3, 1 / 3
"""Least saturation of a solved perturbation, and largest saturation of a resistant perturbation."""

GROUPS = ("solved by baselines", "between", "resistant")
"""Strata, from the easiest."""

NOTHING = "no_change"

_N_BOOTSTRAP = 2000


def saturation(error: np.ndarray, nothing: np.ndarray, ceiling: float, *, sign: float = -1.0) -> np.ndarray:
    """Share of the way from "no change" to the ceiling that a baseline covers, for each unit, (U,).

    Parameters
    ----------
    error, nothing
        Scores of the baseline and of "no change", (U,).
    ceiling
        Score that the noise of the data allows.
    sign
        1 if a higher score is better, -1 if a lower one is.

    Returns
    -------
    1 where the baseline reaches the ceiling, 0 where it is no better than "no change", and below 0 where it is worse.
    Where "no change" itself reaches the ceiling nothing can be gained, and the result is 1.
    """
    possible = sign * (ceiling - nothing)
    gained = sign * (error - nothing)
    return np.divide(gained, possible, out=np.ones(len(gained)), where=possible > 0)


def stratified(
    scores: pd.DataFrame, ceiling: float, *, metric: str = "l2", unit: str | list[str] = "perturbation", rng: int = 0
) -> pd.DataFrame:
    """Compare each model with the best baseline within each stratum.

    Parameters
    ----------
    scores
        One row for each method and unit (and split): ``method``, ``role``, the unit and the metric.
    ceiling
        Score that the noise of the data allows.
    metric
        Metric by which strata are made and methods compared. "No change" must have a score by it.
    unit
        Column (or columns) of the units. Scores of one unit are averaged.
    rng
        Seed of the bootstrap over units.

    Returns
    -------
    One row for each stratum and model: ``stratum``, ``method``, ``baseline``, ``n`` units, ``saturation`` (mean),
    ``estimate``, ``of_baseline``, ``difference``, ``difference_low``, ``difference_high`` and ``verdict``.
    """
    record = metric_of(metric)
    roles = scores.drop_duplicates("method").set_index("method")["role"]
    wide = scores.pivot_table(index=unit, columns="method", values=metric, observed=True)
    rivals = [name for name in wide if roles[name] == "baseline" and name != NOTHING]
    if NOTHING not in wide or not rivals or record.direction not in ("higher", "lower"):
        msg = (
            f"metric={metric!r} must be a judged metric by which {NOTHING!r} and another baseline have a score, e.g. "
            f"'l2' or 'energy_distance'. Evaluate with baselines=[{NOTHING!r}, ...]."
        )
        raise ValueError(msg)
    if not np.isfinite(ceiling):
        msg = (
            f"The ceiling of metric={metric!r} is not known, because no judged perturbation has cells for two halves, "
            "so no saturation can be computed. Evaluate perturbations with at least two cells."
        )
        raise ValueError(msg)
    most = wide[rivals].notna().sum()
    complete = [name for name in rivals if 2 * most[name] >= most.max()]
    best = max(complete, key=lambda name: record.sign * wide[name].mean())
    share = pd.Series(
        saturation(wide[best].to_numpy(), wide[NOTHING].to_numpy(), ceiling, sign=record.sign), wide.index
    )
    share[wide[[best, NOTHING]].isna().any(axis=1)] = np.nan
    of_unit = pd.cut(share, [-np.inf, RESISTANT, SOLVED, np.inf], labels=GROUPS[::-1])
    draws = np.random.default_rng(rng)
    rows = []
    for stratum in GROUPS:
        for method in [name for name in roles.index[roles == "model"] if name in wide]:
            both = wide.loc[of_unit == stratum, [method, best]].dropna()
            if len(both):
                rows.append(_row(stratum, str(method), best, both, share, record.sign, draws))
    return pd.DataFrame(rows)


def _row(
    stratum: str, method: str, best: str, both: pd.DataFrame, share: pd.Series, sign: float, rng: np.random.Generator
) -> dict[str, object]:
    values, of_best = both[method].to_numpy(), both[best].to_numpy()
    difference = np.where(np.isclose(values, of_best, rtol=1e-9, atol=0), 0.0, values - of_best)
    drawn = difference[rng.integers(0, len(both), (_N_BOOTSTRAP, len(both)))].mean(axis=1)
    low, high = interval(np.concatenate([[difference.mean()], drawn]), len(both))
    return {
        "stratum": stratum,
        "method": method,
        "baseline": best,
        "n": len(both),
        "saturation": float(share[both.index].mean()),
        "estimate": float(both[method].mean()),
        "of_baseline": float(both[best].mean()),
        "difference": float(difference.mean()),
        "difference_low": low,
        "difference_high": high,
        "verdict": verdict(low, high, sign=sign),
    }
