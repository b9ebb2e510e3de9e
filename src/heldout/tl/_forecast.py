"""Fit a forecast of cell states, and store it in the AnnData."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from heldout._core import store
from heldout._core.chain import check_steps
from heldout._core.fits import check_key_is_free, write_fit
from heldout._core.keys import check_key
from heldout._core.partition import read_partition
from heldout._core.prepared import warn_of_counts
from heldout._core.rng import Rng, seed_of
from heldout._core.threads import thread_policy
from heldout.tasks.forecast import METHODS
from heldout.tasks.forecast.lineages import check_method
from heldout.tasks.forecast.past import past_skill
from heldout.tasks.forecast.task import Task

if TYPE_CHECKING:
    from anndata import AnnData


@thread_policy()
def forecast(
    adata: AnnData,
    time_key: str,
    *,
    method: str = "auto",
    split_key: str = "split",
    mask_var: str | None = "highly_variable",
    layer: str | None = None,
    use_rep: str | None = None,
    n_comps: int = 50,
    lineages_key: str | None = None,
    config: Any = None,
    rng: Rng = 0,
    key_added: str = "forecast",
    copy: bool = False,
) -> AnnData | None:
    """Learn how cells change with time, to predict cells at a later time or between two times.

    The fit sees the cells of the train times, stopping sees val, and test is not read. The target times are those of
    the test partition, see :func:`heldout.pp.split_time`. The fit sees only these times, not their cells. Predict cells
    with ``heldout.tl.predict_cells(adata, key, at=96)`` and score them with :func:`heldout.tl.evaluate`.

    Parameters
    ----------
    adata
        Annotated data, (n_obs × n_vars), log-normalised, or with other values that increase with expression.
    time_key
        Numeric column of ``obs``. Times may be irregular. Their distances are used, in the unit of the column.
    method
        ``auto`` predicts train times from other train times by several methods, and predicts the target by a mixture of
        those that were close, or repeats the last cells if none was. ``flow`` (optimal-transport flow matching),
        ``lstm``, ``feedforward``, ``lstm_published`` and ``feedforward_published`` (without skip connection, and
        without the real times) are networks. The others are in closed form: ``persistence``, ``pooled_past``,
        ``damped_shift``, ``ot_linear``, ``var_ridge``, ``reversion``, ``ridge_reversion`` and ``states`` (the
        composition follows a Markov chain between groups of similar cells). For times between train times also
        ``blend`` (cells on curves through all train times, and far pairs stay), ``ot_interpolation`` and
        ``neighbour_mixture``.
    split_key
        Column of ``obs`` with the split.
    mask_var
        Bool column of ``var`` with the genes to use. The default column is used if it exists. If None, all genes are
        used.
    layer
        Layer to use instead of ``X``. If None, ``X`` is used.
    use_rep
        Name in ``obsm`` of a PCA by :func:`heldout.pp.pca` on the same split, with its genes and layer. If None,
        a PCA of the train cells is fitted.
    n_comps
        Number of components of that PCA. With at most 100 genes all directions are kept.
    lineages_key
        Name of the chains by :func:`heldout.pp.lineages` on this split, for the networks that train on chains
        (``lstm``, ``feedforward`` and both as published). If None, they draw chains in the space of the fit. Stored
        chains were drawn with all train times, so the damping that is learnt on past times is slightly too optimistic.
    config
        Options of the method: :class:`heldout.model.AutoConfig` for ``auto``, :class:`heldout.model.FlowConfig` for
        ``flow``, :class:`heldout.model.SequenceConfig` for ``lstm`` and ``feedforward``,
        :class:`heldout.model.PublishedConfig` for their published versions, and :class:`heldout.model.DampingConfig`
        for ``damped_shift``, ``ot_linear``, ``var_ridge``, ``reversion`` and ``ridge_reversion``,
        :class:`heldout.model.StatesConfig` for ``states``, :class:`heldout.model.BlendConfig` for ``blend``, and
        :class:`heldout.model.InterpolationConfig` for ``ot_interpolation``. The other baselines have no options. The
        last three can take the growth rates of cells from a column of ``obs``.
    rng
        Seed or Generator. The global state of torch does not change.
    key_added
        Name of the fit.
    copy
        Return a changed copy instead of changing ``adata``.

    Returns
    -------
    ``None``, or the AnnData if ``copy=True``. Sets the following fields:

    ``uns["heldout"]["fits"][key_added]``, ``uns["heldout"]["assignments"]``
        The fit with weights, space, options, genes, history and versions, and its split.

    Raises
    ------
    ValueError
        If the times are not numeric, or a train time has fewer than 10 cells. If a test time is also in train, or is
        before all train times. If the method cannot predict the test times, or needs more train times. If the lineages
        were drawn on another split or other times, or the method does not train on chains.

    Notes
    -----
    Methods that move cells learn on past times how much of the movement to apply: each train time from the third on is
    forecast from the times before it. Often the best share is 0, which is persistence.

    ``auto`` stacks its candidates: the weights are those with the lowest energy distance on past times, shrunk towards
    persistence if there are few past times or no mixture explains them. Each cell is predicted by one candidate, in
    proportion to the weights. :func:`heldout.get.backtests` has the scores of all candidates on past times, and
    :func:`heldout.get.past_skill` what they say about the skill at a new time.

    Examples
    --------
    >>> import heldout as ho, scanpy as sc
    >>> adata = ho.datasets.lmna_simulated(n_cells=20, n_genes=100)
    >>> ho.pp.split_time(adata, "day", test=30)
    >>> sc.pp.normalize_total(adata, target_sum=1e4)
    >>> sc.pp.log1p(adata)
    >>> ho.tl.forecast(adata, "day")
    >>> predicted = ho.tl.predict_cells(adata, "forecast", at=30)
    >>> predicted.obs["day"].unique().tolist()
    [30.0]
    """
    check_key("key_added", key_added)
    METHODS[method]
    check_method(method, lineages_key)
    store.check_adata(adata)
    check_key_is_free(adata, key_added, f"forecast.{method}")
    partition = read_partition(adata, split_key)
    check_steps(adata, partition)
    options: dict[str, Any] = {"mask_var": mask_var, "layer": layer, "use_rep": use_rep, "n_comps": n_comps}
    task = Task.of(adata, partition, time_key=time_key, lineages_key=lineages_key, **options)
    if use_rep is None:
        because = "the forecast can follow the sequencing depth instead of expression"
        warn_of_counts(adata, layer, partition.rows("train"), because=because)
    fit = task.fit(method, config, seed=seed_of(rng))
    adata = store.start(adata, copy=copy)
    write_fit(adata, key_added, fit, partition)
    for at in fit.info["test_times"]:
        past = past_skill(method, fit.info["fitted"], at, beyond=at > fit.info["train_times"][-1])
        store.logger.info("%s for %s=%g. %s", method, time_key, at, past.words)
    return store.finish(adata, copy=copy)
