"""Forecast genes that were held out, and keep the fit in the AnnData."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from heldout._core import store
from heldout._core.fits import Fit, check_key_is_free, check_split, read_fit, write_fit
from heldout._core.keys import check_key
from heldout._core.partition import read_partition
from heldout._core.rng import Rng, seed_of
from heldout._core.threads import thread_policy
from heldout.tasks.forecast_genes import METHODS
from heldout.tasks.forecast_genes.task import Task, predict, task_of_fit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData


@thread_policy()
def forecast_genes(
    adata: AnnData,
    time_key: str,
    *,
    at: float | None = None,
    history: Sequence[float] | None = None,
    method: str = "stacked",
    group_key: str | None = None,
    n_replicates: int = 20,
    split_key: str = "gene_split",
    layer: str | None = None,
    config: Any = None,
    rng: Rng = 0,
    key_added: str = "forecast_genes",
    copy: bool = False,
) -> AnnData | None:
    """Forecast held-out genes at the last time from their own past.

    The fit learns from train genes how the pseudobulks of the past continue at the target time. Stopping sees val
    genes. Values of test genes at the target time are not read. The prediction is the change from the last time of the
    history. Train and test genes come from the same cells, so this is a forecast for unseen genes, not for unseen
    cells.

    Parameters
    ----------
    adata
        Annotated data, (n_obs × n_vars), log-normalised, with a split of genes by :func:`heldout.pp.split_genes`.
    time_key
        Numeric column of ``obs``.
    at
        Target time. If None, the last time.
    history
        Times that are used, at least three, all before ``at``. If None, all times before ``at``.
    method
        ``persistence`` (no change), ``mean`` (of the train genes), ``linear`` (the last step continues), ``ridge`` (on
        the centred history), ``low_rank`` (ridge on the first components of history and last distribution),
        ``gaussian_process`` (on the same), ``multi_kernel`` (a Gaussian process on these components, on past courses
        and on coexpression), ``coexpression`` (each gene from the train genes, by regression over cells of the
        history), ``stacked`` (of the last three, weighted by held-out train genes), ``lstm`` and ``feedforward``
        (ensembles on top of ``low_rank``), ``lstm_published`` and ``feedforward_published``.
    group_key
        Column of ``obs`` with the library. Libraries of a time then have equal weight, and are drawn in the bootstrap.
    n_replicates
        Number of bootstrap replicates over cells (and libraries) of each time. Networks train on these trajectories.
    split_key
        Column of ``var`` with the split of the genes.
    layer
        Layer to use instead of ``X``. If None, ``X`` is used.
    config
        Options of the networks, a :class:`heldout.model.GeneNetworkConfig`.
    rng
        Seed or Generator of the bootstrap and of training. The global state of torch does not change.
    key_added
        Name of the fit, and prefix of the written columns.
    copy
        Return a changed copy instead of changing ``adata``.

    Returns
    -------
    ``None``, or the AnnData if ``copy=True``. Sets the following fields:

    ``var[key_added + "_prediction"]``
        Predicted mean of each gene at the target time, float64, in the unit of the matrix. For train genes it is the
        fitted value. NaN for unused genes.
    ``var[key_added + "_change"]``
        Prediction minus the mean at the last time of the history.
    ``uns["heldout"]["fits"][key_added]``, ``uns["heldout"]["assignments"]``
        The fit with numbers, options, genes, history and versions, and its split of genes.

    Raises
    ------
    ValueError
        If a column or time is missing or not numeric, the target is not after the history, the history has fewer than
        three times, a time has fewer than 10 cells, or values that are read are not finite.

    Examples
    --------
    >>> import heldout as ho, scanpy as sc
    >>> adata = ho.datasets.lmna_simulated(n_cells=50, n_genes=200)
    >>> sc.pp.normalize_total(adata, target_sum=1e4)
    >>> sc.pp.log1p(adata)
    >>> ho.pp.split_genes(adata)
    >>> ho.tl.forecast_genes(adata, "day", method="ridge")
    >>> adata.var["forecast_genes_change"].shape
    (200,)
    """
    check_key("key_added", key_added)
    METHODS[method].check_config(config)
    store.check_adata(adata)
    check_key_is_free(adata, key_added, f"forecast_genes.{method}")
    partition = read_partition(adata, split_key, axis="var")
    task = Task.of(
        adata,
        partition,
        time_key=time_key,
        at=at,
        history=history,
        group_key=group_key,
        n_replicates=n_replicates,
        layer=layer,
    )
    data = task.data(seed=seed_of(rng))
    fit, change = task.fit(method, config, seed=seed_of(rng), data=data)
    slots = prediction_slots(task, change, data.history.last, key=key_added)
    adata = store.start(adata, copy=copy)
    write_fit(adata, key_added, fit, partition, **slots)
    return store.finish(adata, copy=copy)


def predict_again(adata: AnnData, key: str, *, copy: bool) -> AnnData | None:
    """Predict the genes of the AnnData with its stored fit, for :func:`heldout.tl.predict`."""
    fit: Fit = read_fit(adata, key)
    partition = read_partition(adata, fit.split_key, axis="var")
    check_split(adata, fit, partition, key=key)
    task = task_of_fit(adata, partition, fit)
    seen = task.history()
    slots = prediction_slots(task, predict(fit, seen), seen.last, key=key)
    adata = store.start(adata, copy=copy)
    store.commit(adata, **slots)
    return store.finish(adata, copy=copy)


def prediction_slots(task: Task, change: np.ndarray, last: np.ndarray, *, key: str) -> dict[str, Any]:
    """Columns of ``var`` that a prediction writes."""
    level, step = np.full(task.adata.n_vars, np.nan), np.full(task.adata.n_vars, np.nan)
    step[task.genes], level[task.genes] = change, last + change
    return {"var": {f"{key}_prediction": level, f"{key}_change": step}}
