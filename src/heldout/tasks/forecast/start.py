"""Cells that a stored forecast starts from, in its space."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from heldout._core.method import without_prefix
from heldout._core.partition import read_partition
from heldout._core.times import cell_times
from heldout.tasks.forecast.encoding import coordinates
from heldout.tasks.forecast.shrinkage import Shrinkage
from heldout.tasks.forecast.space import Space

if TYPE_CHECKING:
    from anndata import AnnData

    from heldout._core.fits import Fit


def start_cells(adata: AnnData, fit: Fit, at: float, *, train_only: bool) -> tuple[np.ndarray, float]:
    """Row numbers of the cells to start from, and their time, which is the latest train time before ``at``.

    With ``train_only`` only the train cells of that time are used. Without it, all cells of new data are used.
    """
    train = np.array(fit.info["train_times"])
    start_time = float(train[train < at][-1])
    here = cell_times(adata, fit.info["time_key"]) == start_time
    if train_only:
        here &= read_partition(adata, fit.split_key).mask("train")
    if not here.any():
        msg = (
            f"adata has no cells at {fit.info['time_key']}={start_time:g}, the latest train time before at={at:g}. "
            "The prediction starts from these cells. Pass the AnnData that the fit was made on, or new cells of that "
            "time."
        )
        raise ValueError(msg)
    return np.flatnonzero(here), start_time


def cells_at(
    adata: AnnData, fit: Fit, at: float, *, key: str, layer: str | None = None, train_only: bool = True
) -> tuple[np.ndarray, float, np.ndarray]:
    """Row numbers of the start cells of a prediction, their time, and their coordinates (n × k).

    Train cells are placed as other cells are. Without ``train_only`` the cells are new, and stay where they are.
    """
    rows, start_time = start_cells(adata, fit, at, train_only=train_only)
    layer = fit.info["layer"] if layer is None else layer
    space, columns = space_of(fit), fit.columns(adata.var_names, key=key)
    start = coordinates(adata, rows, columns, space, layer)
    if train_only:
        start = space.as_new(start, fit.info["train_times"].index(start_time))
    return rows, start_time, start


def space_of(fit: Fit) -> Space:
    """The space of a stored fit."""
    arrays = without_prefix(fit.arrays, "space.")
    factors = {name: arrays.pop(name) for name in ("within", "between") if name in arrays}
    return Space(**arrays, shrinkage=Shrinkage(**factors) if factors else None)
