"""Pseudobulk: mean and variance of the cells of each perturbation, context and partition."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from anndata import AnnData
from anndata.utils import make_index_unique

from heldout._core import store
from heldout._core.arrays import get_matrix
from heldout._core.grouped import group_moments
from heldout._core.partition import PARTITIONS, read_partition

if TYPE_CHECKING:
    from collections.abc import Sequence

_COUNT = "n_cells"
_UNUSED = PARTITIONS.index("unused")


def pseudobulk(
    adata: AnnData, by: str | Sequence[str], *, split_key: str | None = None, layer: str | None = None
) -> AnnData:
    """Return the mean and variance of the cells of each combination of columns, and of each partition of a split.

    The matrix is read once. A dask array is read block by block, so that only one block is in memory.

    Parameters
    ----------
    adata
        AnnData, (n_obs × n_vars). ``X`` or the layer is dense, csr or csc, or a dask array of these.
    by
        Column(s) of ``obs``, e.g. the perturbation and the cell line.
    split_key
        Split whose partitions are kept apart, in a column of that name. Cells that are ``unused`` are left out. If
        None, all cells are taken together, which mixes train and test.
    layer
        Layer to use instead of ``X``. If None, ``X`` is used. Values are averaged as they are, usually log-normalised.

    Returns
    -------
    A new :class:`~anndata.AnnData` with one row for each combination that occurs. Rows are sorted by the columns in
    their order, each column by its categories (otherwise its values). The order of the cells does not matter.

    `X` : :class:`numpy.ndarray` (dtype `float64`)
        Mean over the cells.
    `layers['var']` : :class:`numpy.ndarray` (dtype `float64`)
        Variance over the cells (ddof 1); NaN for a single cell. Cells are not replicates: this variance divided by the
        number of cells leaves out the variance between libraries.
    `obs` : :class:`pandas.DataFrame`
        The columns ``by`` and ``split_key``, and ``n_cells``.
    `var`, `varm`
        Those of ``adata``.

    Raises
    ------
    ValueError
        If a column is missing, has missing values or is named twice, the split was changed, no cell is left, or values
        are NaN or infinite.
    TypeError
        If the matrix is of another kind, for example that of a backed AnnData.

    Examples
    --------
    >>> import heldout as ho
    >>> adata = ho.datasets.lmna_simulated(n_cells=20, n_genes=100)
    >>> ho.pp.split_groups(adata, "library", label_key="genotype")
    >>> bulk = ho.get.pseudobulk(adata, ["genotype", "day"], split_key="split")
    >>> bulk.obs.head(2).values.tolist()
    [['control', 0, 'val', 20], ['control', 2, 'test', 20]]
    """
    store.check_adata(adata)
    keys = _checked_keys(by, split_key)
    X = get_matrix(adata, layer, dask=True)
    columns = {key: _sorted_values(store.column(adata, key, argument="by")) for key in keys}
    keep = np.ones(adata.n_obs, dtype=bool)
    if split_key is not None:
        codes = read_partition(adata, split_key).codes.astype(np.int64)
        columns[split_key] = codes, pd.Categorical.from_codes(np.arange(len(PARTITIONS)), categories=list(PARTITIONS))
        keep = codes != _UNUSED
    if not keep.any():
        msg = (
            f"No cell is left: split_key={split_key!r} leaves all of them unused."
            if adata.n_obs
            else "adata has no cells."
        )
        raise ValueError(msg)
    of_cell, levels = _combinations([codes for codes, _ in columns.values()], keep)
    found = group_moments(X, of_cell, len(levels[0]))
    _check_finite(found.mean, adata)
    obs = pd.DataFrame({key: values[at] for (key, (_, values)), at in zip(columns.items(), levels, strict=True)})
    for key in obs.columns[[isinstance(dtype, pd.CategoricalDtype) for dtype in obs.dtypes]]:
        obs[key] = obs[key].cat.remove_unused_categories()
    obs[_COUNT] = found.n
    names = ["|".join(row) for row in zip(*(store.as_names(obs[key]) for key in columns), strict=True)]
    obs.index = make_index_unique(pd.Index(names, dtype=object))
    varm = {name: value.copy() for name, value in adata.varm.items()}
    return AnnData(found.mean, obs=obs, var=adata.var.copy(), varm=varm, layers={"var": found.var})


def _checked_keys(by: str | Sequence[str], split_key: str | None) -> list[str]:
    keys = [by] if isinstance(by, str) else list(by)
    every = [*keys, *([] if split_key is None else [split_key])]
    if not keys:
        msg = "by=[] must name at least one column, e.g. the perturbation and the cell line."
        raise ValueError(msg)
    if len(set(every)) < len(every) or _COUNT in every:
        msg = (
            f"by={by!r} with split_key={split_key!r} names a column twice, or {_COUNT!r}, which is the column of the "
            f"cell counts. Name each column once, and rename a column {_COUNT!r} first."
        )
        raise ValueError(msg)
    return keys


def _sorted_values(column: pd.Series) -> tuple[np.ndarray, pd.Categorical | np.ndarray]:
    """Number of the value of each cell, and the values in the order of categories, numbers or text."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        dtype = column.dtype
        codes = column.cat.codes.to_numpy().astype(np.int64)
        return codes, pd.Categorical.from_codes(np.arange(len(dtype.categories)), dtype=dtype)
    if column.dtype.kind in "biufmM" and isinstance(column.dtype, np.dtype):
        values, codes = np.unique(column.to_numpy(), return_inverse=True)
        return codes, values
    names, codes = np.unique(store.as_names(column).astype(str), return_inverse=True)
    return codes, pd.Categorical(names, categories=names)


def _combinations(columns: list[np.ndarray], keep: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """Number of the combination of each cell, -1 outside ``keep``; and the values of each combination, by number."""
    stacked = np.stack(columns, axis=1)[keep]
    distinct, inverse = np.unique(stacked, axis=0, return_inverse=True)
    of_cell = np.full(len(keep), -1, dtype=np.int64)
    of_cell[keep] = inverse.ravel()
    return of_cell, list(distinct.T)


def _check_finite(mean: np.ndarray, adata: AnnData) -> None:
    broken = ~np.isfinite(mean).all(axis=0)
    if broken.any():
        names = store.some(adata.var_names[broken])
        msg = f"{int(broken.sum())} genes (e.g. {names}) have NaN or infinite values. Drop or repair them."
        raise ValueError(msg)
