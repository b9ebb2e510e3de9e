"""Principal components of the train cells, with a projection of all cells."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from heldout._core import store
from heldout._core.arrays import describe_train, get_matrix, moments, row_chunks, take
from heldout._core.chain import state_to_json, write_step
from heldout._core.checks import check_integer
from heldout._core.fits import Fit
from heldout._core.genes import gene_columns
from heldout._core.keys import check_key
from heldout._core.lazy import over_blocks
from heldout._core.partition import read_partition
from heldout._core.rng import Rng, seed_of
from heldout._core.threads import thread_policy
from heldout._core.types import is_dask, is_sparse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from anndata import AnnData

    from heldout._core.types import Matrix, MatrixOrDask

_WIDE = 6000
"""Largest number of genes for which the covariance matrix is computed (6000² float64 need 0.3 GB)."""


@thread_policy()
def pca(
    adata: AnnData,
    n_comps: int = 50,
    *,
    mask_var: str | None = "highly_variable",
    split_key: str = "split",
    layer: str | None = None,
    rng: Rng = 0,
    key_added: str = "X_pca",
    copy: bool = False,
) -> AnnData | None:
    """Fit principal components on the train cells and project all cells.

    Up to 6000 genes, the covariance matrix is summed in chunks in float64 and decomposed exactly. With more genes,
    scikit-learn's ARPACK solver is used on the train cells. The sign is chosen so that the largest loading of each
    component is positive.

    Parameters
    ----------
    adata
        Annotated data, (n_obs × n_vars). A dask array is read block by block.
    n_comps
        Number of components.
    mask_var
        Bool column of ``var`` with the genes to use. The default column is used if it exists. None uses all genes.
    split_key
        Column of ``obs`` with the split. Only its train cells are used for fitting.
    layer
        Layer to use. If None, ``X`` is used.
    rng
        Seed of the starting vector of the ARPACK solver. Up to 6000 genes it is not used.
    key_added
        Name in ``obsm`` and ``varm``.
    copy
        Return a changed copy instead of changing ``adata``.

    Returns
    -------
    ``None``, or the AnnData if ``copy=True``. The function writes:

    ``obsm[key_added]``
        Coordinates (n_obs × n_comps), float32.
    ``varm[key_added]``
        Loadings (n_vars × n_comps), 0 for genes that are not used.
    ``uns["heldout"]["fits"][key_added]``
        The fit, with arrays ``mean`` (n_genes,), ``components`` (n_comps × n_genes), ``variance`` and
        ``variance_ratio`` (n_comps,).
    ``uns["heldout"]["chain"]``, ``uns["heldout"]["assignments"]``
        The place of the fit in the chain, and the split on which it was made.

    Raises
    ------
    ValueError
        If there are fewer train cells or genes than components, if values are not finite, or if a dask array has more
        than 6000 genes.

    Examples
    --------
    >>> import heldout as ho, scanpy as sc
    >>> adata = ho.datasets.lmna_simulated(n_cells=50, n_genes=200)
    >>> ho.pp.split_matched(adata, "library", "day", label_key="genotype", test=19, val=0)
    >>> sc.pp.normalize_total(adata, target_sum=1e4)
    >>> sc.pp.log1p(adata)
    >>> ho.pp.pca(adata, n_comps=10)
    >>> adata.obsm["X_pca"].shape
    (600, 10)
    """
    check_key("key_added", key_added)
    store.check_adata(adata)
    X = get_matrix(adata, layer, dask=True)
    partition = read_partition(adata, split_key)
    partition.require("train", purpose="pca")
    _, state = describe_train(X, partition.mask("train"))
    columns = gene_columns(adata, mask_var)
    train = partition.mask("train")
    n_comps, most = check_integer(n_comps, "n_comps", least=1), min(int(train.sum()) - 1, len(columns))
    if n_comps > most:
        msg = (
            f"n_comps={n_comps} must be an integer in [1, {most}], because there are {int(train.sum())} train cells "
            f"and {len(columns)} genes."
        )
        raise ValueError(msg)
    arrays = fit_components(take(X, None, columns), train, n_comps, seed=seed_of(rng))
    genes = adata.var_names[columns].to_numpy(dtype=object)
    fit = Fit(
        method="pp.pca",
        config={"n_comps": n_comps, "mask_var": mask_var, "layer": layer, "key_added": key_added},
        split_key=split_key,
        split_hash=partition.hash,
        genes=genes,
        arrays=arrays,
        info={"input": state_to_json(state), "n_vars": adata.n_vars},
    )
    slots = project(adata, fit, X, columns)
    adata = store.start(adata, copy=copy)
    write_step(adata, key_added, fit, partition, **slots)
    return store.finish(adata, copy=copy)


def project(adata: AnnData, fit: Fit, X: MatrixOrDask, columns: np.ndarray) -> dict[str, Any]:
    """Return the coordinates and the loadings of a fit, as slots to write."""
    key, components = fit.config["key_added"], fit.arrays["components"]
    shift = fit.arrays["mean"] @ components.T
    coordinates = np.empty((adata.n_obs, len(components)), dtype=np.float32)
    on_components = partial(_projected, columns=columns, components=components)
    for rows, of_block in _blocks(X, on_components):
        coordinates[rows] = of_block - shift
    loadings = np.zeros((adata.n_vars, len(components)))
    loadings[columns] = components.T
    return {"obsm": {key: coordinates}, "varm": {key: loadings}}


def fit_components(X: MatrixOrDask, train: np.ndarray, n_comps: int, *, seed: int) -> dict[str, np.ndarray]:
    """Return the arrays of a fit of components on the train cells.

    Raises
    ------
    ValueError
        If a dask array has more than 6000 genes.
    """
    found = moments(X, train)
    if X.shape[1] > _WIDE and is_dask(X):
        msg = (
            f"{X.shape[1]} genes are too many for the components of a dask array, which may have at most {_WIDE}. "
            "Choose genes with ho.pp.highly_variable_genes, or name a column of var in mask_var."
        )
        raise ValueError(msg)
    if X.shape[1] > _WIDE:
        from sklearn.decomposition import PCA

        solved = PCA(n_comps, svd_solver="arpack", random_state=seed).fit(take(X, np.flatnonzero(train), None))
        components, variance = solved.components_.astype(np.float64), solved.explained_variance_.astype(np.float64)
    else:
        values, vectors = np.linalg.eigh(_covariance(X, train, found.mean))
        components, variance = vectors[:, ::-1][:, :n_comps].T, values[::-1][:n_comps].clip(min=0)
    signs = np.sign(components[np.arange(n_comps), np.abs(components).argmax(axis=1)])
    return {
        "mean": found.mean,
        "components": np.ascontiguousarray(components * signs[:, None]),
        "variance": np.ascontiguousarray(variance),
        "variance_ratio": variance / found.var.sum(),
    }


def _covariance(X: MatrixOrDask, train: np.ndarray, mean: np.ndarray) -> np.ndarray:
    total = np.zeros((X.shape[1], X.shape[1]))
    for _, products in _blocks(X, partial(_products, mean=mean), train, wanted=train):
        total += products
    return total / (train.sum() - 1)


def _blocks(
    X: MatrixOrDask, function: Callable[..., np.ndarray], *row_arrays: np.ndarray, wanted: np.ndarray | None = None
) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield the rows and the result of a function for each block of rows.

    ``X`` is a dask array or a matrix in memory. The function gets the block and the same rows of each of
    ``row_arrays``. Blocks without a row in ``wanted`` are skipped.
    """
    if is_dask(X):
        yield from over_blocks(X, function, *row_arrays, wanted=wanted)
        return
    for rows in row_chunks(X.shape[0]):
        if wanted is None or wanted[rows].any():
            yield rows, function(X[rows], *(array[rows] for array in row_arrays))


def _projected(block: Matrix, *, columns: np.ndarray, components: np.ndarray) -> np.ndarray:
    return np.asarray(take(block, None, columns) @ components.T)


def _products(block: Matrix, keep: np.ndarray, *, mean: np.ndarray) -> np.ndarray:
    block = take(block, np.flatnonzero(keep), None)
    block = (block.toarray() if is_sparse(block) else block).astype(np.float64) - mean
    return block.T @ block
