"""Identify the cells of highly variable genes that were chosen in each batch, by the means that scanpy stores.

With ``batch_key``, ``sc.pp.highly_variable_genes`` computes the mean of each gene in each batch, on the log scale for
the default flavor, and stores the average over the batches. The batch is not recorded, so each column of ``obs`` with
few values is tried.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import sparse

from heldout._core.types import is_sparse
from heldout.auditing._columns import few_values
from heldout.auditing._traces import of_values, parts, pieces, unions

if TYPE_CHECKING:
    from collections.abc import Callable

    from heldout._core.types import MatrixOrDask
    from heldout.auditing._case import Case
    from heldout.auditing._traces import Verdict

RECORD = "highly_variable_nbatches"
_MOST_BATCHES = 200


def of_batches(
    case: Case, X: MatrixOrDask, function: Callable[[np.ndarray], np.ndarray] | None, factor: np.ndarray | None
) -> tuple[Verdict, str] | None:
    """The fitted cells and the column of the batches, if the stored means are averages over batches. Else None."""
    var = case.adata.var
    if RECORD not in var.columns or "means" not in var.columns:
        return None
    stored = pd.to_numeric(var["means"], errors="coerce").to_numpy(dtype=float)
    names = list(parts(case.codes))
    for column, batch in few_values(case.adata.obs, {case.split_key}, _MOST_BATCHES):
        if (batch < 0).any():
            continue
        means, cells = means_in_groups(X, case.codes, batch, function, factor)
        for scale in (np.log1p, lambda x: x):
            expected = {union: scale(each[cells[union] > 0]).mean(axis=0) for union, each in means.items()}
            verdict = of_values(stored, expected, names)
            if verdict is not None:
                return verdict, column
    return None


def means_in_groups(
    X: MatrixOrDask,
    codes: np.ndarray,
    group: np.ndarray,
    function: Callable[[np.ndarray], np.ndarray] | None = None,
    factor: np.ndarray | None = None,
) -> tuple[dict[tuple[str, ...], np.ndarray], dict[tuple[str, ...], np.ndarray]]:
    """Mean of each gene in each group, (groups × p), and number of cells, (groups,), for each union of partitions.

    The mean of a group without cells is NaN. Rows are multiplied by ``factor``, (n,), before ``function``.
    """
    masks = parts(codes)
    n_groups, n = int(group.max()) + 1, len(group)
    row = np.zeros(n, dtype=np.int64)
    for i, mask in enumerate(masks.values()):
        row[mask] = i * n_groups + group[mask]
    member = sparse.csr_array((np.ones(n), (row, np.arange(n))), shape=(len(masks) * n_groups, n))
    size, total = np.bincount(row, minlength=member.shape[0]), np.zeros((member.shape[0], X.shape[1]))
    by_column, blocks = pieces(X)
    for chunk, block in blocks:
        rows, genes = (slice(None), chunk) if by_column else (chunk, slice(None))
        values = sparse.csr_array(block, dtype=np.float64) if is_sparse(block) else np.asarray(block, dtype=np.float64)
        if factor is not None:
            values = values * factor[rows][:, None]
        if function is not None and is_sparse(values):
            values.data = function(values.data)
        elif function is not None:
            values = function(values)
        summed = member[:, rows] @ values
        total[:, genes] += summed.toarray() if is_sparse(summed) else summed
    totals = dict(zip(masks, total.reshape(len(masks), n_groups, -1), strict=True))
    sizes = dict(zip(masks, size.reshape(len(masks), n_groups), strict=True))
    means, cells = {}, {}
    for union in unions(masks):
        cells[union] = np.sum([sizes[name] for name in union], axis=0)
        with np.errstate(invalid="ignore"):
            means[union] = np.sum([totals[name] for name in union], axis=0) / cells[union][:, None]
    return means, cells
