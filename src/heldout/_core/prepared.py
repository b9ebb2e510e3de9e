"""Warn of a matrix that was not prepared before a fit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from heldout._core import store
from heldout._core.arrays import describe, get_matrix, loaded, take

if TYPE_CHECKING:
    from anndata import AnnData

SAMPLE = 2000
"""Train cells that are looked at."""


def warn_of_counts(adata: AnnData, layer: str | None, train: np.ndarray, *, because: str) -> None:
    """Warn if the train cells, row numbers (k,), hold raw counts. ``because`` says what the fit would learn then."""
    rows = train[np.linspace(0, len(train) - 1, min(SAMPLE, len(train)), dtype=int)]
    try:
        state = describe(loaded(take(get_matrix(adata, layer, dask=True), rows, None)))
    except ValueError:  # the fit refuses these values with its own words
        return
    if state.kind == "counts":
        store.logger.warning(
            "%s holds raw counts, so %s. Normalise and log-transform it first: scanpy.pp.normalize_total(adata, "
            "target_sum=1e4); scanpy.pp.log1p(adata)",
            "adata.X" if layer is None else f"adata.layers[{layer!r}]",
            because,
        )
