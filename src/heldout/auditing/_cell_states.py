"""Groups of similar cells: columns of ``obs`` that vary within units, such as the cell type, and clusters."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from heldout._core.store import as_names
from heldout.auditing._case import principal_components, products

if TYPE_CHECKING:
    from heldout.auditing._case import Case

MAX_COLUMNS, MAX_LEVELS = 3, 30
N_COMPS, N_CLUSTERS, CELLS_A_CLUSTER = 20, (4, 8, 16), 20


def columns_of_states(case: Case, rows: np.ndarray, unit: np.ndarray) -> list[np.ndarray]:
    """Codes (m,) of the three columns of ``obs`` that vary within units and have most values."""
    found = []
    known = {case.split_key, case.label_key, *case.group_key}
    for key in sorted(set(case.adata.obs.columns) - known, key=str):
        column = case.adata.obs[key].iloc[rows]
        if pd.api.types.is_float_dtype(column.dtype) or column.isna().any():
            continue
        codes = np.unique(as_names(column), return_inverse=True)[1]
        n_pairs = len(np.unique(unit * (codes.max() + 1) + codes))
        if 1 <= codes.max() < MAX_LEVELS and n_pairs > 1.5 * (unit.max() + 1):
            found.append(codes)
    return sorted(found, key=np.max, reverse=True)[:MAX_COLUMNS]


def clusters(X: np.ndarray, place: np.ndarray, seed: int) -> list[np.ndarray]:
    """Cluster numbers (m,) of cells by k-means on 20 components, for several numbers of clusters.

    Units and labels are not used. So cells of a class are exchangeable within clusters if they are exchangeable at all.
    ``place`` gives each cell its place in the order in which k-means reads the cells.
    """
    from sklearn.cluster import KMeans

    k = min(N_COMPS, *X.shape)
    mean, components = principal_components(*products(X, np.arange(len(X))), k)
    Z = np.empty((len(X), k), dtype=np.float32)
    Z[place] = (X - mean) @ components.T
    numbers = sorted({min(n, len(X) // CELLS_A_CLUSTER) for n in N_CLUSTERS})
    return [
        KMeans(n, n_init=1, random_state=seed, max_iter=50).fit_predict(Z)[place].astype(int) for n in numbers if n > 1
    ]
