"""Intervals from bootstrap draws over independent units, and the verdict on a difference to a baseline."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtri, stdtrit

from heldout._core.words import counted

FEW = 10
"""With fewer units (of a class, in a classification) an interval is rough: it is valid for normal scores only."""

FEWEST = 3
"""With fewer units there is no interval."""


def interval(values: np.ndarray, n_units: int) -> tuple[float, float]:
    """95 % interval from the estimate, which comes first, and its draws. NaN with too few units.

    With few units the percentiles of the draws are too close to the estimate: of nominal 95 % intervals over three
    normal values, 73 % contain the true value. So they are moved away from it by the ratio of Student's interval to the
    normal interval: by 169 % with three units, 22 % with ten and 2 % with a hundred.
    """
    draws = values[1:][np.isfinite(values[1:])]
    if n_units < FEWEST or not len(draws) or not np.isfinite(values[0]):
        return np.nan, np.nan
    wider = np.sqrt(n_units / (n_units - 1)) * stdtrit(n_units - 1, 0.975) / ndtri(0.975)
    low, high = values[0] + wider * (np.percentile(draws, [2.5, 97.5]) - values[0])
    return float(low), float(high)


def against(best: str | None, difference: np.ndarray, *, sign: float, n_units: int) -> dict[str, object]:
    """Columns of a table: the paired difference to the best baseline on the same draws, and the verdict.

    Parameters
    ----------
    best
        Name of the best baseline, None if no baseline has a score.
    difference
        Score of the method minus that of the baseline, the estimate first, then its draws.
    sign
        1 if a higher score is better, -1 if a lower one is.
    n_units
        Number of independent units behind the draws.
    """
    if best is None or not np.isfinite(difference[0]):
        return {"baseline": best or "", "verdict": "unidentifiable"}
    low, high = interval(difference, n_units)
    row: dict[str, object] = {"baseline": best, "difference": float(difference[0])}
    if not np.isfinite(low):
        return {**row, "verdict": verdict(low, high)}
    return {
        **row,
        "difference_low": low,
        "difference_high": high,
        "verdict": verdict(low, high, sign=sign),
    }


def verdict(low: float, high: float, *, sign: float = 1.0) -> str:
    """Verdict on a difference to a baseline, from its interval.

    Parameters
    ----------
    low, high
        Interval of the score of the method minus that of the baseline. NaN if there is none.
    sign
        1 if a higher score is better, -1 if a lower one is.

    Returns
    -------
    ``better``, ``not better``, ``undecided``, or ``unidentifiable`` if there is no interval.
    """
    if not np.isfinite([low, high]).all():
        return "unidentifiable"
    worst, best = sorted((sign * low, sign * high))
    return "better" if worst > 0 else "not better" if best <= 0 else "undecided"


def few_units(n_units: int, unit: str) -> str:
    """Note on an interval over few units. Empty if there are enough units."""
    if n_units < FEWEST:
        return f"{counted(n_units, unit)}: no interval"
    return f"{counted(n_units, unit)}: the interval is rough" if n_units < FEW else ""
