"""What bootstrap draws over independent units allow to be said of a score, and of the best baseline beside it."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtri, stdtrit

FEW = 10
"""Units below which an interval holds for normal scores only: of skewed ones so few units say too little."""

FEWEST = 3
"""Units below which there is no interval."""


def interval(values: np.ndarray, n_units: int) -> tuple[float, float]:
    """95 % interval from the estimate, which stands first, and its draws; NaN with too few units.

    The percentiles of draws are too near to the estimate where units are few (of nominal 95 % intervals over three
    normal values 73 % hold). They are moved away from it as Student's interval is wider than the normal one: by 169 %
    with three units, 22 % with ten and 2 % with a hundred.
    """
    draws = values[1:][np.isfinite(values[1:])]
    if n_units < FEWEST or not len(draws) or not np.isfinite(values[0]):
        return np.nan, np.nan
    wider = np.sqrt(n_units / (n_units - 1)) * stdtrit(n_units - 1, 0.975) / ndtri(0.975)
    low, high = values[0] + wider * (np.percentile(draws, [2.5, 97.5]) - values[0])
    return float(low), float(high)


def against(best: str | None, difference: np.ndarray, *, sign: float, n_units: int) -> dict[str, object]:
    """Columns of a table: the paired difference to the best baseline on the same draws, and the verdict it allows.

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
        "verdict": verdict(*sorted((sign * low, sign * high))),
    }


def verdict(low: float, high: float) -> str:
    """What the interval of a difference allows to be said, a positive one being good."""
    if not np.isfinite(low):
        return "unidentifiable"
    return "better" if low > 0 else "not better" if high <= 0 else "undecided"


def few_units(n_units: int, unit: str) -> str:
    """Note on an interval over few units, empty where there are enough."""
    if n_units < FEWEST:
        return f"{n_units} {unit}s: no interval"
    return f"{n_units} {unit}s: interval rough" if n_units < FEW else ""
