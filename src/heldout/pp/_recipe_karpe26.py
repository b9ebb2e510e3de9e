"""The preparation of the LMNA classifier study in one call, in two passes over the counts."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from heldout._core import store
from heldout._core.arrays import (
    MatrixState,
    Moments,
    Part,
    describe,
    get_matrix,
    lognormalised,
    merged,
)
from heldout._core.chain import chain_sections, write_step
from heldout._core.checks import check_number
from heldout._core.lazy import as_rows, over_blocks, to_memory
from heldout._core.memory import give_back
from heldout._core.partition import read_partition
from heldout._core.types import is_dask, is_sparse
from heldout.pp._highly_variable_genes import choose, highly_variable_genes, var_columns
from heldout.pp._scale import scale, scale_fit, scaled

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anndata import AnnData

    from heldout._core.partition import Partition
    from heldout._core.types import Matrix


def recipe_karpe26(
    adata: AnnData,
    *,
    n_top_genes: int = 1000,
    target_sum: float = 1e4,
    min_cells: int = 10,
    max_value: float = 10.0,
    split_key: str = "split",
    load: bool = False,
    copy: bool = False,
) -> AnnData | None:
    """Prepare counts as in the LMNA classifier study, fitted on the train cells only.

    The steps are: normalise the counts of each cell to ``target_sum``; apply ``log1p``; select the genes with the
    highest variance among those in ``min_cells`` or more train cells; divide by the standard deviation and clip. Cells
    are not filtered. :func:`read_libraries` filters cells, with the limits of the study as defaults.

    The result is the same as that of :func:`scanpy.pp.normalize_total`, :func:`scanpy.pp.log1p`,
    :func:`highly_variable_genes` with ``subset=True``, and :func:`scale`. A dask array is read twice, block by block.
    The first pass sums over the train cells. The second pass scales the selected genes of all cells. It runs with
    ``load=True``, or each time ``X`` is used.

    Parameters
    ----------
    adata
        Annotated data, (n_obs × n_vars), with counts in ``X``, in memory or as a dask array, and a split.
    n_top_genes
        Number of genes to select, an integer >= 1.
    target_sum
        Sum of the counts of each cell after normalisation, a number > 0.
    min_cells
        Smallest number of train cells in which a gene must be detected.
    max_value
        Clip to this number of standard deviations on both sides, a number > 0.
    split_key
        Column of ``obs`` with the split. Only its train cells are used for fitting.
    load
        Load the scaled values of a dask array into memory.
    copy
        Return a changed copy instead of changing ``adata``.

    Returns
    -------
    ``None``, or the AnnData (n_obs × n_top_genes) if ``copy=True``. The function writes:

    ``X``
        Scaled values of the selected genes. A dask array stays a dask array unless ``load=True``.
    ``var["highly_variable"]``, ``var["highly_variable_rank"]``, ``var["highly_variable_score"]``
        See :func:`highly_variable_genes`.
    ``var["means"]``, ``var["variances"]``
        See :func:`highly_variable_genes`.
    ``uns["heldout"]["fits"]["highly_variable_genes"]``, ``uns["heldout"]["fits"]["scale"]``
        The two fits.
    ``uns["heldout"]["chain"]``, ``uns["heldout"]["assignments"]``, ``uns["log1p"]``
        The places of the fits in the chain, the split on which they were made, and scanpy's note of the logarithm.

    Raises
    ------
    ValueError
        If ``X`` does not have counts, if the split does not exist, or if a number is out of range.

    Examples
    --------
    >>> import heldout as ho
    >>> adata = ho.datasets.lmna_simulated(n_cells=50, n_genes=200)
    >>> ho.pp.split_matched(adata, "library", "day", label_key="genotype", test=19, val=0)
    >>> ho.pp.recipe_karpe26(adata, n_top_genes=50)
    >>> adata.shape, bool(abs(adata.X).max() <= 10)
    ((600, 50), True)
    """
    check_number(target_sum, "target_sum", above=0)
    if not max_value > 0:
        msg = f"max_value={max_value!r} must be a number > 0."
        raise ValueError(msg)
    store.check_adata(adata)
    X = get_matrix(adata, dask=True)
    partition = read_partition(adata, split_key)
    partition.require("train", purpose="recipe_karpe26")
    choice: dict[str, Any] = {"n_top_genes": n_top_genes, "min_cells": min_cells}
    if is_dask(X):
        work = _out_of_core(adata, X, partition, choice, target_sum=target_sum, max_value=max_value)
        if load:
            give_back()
            store.set_matrix(work, to_memory(work.X), None)
    else:
        state = describe(X)
        if state.kind != "counts":
            raise ValueError(_no_counts(str(state)))
        work = adata.copy()
        _normalise(work, target_sum)
        highly_variable_genes(work, subset=True, split_key=split_key, **choice)
        scale(work, max_value=max_value, split_key=split_key)
    if copy:
        return work
    store.actual(adata)
    adata._init_as_actual(work)  # private; AnnData has no public way to replace its content in place
    return None


def _normalise(adata: AnnData, target_sum: float) -> None:
    import scanpy as sc

    kind = type(adata.X)
    if isinstance(adata.X, sparse.sparray):  # scanpy sums their rows to a vector of another shape
        adata.X = sparse.csr_matrix(adata.X)
    sc.pp.normalize_total(adata, target_sum=target_sum)
    sc.pp.log1p(adata)
    if issubclass(kind, sparse.sparray):
        adata.X = kind(adata.X)


def _out_of_core(
    adata: AnnData, X: Any, partition: Partition, choice: dict[str, Any], *, target_sum: float, max_value: float
) -> AnnData:
    """Return the prepared AnnData of a dask array, with one pass over its blocks."""
    found = _first_pass(X, partition.mask("train"), target_sum)
    work = adata.copy()
    state = MatrixState("lognormalised", target_sum)
    fit = choose(work, X, found, partition, flavor="variance", layer=None, state=state, **choice)
    columns = {**var_columns(fit), "means": found.mean, "variances": found.var}
    write_step(work, "highly_variable_genes", fit, partition, var=columns)
    kept = np.flatnonzero(fit.arrays["highly_variable"])
    work._inplace_subset_var(kept)
    of_kept = Moments(found.n, found.mean[kept], found.var[kept], found.n_nonzero[kept])
    config = {"max_value": max_value, "zero_center": False, "layer": None}
    scaling = scale_fit(work.var_names, of_kept, partition, config, state)
    sections = chain_sections(work, "scale", scaling, partition)
    sd = scaling.arrays["sd"].astype(np.float32)
    prepare = partial(_prepared, total=target_sum, columns=kept, sd=sd, limit=max_value)
    meta, chunks = as_rows(X._meta).astype(np.float32), (X.chunks[0], (len(kept),))
    store.set_matrix(work, X.map_blocks(prepare, dtype=np.float32, meta=meta, chunks=chunks), None)
    store.commit(work, heldout=sections, uns={"log1p": {"base": None}})
    return work


def _first_pass(X: Any, train: np.ndarray, total: float) -> Moments:
    """Return the moments of the log-normalised values over the train cells. Refuse values that are not counts."""
    return merged(_checked(over_blocks(X, partial(_check_and_sum, total=total), train)), X.shape[1])


def _checked(parts: Iterator[tuple[slice, tuple[Part | None, str]]]) -> Iterator[Part]:
    for rows, (part, problem) in parts:
        if part is None:
            raise ValueError(_no_counts(f"{problem} in the cells {rows.start} to {rows.stop - 1}"))
        yield part


def _check_and_sum(counts: Matrix, train: np.ndarray, *, total: float) -> tuple[Part | None, str]:
    from heldout._core.compiled import log_sums

    counts = counts if is_sparse(counts) else sparse.csr_array(counts)
    n, p = int(train.sum()), counts.shape[1]
    sums, squares, n_nonzero, problem = log_sums(counts.data, counts.indices, counts.indptr, train, p, total)
    if problem:
        return None, ("NaN or infinite values", "values below zero", "values that are not integers")[problem - 1]
    mean = sums / max(n, 1)
    return (n, mean, np.maximum(squares - n * mean**2, 0), n_nonzero), ""


def _prepared(block: Matrix, *, total: float, columns: np.ndarray, sd: np.ndarray, limit: float) -> Matrix:
    """Return the scaled values of some genes, from the counts of all genes."""
    block = as_rows(block)
    if not is_sparse(block):
        return scaled(lognormalised(block, total, columns), sd, None, limit)
    from heldout._core.compiled import log_columns

    place = np.full(block.shape[1], -1, dtype=np.int32)
    place[columns] = np.arange(len(columns))
    found = log_columns(block.data, block.indices, block.indptr, place, total)
    kind: Any = type(block)
    return scaled(kind(found, shape=(block.shape[0], len(columns))), sd, None, limit)


def _no_counts(what: str) -> str:
    return (
        f"recipe_karpe26 needs raw counts in adata.X, but it has {what}. Move the counts there: adata.X = "
        "adata.layers['counts'].copy()"
    )
