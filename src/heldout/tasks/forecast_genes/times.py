"""Choose the times of the history and the target time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from heldout._core.times import times_text

FEWEST_TIMES = 3
"""Minimum number of times of the history."""


def choose_times(time: np.ndarray, *, at: float | None, history: Any, time_key: str) -> tuple[float, np.ndarray]:
    """Return the target time, and the times of the history in ascending order.

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
        before = np.unique([_point(time, points, "history", time_key) for time in history])
    late = before[before >= target]
    if len(late):
        msg = (
            f"at={target:g} must be later than all times of the history ({times_text(before)}). Choose a later at=, or "
            f"leave {times_text(late)} out of history=."
        )
        raise ValueError(msg)
    if len(before) < FEWEST_TIMES:
        msg = (
            f"The history has {len(before)} times ({times_text(before) or 'none'}) before at={target:g}; a forecast "
            "needs at least "
            f"{FEWEST_TIMES}. time_key={time_key!r} has {times_text(points)}."
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
