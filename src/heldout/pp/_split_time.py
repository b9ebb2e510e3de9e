"""Split a time course: fit on some time points, predict others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from heldout._core import cells, store
from heldout._core.checks import check_choice
from heldout._core.keys import check_key
from heldout._core.partition import PARTITIONS, write_partition
from heldout.pp._shares import warn_all_train
from heldout.splitting._groups import CODE
from heldout.splitting._time import forecast_codes, interpolation_codes, number, shown
from heldout.splitting._time_points import as_stored, check_once, numeric_times, requested_times

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from mudata import MuData


def split_time(
    adata: AnnData | MuData,
    time_key: str,
    *,
    test: float | Sequence[float] | None,
    val: float | Sequence[float] = (),
    train: float | None = None,
    between: Literal["unused", "val"] = "unused",
    direction: Literal["forecast", "interpolate"] = "forecast",
    key_added: str = "split",
    copy: bool = False,
) -> AnnData | MuData | None:
    """Hold out whole time points, to forecast later times or to interpolate between times.

    In a forecast, all train times are before all val times, and all val times are before all test times. A time after
    the first test time that is not test becomes ``unused``. In an interpolation, every time that is not held out is
    train, and each test time has train times on both sides.

    Parameters
    ----------
    adata
        Annotated data, (n_obs × n_vars), or a MuData, see :func:`split_groups`.
    time_key
        Numeric column of ``obs``, or a categorical whose categories are numbers. Text such as ``"36h"`` is refused;
        :func:`numeric_time` turns it into numbers.
    test, val
        Time point(s) of test and of val. Each must occur in the column. If ``val`` is empty, there is no val. In an
        interpolation, ``val`` may be the first or the last time. With ``test=None`` and no ``val``, all times are
        train: a fit then uses all data to predict later times, and it cannot be scored.
    train
        Last train time of a forecast. For example, 36 fits on all times up to and including 36, whether or not 36
        occurs. If None, all times before the first held-out time are train. Not used for an interpolation.
    between
        Partition of the time points of a forecast that are after the last train time and before the first test time,
        and that ``val`` does not name.
    direction
        ``"forecast"`` never fits on a time after a test time. ``"interpolate"`` does.
    key_added
        Name of the new column.
    copy
        Return a changed copy instead of changing ``adata``.

    Returns
    -------
    ``None``, or the AnnData (MuData) if ``copy=True``. The function writes:

    ``obs[key_added]``
        Categorical with the values train, val, test and unused.
    ``uns["heldout"]["splits"][key_added]``
        Scheme ``time``, parameters and hash. The parameter ``times`` has the time points of each partition. There is no
        ``group_key``, because a time point is not an independent unit.
    ``uns["heldout"]["assignments"]``
        The partition of each cell name, as digests, under the hash.

    Raises
    ------
    ValueError
        If the column is missing, is not numeric, or has missing or infinite values. If a time does not occur or is
        named twice. If train, val and test of a forecast are not in this order, or a forecast has fewer than two train
        times. If a test time of an interpolation is not between two train times.

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
    column = numeric_times(adata, time_key)
    points, of_cell = np.unique(column.to_numpy(dtype=np.float64), return_inverse=True)
    held = {
        name: requested_times(name, given, column, points, time_key)
        for name, given in (("val", val), ("test", () if test is None else test))
    }
    if test is not None and not len(held["test"]):
        msg = (
            f"test is empty. Name the time(s) of time_key={time_key!r} to hold out. The times are {shown(points)}. To "
            "fit on all times, pass test=None."
        )
        raise ValueError(msg)
    check_once(held)
    if test is None:
        codes = _all_train(points, held["val"], train=train, between=between)
    elif direction == "interpolate":
        codes = interpolation_codes(points, **held)
    else:
        last_train = None if train is None else as_stored(train, column, argument="train")
        codes = forecast_codes(points, **held, train=last_train, between=between)
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


def _all_train(points: np.ndarray, val: np.ndarray, *, train: float | None, between: str) -> np.ndarray:
    """Partition codes if nothing is held out. Refuse arguments that hold out other times."""
    if len(val) or train is not None or between != "unused":
        msg = "test=None puts all times into train, so val, train and between have no use. Leave them out."
        raise ValueError(msg)
    warn_all_train("test=None")
    return np.full(len(points), CODE["train"], dtype=np.int8)


def _check_choices(*, train: float | None, between: str, direction: str) -> None:
    check_choice(between, "between", ("unused", "val"))
    check_choice(direction, "direction", ("forecast", "interpolate"))
    if direction == "interpolate" and (train is not None or between != "unused"):
        wrong = f"train={train!r}" if train is not None else f"between={between!r}"
        msg = (
            f"{wrong} works only with direction='forecast'. An interpolation trains on every time that is not held "
            "out. Leave the argument out. To exclude other times, drop their cells first."
        )
        raise ValueError(msg)
