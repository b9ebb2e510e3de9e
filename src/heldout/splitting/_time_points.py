"""Time points of the cells, and the time points that arguments name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from heldout._core import cells
from heldout._core.times import as_times
from heldout.splitting._time import number, shown

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from mudata import MuData


def numeric_times(adata: AnnData | MuData, time_key: str) -> pd.Series:
    """Return the time of each cell. Refuse a value that is not a finite number."""
    values = cells.column(adata, time_key, argument="time_key")
    if not adata.n_obs:
        msg = "adata has no cells, so there is nothing to split. Check the filter that was used before."
        raise ValueError(msg)
    return as_times(values, time_key)


def requested_times(argument: str, given: Any, column: pd.Series, points: np.ndarray, time_key: str) -> np.ndarray:
    """Return the times that an argument names, (k,) float64. Refuse a time that does not occur."""
    several = isinstance(given, Iterable) and not isinstance(given, str)
    times = np.array([as_stored(time, column, argument=argument) for time in (given if several else [given])])
    for time in times:
        if time not in points:
            near = points[np.argsort(np.abs(points - time), kind="stable")[:3]]
            msg = (
                f"{argument}={number(time)} is not a time of time_key={time_key!r}. The nearest times are "
                f"{shown(sorted(near))}. All times are {shown(points)}."
            )
            raise ValueError(msg)
    return times


def as_stored(time: Any, column: pd.Series, *, argument: str) -> float:
    """Return a time in the precision of the column, so that 0.1 finds the 0.1 of a float32 column."""
    is_number = isinstance(time, int | float | np.integer | np.floating) and not isinstance(time, bool)
    if not is_number or not np.isfinite(time):
        msg = f"{argument}={time!r} must be a finite number, like the values of time_key."
        raise ValueError(msg)

    dtype = getattr(column.dtype, "numpy_dtype", column.dtype)
    return float(dtype.type(time)) if dtype.kind == "f" else float(time)


def check_once(held: dict[str, np.ndarray]) -> None:
    """Refuse a time that is named more than once."""
    every, times = np.unique(np.concatenate(list(held.values())), return_counts=True)
    if (times > 1).any():
        msg = (
            f"The time {number(every[times > 1][0])} is named more than once in val={shown(held['val'])} and "
            f"test={shown(held['test'])}. A time can be in one partition only. Remove it from one of them."
        )
        raise ValueError(msg)
