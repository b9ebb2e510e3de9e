"""Train cells that a fit stores, for methods that need them to predict."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from heldout._core.method import Fitted
    from heldout.tasks.forecast.interface import Snapshots

MOST = 4000
"""Maximum number of cells that are kept of each time."""


def keep_cells(data: Snapshots, *, seed: int, most: int = MOST) -> dict[str, np.ndarray]:
    """Times and cells, and the growth of the cells if it is known, as arrays of a fit."""
    rng = np.random.default_rng(seed)
    rows = [thinned(np.arange(len(c)), most, seed=rng) for c in data.cells]
    arrays = {
        "times": np.asarray(data.times, dtype=np.float64),
        "sizes": np.array([len(kept) for kept in rows]),
        "cells": np.concatenate([c[kept] for c, kept in zip(data.cells, rows, strict=True)]).astype(np.float32),
    }
    if data.growth is not None:
        arrays["cell_growth"] = np.concatenate([g[kept] for g, kept in zip(data.growth, rows, strict=True)])
    return arrays


def thinned(cells: np.ndarray, most: int, *, seed: int | np.random.Generator) -> np.ndarray:
    """At most ``most`` random cells, in their order."""
    if len(cells) <= most:
        return cells
    return cells[np.sort(np.random.default_rng(seed).choice(len(cells), most, replace=False))]


def kept_cells(fitted: Fitted) -> tuple[np.ndarray, list[np.ndarray]]:
    """Inverse of :func:`keep_cells`: times (T,) and their cells."""
    cells = fitted.arrays["cells"].astype(np.float64)
    return fitted.arrays["times"], np.split(cells, np.cumsum(fitted.arrays["sizes"])[:-1])


def kept_growth(fitted: Fitted) -> list[np.ndarray] | None:
    """Growth of the cells that are kept, if it is known."""
    found = fitted.arrays.get("cell_growth")
    return None if found is None else np.split(found, np.cumsum(fitted.arrays["sizes"])[:-1])


def nearest(start: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Row of ``known`` that is nearest to each row of ``start``, or the same row if the two are equal."""
    from scipy.spatial import cKDTree

    if len(start) == len(known) and np.allclose(start, known, rtol=1e-4, atol=1e-4):
        return np.arange(len(start))
    return np.asarray(cKDTree(known).query(start)[1])
