"""Times of the cells, and which of them are history and target."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from heldout._core import store

if TYPE_CHECKING:
    from anndata import AnnData

FEWEST_TIMES = 3
"""Times of the history below which there is no course to learn from."""


def numeric_times(adata: AnnData, time_key: str) -> np.ndarray:
    """Time of each cell, (n_obs,) float64; refuses what is no finite number."""
    series = store.column(adata, time_key, argument="time_key")
    if isinstance(series.dtype, pd.CategoricalDtype):
        series = series.astype(series.cat.categories.dtype)
    if series.dtype.kind not in "iuf":
        msg = (
            f"adata.obs[{time_key!r}] (time_key) is {adata.obs[time_key].dtype}, not numeric (e.g. "
            f"{store.some(series.unique())}); steps between times have a length. Make it numbers first, e.g. "
            f"pd.to_numeric(adata.obs[{time_key!r}].astype(str).str.extract(r'([-0-9.]+)')[0])"
        )
        raise ValueError(msg)
    time = series.to_numpy(dtype=np.float64)
    if not np.isfinite(time).all():
        msg = f"adata.obs[{time_key!r}] (time_key) has {int((~np.isfinite(time)).sum())} infinite values. Drop those cells."
        raise ValueError(msg)
    return time


def choose_times(time: np.ndarray, *, at: float | None, history: Any, time_key: str) -> tuple[float, np.ndarray]:
    """The target time, and the times of the history in ascending order.

    Raises
    ------
    ValueError
        If a time does not occur, the target is not after the history, or the history has fewer than three times.
    """
    points = np.unique(time)
    target = float(points[-1]) if at is None else _point(at, points, "at", time_key)
    if history is None:
        before = points[points < target]
    else:
        if isinstance(history, str) or not isinstance(history, Sequence | np.ndarray):
            msg = f"history={history!r} must be a list of times of time_key={time_key!r}; it has {times_text(points)}."
            raise ValueError(msg)
        before = np.unique([_point(one, points, "history", time_key) for one in history])
    late = before[before >= target]
    if len(late):
        msg = (
            f"at={target:g} is not after the history ({times_text(before)}): a forecast looks ahead. Choose a later at=, or "
            f"leave {times_text(late)} out of history=."
        )
        raise ValueError(msg)
    if len(before) < FEWEST_TIMES:
        msg = (
            f"The history has {len(before)} times ({times_text(before) or 'none'}) before at={target:g}; a forecast needs at least "
            f"{FEWEST_TIMES} training times. time_key={time_key!r} has {times_text(points)}."
        )
        raise ValueError(msg)
    return target, before


def _point(value: float, points: np.ndarray, argument: str, time_key: str) -> float:
    number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    at = np.flatnonzero(np.isclose(points, float(value), rtol=1e-6, atol=0)) if number else np.array([])
    if not len(at):
        msg = f"{argument}={value!r} is not a time of time_key={time_key!r}, which has {times_text(points)}."
        raise ValueError(msg)
    return float(points[at[0]])


def times_text(times: np.ndarray) -> str:
    """Times as text, at most twelve."""
    shown = ", ".join(f"{time:g}" for time in times[:12])
    return f"{shown} and {len(times) - 12} more" if len(times) > 12 else shown
