"""Assign time points to partitions: forecasts, interpolations, and series of such splits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from heldout._core.checks import check_integer
from heldout.splitting._groups import CODE

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    Splits = Iterator[tuple[np.ndarray, float]]


def forecast_codes(
    times: np.ndarray, *, val: np.ndarray, test: np.ndarray, train: float | None, between: str
) -> np.ndarray:
    """Return the partition code of each time point of a forecast, (T,).

    All train times are before all val times, and all val times are before all test times.

    Parameters
    ----------
    times
        Sorted distinct time points, (T,).
    val, test
        Time points of these partitions. Each is in ``times``.
    train
        Last train time. If None, all times before the first time in ``val`` or ``test`` are train.
    between
        Partition of the time points between train and the first test time, ``"unused"`` or ``"val"``. A time point
        after the first test time that is not named is unused.
    """
    _check_order(val=val, test=test, train=train)
    first_test = test.min()
    seen = times < min([first_test, *val]) if train is None else times <= train
    if seen.sum() < 2:
        msg = (
            f"A forecast needs at least 2 train times to learn a change, but train has {shown(times[seen])} of "
            f"{shown(times)}. Hold out later times, or raise train."
        )
        raise ValueError(msg)
    codes = np.full(len(times), CODE["unused"], dtype=np.int8)
    codes[~seen & (times < first_test)] = CODE[between]
    codes[seen] = CODE["train"]
    codes[np.isin(times, val)], codes[np.isin(times, test)] = CODE["val"], CODE["test"]
    if between == "val" and not (codes == CODE["val"]).any():
        msg = (
            f"between='val', but there is no time between the last train time {number(times[seen].max())} and the "
            f"first test time {number(first_test)}. Lower train to leave times for val, or name them in val."
        )
        raise ValueError(msg)
    return codes


def _check_order(*, val: np.ndarray, test: np.ndarray, train: float | None) -> None:
    first_test = test.min()
    if train is not None and first_test <= train:
        msg = (
            f"test={shown(test)} must be after the last train time, train={number(train)}; otherwise the forecast "
            "was trained on its answer. Lower train, choose later times for test, or use direction='interpolate'."
        )
        raise ValueError(msg)
    if len(val) and not (val.max() < first_test and (train is None or val.min() > train)):
        after = "the train times" if train is None else f"train={number(train)}"
        msg = (
            f"val={shown(val)} must be after {after} and before the first test time {number(first_test)}; otherwise "
            "early stopping looks ahead. Choose a time between them, or val=() for none."
        )
        raise ValueError(msg)


def interpolation_codes(times: np.ndarray, *, val: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Return the partition code of each time point of an interpolation, (T,).

    All times that are not held out are train. Each test time has train times on both sides.

    Parameters
    ----------
    times
        Sorted distinct time points, (T,).
    val, test
        Time points of these partitions. Each is in ``times``.
    """
    codes = np.full(len(times), CODE["train"], dtype=np.int8)
    codes[np.isin(times, val)], codes[np.isin(times, test)] = CODE["val"], CODE["test"]
    seen = times[codes == CODE["train"]]
    outside = [time for time in test if not ((seen < time).any() and (seen > time).any())]
    if outside:
        msg = (
            f"test={shown(outside)} is not between two train times; the train times are {shown(seen)}. Choose a "
            "middle time for test, or direction='forecast' for the last time."
        )
        raise ValueError(msg)
    return codes


def rolling_origins(times: npt.ArrayLike, min_train: int = 2) -> Splits:
    """Yield splits that forecast each later time from all times before it.

    Each item is a pair: the train times (k,) and one test time.

    Parameters
    ----------
    times
        Time points, in any order and with repeats, as in a column of ``obs``.
    min_train
        Number of train times of the first pair, an integer >= 1.

    Raises
    ------
    ValueError
        If a time is not finite, or if there are not more than ``min_train`` distinct time points.

    Examples
    --------
    >>> import heldout as ho
    >>> [(train.tolist(), test) for train, test in ho.splitting.rolling_origins([0, 12, 12, 24, 36])]
    [([0.0, 12.0], 24.0), ([0.0, 12.0, 24.0], 36.0)]
    """
    points = _points(times)
    check_integer(min_train, "min_train", least=1)
    if len(points) <= min_train:
        msg = (
            f"min_train={min_train!r} leaves no time to forecast, because there are only {len(points)} time points "
            f"({shown(points)}). Lower min_train to {len(points) - 1} or less."
        )
        raise ValueError(msg)
    return ((points[:k], float(points[k])) for k in range(min_train, len(points)))


def leave_one_time_out(times: npt.ArrayLike) -> Splits:
    """Yield splits that predict each time from all other times.

    Each item is a pair: the train times (T - 1,) and one test time. The first and the last pair extrapolate. The others
    interpolate.

    Parameters
    ----------
    times
        Time points, in any order and with repeats, as in a column of ``obs``.

    Raises
    ------
    ValueError
        If a time is not finite, or if there is only one distinct time point.

    Examples
    --------
    >>> import heldout as ho
    >>> [(train.tolist(), test) for train, test in ho.splitting.leave_one_time_out([0, 12, 12, 24])]
    [([12.0, 24.0], 0.0), ([0.0, 24.0], 12.0), ([0.0, 12.0], 24.0)]
    """
    points = _points(times)
    if len(points) < 2:
        msg = f"Leaving one time out needs at least 2 time points, but there is only {shown(points)}."
        raise ValueError(msg)
    return ((np.delete(points, k), float(point)) for k, point in enumerate(points))


def _points(times: npt.ArrayLike) -> np.ndarray:
    points = np.unique(np.asarray(times, dtype=np.float64))
    if not np.isfinite(points).all():
        msg = "times has NaN or infinite values. Drop those cells first."
        raise ValueError(msg)
    return points


def number(time: Any) -> int | float:
    """Return a time as a plain number. Integers become int, so 36.0 is shown as 36."""
    return int(time) if float(time).is_integer() else float(time)


def shown(times: Any, limit: int = 12) -> str:
    """Return a list of times as text for a message."""
    texts = [str(number(time)) for time in times]
    return f"[{', '.join(texts[:limit])}{', …' if len(texts) > limit else ''}]"
