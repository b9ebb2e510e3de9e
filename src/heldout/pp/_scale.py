"""Scale genes by the standard deviation of the train cells."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from heldout._core import store
from heldout._core.arrays import describe_train, get_matrix, moments, row_chunks
from heldout._core.chain import chain_sections, is_scaled, state_to_json
from heldout._core.fits import Fit
from heldout._core.lazy import has_sparse_blocks
from heldout._core.partition import read_partition
from heldout._core.types import is_dask, is_sparse

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

    from heldout._core.arrays import MatrixState, Moments
    from heldout._core.partition import Partition
    from heldout._core.types import Matrix, MatrixOrDask


def scale(
    adata: AnnData,
    *,
    max_value: float | None = 10.0,
    zero_center: bool = False,
    split_key: str = "split",
    layer: str | None = None,
    copy: bool = False,
) -> AnnData | None:
    """Divide each gene by its standard deviation over the train cells, then clip large values.

    There are three differences from :func:`scanpy.pp.scale`. Only train cells are used for fitting. Values are clipped
    on both sides, with or without centring. Values are not centred by default, so a sparse matrix stays sparse. A gene
    that does not vary in train is left unchanged.

    Parameters
    ----------
    adata
        Annotated data, (n_obs × n_vars). A dask array is read block by block, and the result is a dask array.
    max_value
        Clip to this number of standard deviations on both sides, a number > 0. If None, values are not clipped.
    zero_center
        Subtract the mean of the train cells first. This works only for dense matrices.
    split_key
        Column of ``obs`` with the split. Only its train cells are used for fitting. All cells are scaled.
    layer
        Layer to scale. If None, ``X`` is scaled.
    copy
        Return a changed copy instead of changing ``adata``.

    Returns
    -------
    ``None``, or the AnnData if ``copy=True``. The function writes:

    ``X`` or ``layers[layer]``
        Scaled values, float32. float64 stays float64.
    ``uns["heldout"]["fits"]["scale"]`` (``"scale_" + layer`` for a layer)
        The fit, with arrays ``mean`` and ``sd``, (n_vars,) each.
    ``uns["heldout"]["chain"]``, ``uns["heldout"]["assignments"]``
        The place of the fit in the chain, and the split on which it was made.

    Raises
    ------
    ValueError
        If this matrix was scaled before, if centring would make a sparse matrix dense, or if values are not finite.

    Examples
    --------
    >>> import heldout as ho, scanpy as sc
    >>> adata = ho.datasets.lmna_simulated(n_cells=50, n_genes=200)
    >>> ho.pp.split_matched(adata, "library", "day", label_key="genotype", test=19, val=0)
    >>> sc.pp.normalize_total(adata, target_sum=1e4)
    >>> sc.pp.log1p(adata)
    >>> ho.pp.scale(adata, max_value=10)
    """
    if max_value is not None and not max_value > 0:
        msg = f"max_value={max_value!r} must be a number > 0, or None for no clipping."
        raise ValueError(msg)
    store.check_adata(adata)
    X = get_matrix(adata, layer, dask=True)
    where = "adata.X" if layer is None else f"adata.layers[{layer!r}]"
    partition = read_partition(adata, split_key)
    partition.require("train", purpose="scale")
    state, of_train = describe_train(X, partition.mask("train"), name=where)
    if is_scaled(adata, layer, state):
        msg = (
            f"{where} was scaled before, and scaling twice would hide the first fit. To scale again, restore the "
            "unscaled matrix. If genes were dropped since the matrix was normalised, also delete the chain: del "
            "adata.uns['heldout']['chain']."
        )
        raise ValueError(msg)
    if zero_center and has_sparse_blocks(X):
        msg = (
            f"zero_center=True would turn the sparse matrix into {X.shape[0] * X.shape[1] * 4 / 1e9:.1f} GB of dense "
            "values. Use zero_center=False, or make the matrix dense yourself: adata.X = adata.X.toarray()"
        )
        raise ValueError(msg)
    found = moments(X, partition.mask("train"))
    config = {"max_value": max_value, "zero_center": zero_center, "layer": layer}
    fit = scale_fit(adata.var_names, found, partition, config, of_train)
    sections = chain_sections(adata, "scale" if layer is None else f"scale_{layer}", fit, partition)
    values = apply_scale(X, fit, columns=np.arange(adata.n_vars))
    adata = store.start(adata, copy=copy)
    store.actual(adata)
    with store.undone_on_error(adata):
        store.set_matrix(adata, values, layer)
        store.commit(adata, heldout=sections)
    return store.finish(adata, copy=copy)


def scale_fit(genes: pd.Index, found: Moments, partition: Partition, config: dict[str, Any], state: MatrixState) -> Fit:
    """Return the fit of a scaling, from the moments of the train cells."""
    sd = np.sqrt(found.var)
    return Fit(
        method="pp.scale",
        config=config,
        split_key=partition.key,
        split_hash=partition.hash,
        genes=genes.to_numpy(dtype=object),
        arrays={"mean": found.mean, "sd": np.where(sd > 0, sd, 1.0)},
        info={"input": state_to_json(state)},
    )


def apply_scale(X: MatrixOrDask, fit: Fit, columns: np.ndarray) -> MatrixOrDask:
    """Scale with a fit. ``columns`` are the positions of the genes of the matrix in the fit."""
    dtype = np.dtype(np.float64 if X.dtype == np.float64 else np.float32)
    sd = fit.arrays["sd"][columns].astype(dtype)
    mean = fit.arrays["mean"][columns].astype(dtype) if fit.config["zero_center"] else None
    limit = fit.config["max_value"]
    if is_dask(X):
        meta = scaled(X._meta, sd[:0], None, limit)
        return X.map_blocks(partial(scaled, sd=sd, mean=mean, limit=limit), dtype=dtype, meta=meta)
    return scaled(X, sd, mean, limit)


def scaled(X: Matrix, sd: np.ndarray, mean: np.ndarray | None, limit: float | None) -> Matrix:
    """Return scaled and clipped values of a matrix in memory.

    ``mean`` is subtracted if it is given. Values are then divided by ``sd`` and clipped to ±``limit``.
    """
    if is_sparse(X):
        per_entry = sd[X.indices] if X.format == "csr" else np.repeat(sd, np.diff(X.indptr))
        data = np.divide(X.data, per_entry, out=per_entry)
        if limit is not None:
            np.clip(data, -limit, limit, out=data)
        # A view has a class of anndata, so the plain class is used. The pattern is copied because another slot may hold
        # the same X, and sorting one of them in place would corrupt the other.
        plain_class = getattr(sparse, f"{X.format}_{'matrix' if sparse.isspmatrix(X) else 'array'}")
        return plain_class((data, X.indices.copy(), X.indptr.copy()), shape=X.shape)
    result = np.empty(X.shape, dtype=sd.dtype)
    for rows in row_chunks(X.shape[0]):
        block = X[rows] if mean is None else X[rows] - mean
        np.divide(block, sd, out=result[rows])
        if limit is not None:
            np.clip(result[rows], -limit, limit, out=result[rows])
    return result
