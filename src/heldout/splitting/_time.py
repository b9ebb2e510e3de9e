"""Which time points go to which partition: a forecast, an interpolation, and the series of splits made of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from heldout.splitting._groups import CODE

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    Splits = Iterator[tuple[np.ndarray, float]]


def forecast_codes(
    times: np.ndarray, *, val: np.ndarray, test: np.ndarray, train: float | None, between: str
) -> np.ndarray:
    """Codes of the time points of a forecast, (T,): all train times are before all val times, those before all test times.

    Parameters
    ----------
    times
        Sorted distinct time points, (T,).
    val, test
        Time points of these partitions, each among ``times``.
    train
        Last train time; None takes everything before the first time in ``val`` or ``test``.
    between
        Where time points after train and before the first test time go: ``"unused"`` or ``"val"``. What is neither
        train nor named after the first test time is unused.
    """
    _check_order(val=val, test=test, train=train)
    first_test = test.min()
    seen = times < min([first_test, *val]) if train is None else times <= train
    if seen.sum() < 2:
        msg = (
            f"A forecast needs at least 2 train times, or there is no change to learn from, but train would have "
            f"{shown(times[seen])} of {shown(times)}. Hold out later times, or raise train."
        )
        raise ValueError(msg)
    codes = np.full(len(times), CODE["unused"], dtype=np.int8)
    codes[~seen & (times < first_test)] = CODE[between]
    codes[seen] = CODE["train"]
    codes[np.isin(times, val)], codes[np.isin(times, test)] = CODE["val"], CODE["test"]
    if between == "val" and not (codes == CODE["val"]).any():
        msg = (
            f"between='val', but no time lies between the last train time {number(times[seen].max())} and the first test "
            f"time {number(first_test)}. Lower train to leave times for val, or name them in val."
        )
        raise ValueError(msg)
    return codes


def _check_order(*, val: np.ndarray, test: np.ndarray, train: float | None) -> None:
    first_test = test.min()
    if train is not None and first_test <= train:
        msg = (
            f"test={shown(test)} must lie after the train times, which train={number(train)} ends, or the forecast knows "
            "its answer. Lower train, take later times for test, or use direction='interpolate'."
        )
        raise ValueError(msg)
    if len(val) and not (val.max() < first_test and (train is None or val.min() > train)):
        after = "the train times" if train is None else f"train={number(train)}"
        msg = (
            f"val={shown(val)} must lie after {after} and before the first test time {number(first_test)}, or stopping "
            "looks ahead. Take a time between them, or val=() for none."
        )
        raise ValueError(msg)


def interpolation_codes(times: np.ndarray, *, val: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Codes of the time points of an interpolation, (T,): what is not held out is train, on both sides of each test time.

    Parameters
    ----------
    times
        Sorted distinct time points, (T,).
    val, test
        Time points of these partitions, each among ``times``.
    """
    codes = np.full(len(times), CODE["train"], dtype=np.int8)
    codes[np.isin(times, val)], codes[np.isin(times, test)] = CODE["val"], CODE["test"]
    seen = times[codes == CODE["train"]]
    outside = [time for time in test if not ((seen < time).any() and (seen > time).any())]
    if outside:
        msg = (
            f"test={shown(outside)} does not lie between two train times; with this choice those are {shown(seen)}. Take "
            "a middle time for test, or direction='forecast' for the last one."
        )
        raise ValueError(msg)
    return codes


def rolling_origins(times: npt.ArrayLike, min_train: int = 2) -> Splits:
    """Each later time forecast from all that came before it: pairs of train times (k,) and the one test time.

    Parameters
    ----------
    times
        Time points, repeated and in any order as in a column of cells.
    min_train
        Least number of train times, at least 1; the first pair has as many.

    Raises
    ------
    ValueError
        If a time is not finite, or there are no more time points than ``min_train``.

    Examples
    --------
    >>> import heldout as ho
    >>> [(train.tolist(), test) for train, test in ho.splitting.rolling_origins([0, 12, 12, 24, 36])]
    [([0.0, 12.0], 24.0), ([0.0, 12.0, 24.0], 36.0)]
    """
    points = _points(times)
    if min_train < 1:
        msg = f"min_train={min_train!r} must be at least 1; use 2 or more where a change is to be learnt."
        raise ValueError(msg)
    if len(points) <= min_train:
        msg = (
            f"min_train={min_train!r} leaves no time to forecast: there are only {len(points)} time points "
            f"({shown(points)}). Lower min_train to {len(points) - 1} or less."
        )
        raise ValueError(msg)
    return ((points[:k], float(points[k])) for k in range(min_train, len(points)))


def leave_one_time_out(times: npt.ArrayLike) -> Splits:
    """Each time predicted from all others: pairs of train times (T - 1,) and the one test time.

    Of the pairs, the first and the last extrapolate; those between interpolate.

    Parameters
    ----------
    times
        Time points, repeated and in any order as in a column of cells.

    Raises
    ------
    ValueError
        If a time is not finite, or there is one time point only.

    Examples
    --------
    >>> import heldout as ho
    >>> [(train.tolist(), test) for train, test in ho.splitting.leave_one_time_out([0, 12, 12, 24])]
    [([12.0, 24.0], 0.0), ([0.0, 24.0], 12.0), ([0.0, 12.0], 24.0)]
    """
    points = _points(times)
    if len(points) < 2:
        msg = f"Leaving one time out takes at least 2 time points, but there is only {shown(points)}."
        raise ValueError(msg)
    return ((np.delete(points, k), float(point)) for k, point in enumerate(points))


def _points(times: npt.ArrayLike) -> np.ndarray:
    points = np.unique(np.asarray(times, dtype=np.float64))
    if not np.isfinite(points).all():
        msg = "times has NaN or infinite values. Drop those cells first."
        raise ValueError(msg)
    return points


def number(time: Any) -> int | float:
    """Time as a plain number, whole ones as int: 36.0 reads 36."""
    return int(time) if float(time).is_integer() else float(time)


def shown(times: Any, limit: int = 12) -> str:
    """List of times for a message."""
    listed = [str(number(time)) for time in times]
    return f"[{', '.join(listed[:limit])}{', …' if len(listed) > limit else ''}]"
