"""Turn a column of written times into numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from heldout._core import store
from heldout._core.keys import check_key
from heldout._core.words import counted
from heldout.splitting._read_times import ReadTimes, read_times
from heldout.splitting._time_text import SECONDS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData


def numeric_time(
    adata: AnnData,
    time_key: str,
    *,
    unit: str | None = None,
    values: Mapping[str, float | None] | None = None,
    key_added: str = "numeric_time",
    copy: bool = False,
) -> AnnData | None:
    """Turn times that are text, categories, bins or time differences into numbers.

    It reads times such as ``"36"``, ``"36 h"``, ``"day 3"``, ``"E8.5"``, ``"270-330"``, ``"> 650"`` and
    ``"1 days 12:00:00"``, and columns of intervals and of time differences. All times must have the same prefix and
    the same unit, so that ``"E18"`` and ``"P2"``, or ``"90 min"`` and ``"2 h"``, are not put in a wrong order. A bin
    becomes its middle, and an open bin becomes its limit. The function logs the number of each time, and how it read
    the bins, the hyphens and the zeros.

    Parameters
    ----------
    adata
        Annotated data, (n_obs × n_vars).
    time_key
        Column of ``obs`` with the times.
    unit
        Convert all times to this unit: ``"s"``, ``"min"``, ``"h"``, ``"d"`` or ``"w"``. If None, the unit of the column
        is kept, and all times must have the same unit. Time differences then become the largest unit in which they are
        integers.
    values
        Number of each value that cannot be read or should be read otherwise, for example
        ``{"iPSC": 0, "> 650": 700, "mixed": None}``. None stands for a missing time.
    key_added
        Name of the new column.
    copy
        Return a changed copy instead of changing ``adata``.

    Returns
    -------
    ``None``, or the AnnData if ``copy=True``. Sets the following field:

    ``obs[key_added]``
        Time of each cell, float64, (n_obs,). Missing values stay missing.

    Raises
    ------
    ValueError
        If the column is missing or has no times, if a value is not a time, if prefixes or units differ, if two
        different times get the same number, or if the numbers contradict the order of an ordered categorical.

    Examples
    --------
    >>> import heldout as ho
    >>> adata = ho.datasets.lmna_simulated(n_cells=20, n_genes=100)
    >>> adata.obs["stage"] = "day " + adata.obs["day"].astype(str)
    >>> ho.pp.numeric_time(adata, "stage")
    >>> ho.pp.split_time(adata, "numeric_time", test=30)
    """
    check_key("key_added", key_added)
    adata = store.start(adata, copy=copy)
    column = store.column(adata, time_key, argument="time_key", allow_missing=True)
    if key_added == time_key:
        msg = f"key_added={key_added!r} is time_key, whose values would be lost. Choose another name."
        raise ValueError(msg)
    missing = column.isna().to_numpy()
    if missing.all():
        msg = f"time_key={time_key!r} has no values. Name a column with times."
        raise ValueError(msg)
    texts = _texts(column[~missing], time_key, unit)
    distinct = list(dict.fromkeys(texts))
    found = read_times(distinct, time_key, unit=unit or _whole_unit(column, distinct), values=values)
    numbers = np.full(adata.n_obs, np.nan)
    numbers[~missing] = [found.numbers[text] for text in texts]
    _check_order(column, numbers, time_key)
    _say(found, time_key, key_added, int(np.isnan(numbers).sum()))
    store.commit(adata, obs={key_added: numbers})
    return store.finish(adata, copy=copy)


def _texts(values: pd.Series, time_key: str, unit: str | None) -> list[str]:
    """Return each time as text. Refuse dates and truth values."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        values = values.astype(values.cat.categories.dtype)
    if values.dtype.kind in "mM":
        if values.dtype.kind == "M":
            msg = (
                f"time_key={time_key!r} has dates, which have no zero. Subtract the first date: "
                f"adata.obs['elapsed'] = adata.obs[{time_key!r}] - adata.obs[{time_key!r}].min(), then pass 'elapsed'."
            )
            raise ValueError(msg)
        return [f"{seconds!r} s" for seconds in values.dt.total_seconds()]
    if pd.api.types.is_bool_dtype(values.dtype):
        msg = f"time_key={time_key!r} has truth values, not times. Name a column with times."
        raise ValueError(msg)
    if unit is not None and pd.api.types.is_numeric_dtype(values.dtype):
        msg = f"unit={unit!r} cannot be used, because time_key={time_key!r} has numbers without a unit. Leave unit out."
        raise ValueError(msg)
    return store.as_names(values).tolist()


def _whole_unit(column: pd.Series, distinct: list[str]) -> str | None:
    """Return the largest unit in which all time differences are integers, or None for other columns."""
    dtype = column.cat.categories.dtype if isinstance(column.dtype, pd.CategoricalDtype) else column.dtype
    clocks = all(":" in text for text in distinct)
    if getattr(dtype, "kind", "O") != "m" and not clocks:
        return None
    seconds = pd.to_timedelta(distinct).total_seconds() if clocks else [float(text.split()[0]) for text in distinct]
    whole = [unit for unit, length in SECONDS.items() if unit != "w" and all(s % length == 0 for s in seconds)]
    return whole[-1] if whole else "s"


def _check_order(column: pd.Series, numbers: np.ndarray, time_key: str) -> None:
    """Refuse numbers that contradict the order of an ordered categorical."""
    if not isinstance(column.dtype, pd.CategoricalDtype) or not column.cat.ordered:
        return
    codes = column.cat.codes.to_numpy()
    known = ~np.isnan(numbers)
    categories, first = np.unique(codes[known], return_index=True)
    in_order = numbers[known][first]
    wrong = np.flatnonzero(np.diff(in_order) < 0)
    if len(wrong):
        before, after = (str(column.cat.categories[categories[i]]) for i in (wrong[0], wrong[0] + 1))
        msg = (
            f"time_key={time_key!r} is ordered with {before!r} before {after!r}, but they read as "
            f"{in_order[wrong[0]]:g} and {in_order[wrong[0] + 1]:g}. Correct the order of the categories, or pass "
            "their numbers in values."
        )
        raise ValueError(msg)


def _say(found: ReadTimes, time_key: str, added: str, n_missing: int) -> None:
    """Log the number of each time, and what was decided to read it."""
    ordered = sorted(found.numbers.items(), key=lambda pair: (np.isnan(pair[1]), pair[1]))
    more = f" and {len(ordered) - 12} more" if len(ordered) > 12 else ""
    shown = ", ".join(f"{text!r} = {number:g}" for text, number in ordered[:12]) + more
    notes = [*found.decisions, *([f"no time in {counted(n_missing, 'cell')}"] if n_missing else [])]
    store.logger.warning(
        "obs[%r] has the times of obs[%r] as numbers with %s: %s.%s",
        added,
        time_key,
        found.unit,
        shown,
        f" Note: {'; '.join(notes)}." if notes else "",
    )
