"""Times of cells: numbers in obs, and how they are shown in messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from heldout._core import store

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData


def as_times(values: pd.Series, time_key: str) -> pd.Series:
    """Return times as a numeric column; categories that are numbers become numbers.

    Raises
    ------
    ValueError
        If the values are not numbers, or some are infinite.
    """
    numeric = values
    if isinstance(values.dtype, pd.CategoricalDtype):
        numeric = values.astype(values.cat.categories.dtype)
    if numeric.dtype.kind not in "iuf":
        msg = (
            f"adata.obs[{time_key!r}] (time_key) is {values.dtype}, not numeric (e.g. {store.some(numeric.unique())}). "
            f"Run {numeric_time_call(time_key)} and pass time_key='numeric_time'."
        )
        raise ValueError(msg)
    infinite = int((~np.isfinite(numeric.to_numpy(dtype=np.float64))).sum())
    if infinite:
        msg = (
            f"adata.obs[{time_key!r}] (time_key) has {infinite} infinite values in {len(numeric)} cells. Drop those "
            "cells: "
            f"adata = adata[np.isfinite(adata.obs[{time_key!r}])].copy()"
        )
        raise ValueError(msg)
    return numeric


def numeric_time_call(time_key: str) -> str:
    """The call that turns a column of times into numbers, for a message."""
    return f"heldout.pp.numeric_time(adata, {time_key!r})"


def cell_times(adata: AnnData, time_key: str) -> np.ndarray:
    """Time of each cell, (n_obs,) float64; see :func:`as_times`."""
    column = store.column(adata, time_key, argument="time_key")
    return as_times(column, time_key).to_numpy(dtype=np.float64)


def times_text(times: Sequence[float] | np.ndarray) -> str:
    """Times as text, at most twelve of them."""
    shown = ", ".join(f"{time:g}" for time in times[:12])
    return f"{shown} and {len(times) - 12} more" if len(times) > 12 else shown
