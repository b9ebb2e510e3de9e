"""Split of a time course: fit on some time points, predict others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from heldout._core import cells, store
from heldout._core.keys import check_key
from heldout._core.partition import PARTITIONS, write_partition
from heldout._core.times import as_times
from heldout.splitting._groups import CODE
from heldout.splitting._time import forecast_codes, interpolation_codes, number, shown

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from mudata import MuData


def split_time(
    adata: AnnData | MuData,
    time_key: str,
    *,
    test: float | Sequence[float],
    val: float | Sequence[float] = (),
    train: float | None = None,
    between: Literal["unused", "val"] = "unused",
    direction: Literal["forecast", "interpolate"] = "forecast",
    key_added: str = "split",
    copy: bool = False,
) -> AnnData | MuData | None:
    """Hold out whole time points, to forecast what comes later or to interpolate what lies in the middle.

    In a forecast all train times are before all val times, and those before all test times; a time after the first
    test time that is not itself test becomes ``unused``. In an interpolation every time that is not held out is train,
    and each test time must have train times on both sides.

    Parameters
    ----------
    adata
        Annotated data, (n_obs × n_vars), or a MuData, see :func:`split_groups`.
    time_key
        Numeric column of ``obs``, or a categorical whose categories are numbers. Text such as ``"36h"`` is refused:
        it would have to be guessed.
    test, val
        Time point(s) that go to test and to val, each one that occurs. An empty ``val`` leaves that partition out. In
        an interpolation ``val`` may be the first or the last time.
    train
        Last train time of a forecast: 36 fits on all times up to and including 36, whether or not 36 occurs. None fits
        on everything before the first held-out time. Not for an interpolation.
    between
        Where a forecast puts the time points between the last train time and the first test time that ``val`` does not
        name.
    direction
        ``"forecast"`` never fits on a time after a test time, ``"interpolate"`` does.
    key_added
        Name of the new column.
    copy
        Return a changed copy instead of changing ``adata``.

    Returns
    -------
    ``None``, or the AnnData (MuData) if ``copy=True``. Written are:

    ``obs[key_added]``
        Categorical with the values train, val, test and unused.
    ``uns["heldout"]["splits"][key_added]``
        Scheme ``time``, parameters (with the time points of each partition under ``times``) and hash. No ``group_key``:
        a time point is not an independent unit.
    ``uns["heldout"]["assignments"]``
        The partition of each cell name, as digests, under the hash.

    Raises
    ------
    ValueError
        If the column is missing, not numeric, or has missing or infinite values; a time does not occur or is asked for
        twice; train, val and test of a forecast are not in this order, or it has fewer than two train times; or a
        test time of an interpolation is not between two train times.

    Examples
    --------
    >>> import heldout as ho
    >>> adata = ho.datasets.lmna_simulated(n_cells=20, n_genes=100)
    >>> ho.pp.split_time(adata, "day", train=9, test=30, between="val")
    >>> sorted(adata.obs.loc[adata.obs["split"] == "val", "day"].unique().tolist())
    [16, 19]
    """
    check_key("key_added", key_added)
    _check_choices(train=train, between=between, direction=direction)
    cells.check(adata)
    column = _numeric(adata, time_key)
    points, of_cell = np.unique(column.to_numpy(dtype=np.float64), return_inverse=True)
    held = {name: _asked(name, given, column, points, time_key) for name, given in (("val", val), ("test", test))}
    if not len(held["test"]):
        msg = f"test is empty; name the time(s) of time_key={time_key!r} to hold out. It has {shown(points)}."
        raise ValueError(msg)
    _check_once(held)
    if direction == "interpolate":
        codes = interpolation_codes(points, **held)
    else:
        until = None if train is None else _as_stored(train, column, argument="train")
        codes = forecast_codes(points, **held, train=until, between=between)
    params = {
        "group_key": None,
        "time_key": time_key,
        "train": None if train is None else number(train),
        **{name: [number(time) for time in times] for name, times in held.items()},
        "between": between,
        "direction": direction,
        "times": {name: [number(time) for time in points[codes == CODE[name]]] for name in PARTITIONS},
    }
    adata = cells.start(adata, copy=copy)
    write_partition(adata, codes[of_cell], key=key_added, scheme="time", params=params)
    return store.finish(adata, copy=copy)


def _check_choices(*, train: float | None, between: str, direction: str) -> None:
    for name, value, allowed in (
        ("between", between, ("unused", "val")),
        ("direction", direction, ("forecast", "interpolate")),
    ):
        if value not in allowed:
            msg = f"{name}={value!r} must be one of {store.some(allowed)}."
            raise ValueError(msg)
    if direction == "interpolate" and (train is not None or between != "unused"):
        wrong = f"train={train!r}" if train is not None else f"between={between!r}"
        msg = (
            f"{wrong} is for direction='forecast'; an interpolation trains on every time that is not held out. Leave it "
            "out, and drop the cells of other times first if they are not to be used."
        )
        raise ValueError(msg)


def _numeric(adata: AnnData | MuData, time_key: str) -> pd.Series:
    """Times of the cells; refuses what is no finite number."""
    values = cells.column(adata, time_key, argument="time_key")
    if not adata.n_obs:
        msg = "adata has no cells, so there is nothing to split. Look at the filter before."
        raise ValueError(msg)
    return as_times(values, time_key)


def _asked(argument: str, given: Any, column: pd.Series, points: np.ndarray, time_key: str) -> np.ndarray:
    """Times that an argument names, (k,) float64; each must occur."""
    several = isinstance(given, Iterable) and not isinstance(given, str)
    times = np.array([_as_stored(time, column, argument=argument) for time in (given if several else [given])])
    for time in times:
        if time not in points:
            near = points[np.argsort(np.abs(points - time), kind="stable")[:3]]
            msg = (
                f"{argument}={number(time)} is not a time of time_key={time_key!r}. The nearest are {shown(sorted(near))}; "
                f"there are {shown(points)}."
            )
            raise ValueError(msg)
    return times


def _as_stored(time: Any, column: pd.Series, *, argument: str) -> float:
    """Time in the precision of the column, so that 0.1 finds the 0.1 of a float32 column."""
    plain = isinstance(time, int | float | np.integer | np.floating) and not isinstance(time, bool)
    if not plain or not np.isfinite(time):
        msg = f"{argument}={time!r} must be a finite number, as the values of time_key are."
        raise ValueError(msg)
    dtype = getattr(column.dtype, "numpy_dtype", column.dtype)
    return float(dtype.type(time)) if dtype.kind == "f" else float(time)


def _check_once(held: dict[str, np.ndarray]) -> None:
    every, times = np.unique(np.concatenate(list(held.values())), return_counts=True)
    if (times > 1).any():
        msg = (
            f"The time {number(every[times > 1][0])} is asked for more than once in val={shown(held['val'])} and "
            f"test={shown(held['test'])}. A time can be in one partition only, once: take it out of one."
        )
        raise ValueError(msg)
