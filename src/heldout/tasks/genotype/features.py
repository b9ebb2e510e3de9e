"""Features of cells other than their genes: QC measures, covariates and cell types."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from heldout._core import store
from heldout._core.arrays import get_matrix, row_blocks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anndata import AnnData

QC_COLUMNS = ("total_counts", "n_genes_by_counts", "pct_counts_mt")
"""Columns of obs that the QC-only baseline reads, with the names of scanpy."""

OF_GENES = ("genes", "genes_and_types")
"""Kinds of features whose columns are genes."""

_LOGGED = {"total_counts", "n_genes_by_counts", "n_genes_found"}
_MAX_LEVELS = 10


@dataclass(frozen=True)
class Covariate:
    """How a column of obs is read: as one indicator for each level, or as a number, standardised on train.

    For a level that train does not have, all indicators are 0.
    """

    key: str
    levels: list[str] = field(default_factory=list)
    mean: float = 0.0
    sd: float = 1.0

    def read(self, adata: AnnData) -> np.ndarray:
        """Features of each cell, (n_obs × n_levels) or (n_obs × 1)."""
        series = store.column(adata, self.key, argument="covariate_keys")
        if not self.levels:
            return (series.to_numpy(dtype=np.float64)[:, None] - self.mean) / self.sd
        return (store.as_names(series)[:, None] == np.array(self.levels, dtype=object)).astype(np.float64)

    def codes(self, adata: AnnData) -> np.ndarray:
        """Number of the level of each cell, (n_obs,). -1 for a level that train does not have."""
        return code(store.as_names(store.column(adata, self.key, argument="cell_type_key")), self.levels)


def code(names: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    """Class number of each name, -1 for one that is not a class."""
    number = {name: i for i, name in enumerate(classes)}
    return np.array([number.get(name, -1) for name in names], dtype=np.int64)


def describe_covariates(
    adata: AnnData, keys: Sequence[str], train: np.ndarray, *, argument: str, classes: bool = False
) -> list[Covariate]:
    """Levels of columns among the train cells. Numeric columns with more than ten values are read as numbers.

    Raises
    ------
    ValueError
        If a column is not there or has missing values.
    """
    found = []
    for key in [keys] if isinstance(keys, str) else keys:
        series = store.column(adata, key, argument=argument)
        inside = series[train]
        number = not classes and series.dtype.kind in "iuf" and inside.nunique() > _MAX_LEVELS
        if number:
            values = inside.to_numpy(dtype=np.float64)
            found.append(Covariate(key, [], float(values.mean()), float(values.std()) or 1.0))
        else:
            found.append(Covariate(key, [str(name) for name in store.ordered_names(inside)]))
    return found


def features_of(adata: AnnData, features: str, info: Mapping[str, Any], *, layer: str | None) -> np.ndarray:
    """Features of each cell, (n_obs × n_features), as described when the fit was made."""
    if features == "qc":
        return qc_features(adata, info["qc_columns"], layer=layer)
    described = info["covariates"] if features == "covariates" else [info["cell_types"]]
    return np.concatenate([Covariate(**stored).read(adata) for stored in described], axis=1)


def qc_columns(adata: AnnData) -> list[str]:
    """QC columns that obs has. Without any, the number of detected genes is counted from the matrix."""
    return [name for name in QC_COLUMNS if name in adata.obs.columns] or ["n_genes_found"]


def qc_features(adata: AnnData, names: Sequence[str], *, layer: str | None) -> np.ndarray:
    """Library size and QC measures, (n_obs × n_measures). Counts are on a log scale."""
    columns = []
    for name in names:
        if name == "n_genes_found":
            X = get_matrix(adata, layer, dask=True)
            found = np.concatenate([np.asarray((block != 0).sum(axis=1)).ravel() for _, block in row_blocks(X)])
            column = found.astype(np.float64)
        else:
            column = store.column(adata, name, argument="QC measure").to_numpy(dtype=np.float64)
        columns.append(np.log1p(column) if name in _LOGGED else column)
    return np.stack(columns, axis=1)
