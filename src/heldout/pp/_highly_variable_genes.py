"""Select highly variable genes on the train cells only."""

from __future__ import annotations

import logging
import warnings
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from scipy import sparse

from heldout._core import store
from heldout._core.arrays import MatrixState, Moments, describe_train, get_matrix, highest, moments, take
from heldout._core.chain import is_scaled, state_to_json, write_step
from heldout._core.checks import check_choice, check_integer
from heldout._core.fits import Fit
from heldout._core.partition import read_partition
from heldout._core.types import is_dask, is_sparse
from heldout.pp._standardised_variance import standardised_variance

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

    from heldout._core.partition import Partition
    from heldout._core.types import MatrixOrDask

logger = logging.getLogger("heldout")

Flavor = Literal["variance", "seurat", "seurat_v3"]

_HIGHEST_LOG = 50


def highly_variable_genes(
    adata: AnnData,
    n_top_genes: int = 1000,
    *,
    flavor: Flavor = "variance",
    min_cells: int = 10,
    split_key: str = "split",
    layer: str | None = None,
    subset: bool = False,
    copy: bool = False,
) -> AnnData | None:
    """Select the genes that vary most among the train cells.

    Genes that are detected in fewer than ``min_cells`` train cells are excluded. All other genes are ranked by one of
    these scores:

    - ``variance``: the variance of the log-normalised values, as in the LMNA classifier study.
    - ``seurat``: the dispersion normalised within bins of mean expression, computed by scanpy.
    - ``seurat_v3``: the variance of standardised counts :cite:p:`stuart2019`, computed by scanpy. It needs raw counts.

    Parameters
    ----------
    adata
        Annotated data, (n_obs × n_vars), log-normalised (raw counts for ``seurat_v3``). A dask array is read block by
        block.
    n_top_genes
        Number of genes to select, an integer >= 1. If there are fewer candidates, all are selected and a warning is
        logged.
    flavor
        Score by which genes are ranked.
    min_cells
        Smallest number of train cells in which a gene must be detected.
    split_key
        Column of ``obs`` with the split. Only its train cells are used.
    layer
        Layer to use. If None, ``X`` is used.
    subset
        Keep only the selected genes in ``adata``.
    copy
        Return a changed copy instead of changing ``adata``.

    Returns
    -------
    ``None``, or the AnnData if ``copy=True``. The function writes:

    ``var["highly_variable"]``
        Whether the gene is selected, bool.
    ``var["highly_variable_rank"]``
        Rank of each selected gene, NaN for all other genes. Rank 0 is the most variable gene.
    ``var["highly_variable_score"]``
        The score: variance, normalised dispersion or normalised variance. NaN for genes in too few cells.
    ``var["means"]``, ``var["variances"]``
        Mean and variance over the train cells.
    ``uns["heldout"]["fits"]["highly_variable_genes"]``
        The fit.
    ``uns["heldout"]["chain"]``, ``uns["heldout"]["assignments"]``
        The place of the fit in the chain, and the split on which it was made.

    Raises
    ------
    ValueError
        If the matrix is scaled, does not have the values that the flavor needs, or has negative or non-finite values.

    Examples
    --------
    >>> import heldout as ho, scanpy as sc
    >>> adata = ho.datasets.lmna_simulated(n_cells=50, n_genes=200)
    >>> ho.pp.split_matched(adata, "library", "day", label_key="genotype", test=19, val=0)
    >>> sc.pp.normalize_total(adata, target_sum=1e4)
    >>> sc.pp.log1p(adata)
    >>> ho.pp.highly_variable_genes(adata, n_top_genes=50)
    >>> int(adata.var["highly_variable"].sum())
    50
    """
    check_choice(flavor, "flavor", get_args(Flavor))
    n_top_genes = check_integer(n_top_genes, "n_top_genes", least=1)
    store.check_adata(adata)
    X = get_matrix(adata, layer, dask=True)
    partition = read_partition(adata, split_key)
    partition.require("train", purpose="highly_variable_genes")
    train = partition.mask("train")
    whole, state = _check_input(adata, X, train, flavor=flavor, layer=layer)
    found = moments(X, train)
    if whole.kind == "other":
        _check_not_unit_variance(found, moments(X))
    fit = choose(
        adata,
        X,
        found,
        partition,
        flavor=flavor,
        n_top_genes=n_top_genes,
        min_cells=min_cells,
        layer=layer,
        state=state,
    )
    adata = store.start(adata, copy=copy)
    columns = {**var_columns(fit), "means": found.mean, "variances": found.var}
    write_step(adata, "highly_variable_genes", fit, partition, var=columns)
    if subset:
        adata._inplace_subset_var(
            fit.arrays["highly_variable"]
        )  # private, but scanpy uses it too; AnnData has no public subset in place
    return store.finish(adata, copy=copy)


def choose(
    adata: AnnData,
    X: MatrixOrDask,
    found: Moments,
    partition: Partition,
    *,
    flavor: Flavor,
    n_top_genes: int,
    min_cells: int,
    layer: str | None,
    state: MatrixState,
) -> Fit:
    """Rank the genes by the moments of the train cells, and return the fit. Nothing is written."""
    train = partition.mask("train")
    score = _score(adata, X, found, train, flavor=flavor, min_cells=min_cells, n_top_genes=n_top_genes)
    rank = _rank(score, adata.var_names, n_top_genes)
    return Fit(
        method="pp.highly_variable_genes",
        config={"flavor": flavor, "n_top_genes": n_top_genes, "min_cells": min_cells, "layer": layer},
        split_key=partition.key,
        split_hash=partition.hash,
        genes=adata.var_names.to_numpy(dtype=object),
        arrays={"highly_variable": ~np.isnan(rank), "rank": rank, "score": score},
        info={"input": state_to_json(state)},
    )


def var_columns(fit: Fit) -> dict[str, np.ndarray]:
    """Return the columns of ``var`` that a stored fit writes."""
    return {
        "highly_variable": fit.arrays["highly_variable"],
        "highly_variable_rank": fit.arrays["rank"],
        "highly_variable_score": fit.arrays["score"],
    }


def _check_input(
    adata: AnnData, X: MatrixOrDask, train: np.ndarray, *, flavor: str, layer: str | None
) -> tuple[MatrixState, MatrixState]:
    """Refuse values that the flavor cannot use. Return what all cells and what the train cells hold."""
    where = "adata.X" if layer is None else f"adata.layers[{layer!r}]"
    state, of_train = describe_train(X, train, name=where)
    advice = "Select genes before scaling. Use the log-normalised matrix, or pass layer=."
    if is_scaled(adata, layer, state) or state.kind == "centred":
        msg = f"{where} is already scaled or has negative values, so variances do not compare genes. {advice}"
        raise ValueError(msg)
    if flavor == "seurat_v3" and state.kind != "counts":
        msg = f"flavor='seurat_v3' needs raw counts, but {where} has {state}. Pass the layer with the counts."
        raise ValueError(msg)
    if flavor != "seurat_v3" and state.kind in {"counts", "normalised"}:
        first = "sc.pp.normalize_total(adata, target_sum=1e4) and " if state.kind == "counts" else ""
        msg = (
            f"flavor={flavor!r} needs log-normalised values, but {where} has {state}. Call {first}sc.pp.log1p(adata) "
            "first, or use flavor='seurat_v3' on raw counts."
        )
        raise ValueError(msg)
    if state.kind == "other" and (high := highest(X)) > _HIGHEST_LOG:
        msg = (
            f"flavor={flavor!r} needs log-normalised values, but {where} has values up to {high:g}, which is above "
            "any logarithm of counts. If these are corrected counts (not integers), normalise and log-transform them "
            "first."
        )
        raise ValueError(msg)
    return state, of_train


def _check_not_unit_variance(*found: Moments) -> None:
    """Refuse a matrix that was scaled over the train cells or over all cells.

    All cells are used for this check only.
    """
    for cell_moments in found:
        sd = np.sqrt(cell_moments.var[cell_moments.var > 0])
        if len(sd) > 10 and np.median(np.abs(sd - 1)) < 0.02:
            msg = (
                "The matrix is already scaled: most genes have a standard deviation of 1, so variances do not "
                "compare genes. Select genes before scaling, or pass layer= with unscaled values."
            )
            raise ValueError(msg)


def _score(
    adata: AnnData, X: MatrixOrDask, found: Moments, train: np.ndarray, *, flavor: str, min_cells: int, n_top_genes: int
) -> np.ndarray:
    candidates = np.flatnonzero(found.n_nonzero >= min_cells)
    if not len(candidates):
        msg = f"No gene is detected in min_cells={min_cells} or more of the {found.n} train cells. Lower min_cells."
        raise ValueError(msg)
    if len(candidates) < n_top_genes:
        logger.warning(
            "Only %d genes are detected in %d or more train cells. All of them are selected.",
            len(candidates),
            min_cells,
        )
    score = np.full(X.shape[1], np.nan)
    if flavor == "variance":
        score[candidates] = found.var[candidates]
    elif flavor == "seurat_v3" and is_dask(X):
        score[candidates] = standardised_variance(X, train, found, candidates)
    else:
        score[candidates] = _scanpy_score(
            take(X, np.flatnonzero(train), candidates), flavor=flavor, n=min(n_top_genes, len(candidates)), like=adata
        )
    return score


def _scanpy_score(X: MatrixOrDask, *, flavor: str, n: int, like: AnnData) -> np.ndarray:
    import scanpy as sc
    from anndata import AnnData

    X = sparse.csr_matrix(X) if is_sparse(X) else X  # scanpy 1.11 does not accept sparse arrays
    fitted = AnnData(X, uns={"log1p": like.uns["log1p"]} if "log1p" in like.uns else {})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        table = sc.pp.highly_variable_genes(fitted, flavor=flavor, n_top_genes=n, inplace=False)
    column = "variances_norm" if flavor == "seurat_v3" else "dispersions_norm"
    return table[column].to_numpy(dtype=np.float64)


def _rank(score: np.ndarray, names: pd.Index, n_top_genes: int) -> np.ndarray:
    order = np.lexsort((names.to_numpy(dtype=str), -np.nan_to_num(score, nan=-np.inf)))
    chosen = order[: min(n_top_genes, int((~np.isnan(score)).sum()))]
    rank = np.full(len(score), np.nan)
    rank[chosen] = np.arange(len(chosen))
    return rank
