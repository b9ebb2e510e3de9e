"""Coordinates of cells of an AnnData in the spaces of forecasts."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from heldout._core.arrays import get_matrix, row_chunks, take
from heldout._core.lazy import over_blocks
from heldout._core.types import is_dask
from heldout.tasks.forecast.space import encode_in
from heldout.tasks.forecast.sums import ROWS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

    from heldout.tasks.forecast.space import Space


def coordinates(adata: AnnData, rows: np.ndarray, columns: np.ndarray, space: Space, layer: str | None) -> np.ndarray:
    """Coordinates of some cells, (n × k) float64. They do not depend on the order of the other cells."""
    return coordinates_in([space], adata, rows, columns, layer)[0]


def coordinates_in(
    spaces: Sequence[Space], adata: AnnData, rows: np.ndarray, columns: np.ndarray, layer: str | None
) -> list[np.ndarray]:
    """Coordinates of some cells in each space. The cells are read once."""
    X = get_matrix(adata, layer, dask=True)
    if is_dask(X):
        ascending, back = np.unique(rows, return_inverse=True)  # so that each block is read once
        X = take(take(X, ascending, None), None, columns)
        of_blocks = [of_block for _, of_block in over_blocks(X, partial(encode_in, spaces))]
        return [np.concatenate(parts)[back] for parts in zip(*of_blocks, strict=True)]
    by_cells = isinstance(X, np.ndarray) or X.format == "csr"
    blocks = row_chunks(len(rows), ROWS) if by_cells and len(rows) else [slice(None)]
    of_blocks = [encode_in(spaces, take(take(X, rows[block], None), None, columns)) for block in blocks]
    return [np.concatenate(parts) for parts in zip(*of_blocks, strict=True)]
