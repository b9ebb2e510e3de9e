"""Fit a genotype method and keep it in the AnnData."""

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
from heldout.tasks.genotype import METHODS
from heldout.tasks.genotype.estimators.estimator import Estimator
from heldout.tasks.genotype.features import OF_GENES
from heldout.tasks.genotype.resolve import default_method, label_of, resolved
from heldout.tasks.genotype.task import Task, predict
from heldout.tasks.genotype.trained import Trained
from heldout.tl._predict import prediction_slots

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData


@thread_policy()
def genotype(
    adata: AnnData,
    label_key: str | None = None,
    *,
    method: Any = None,
    auxiliary_key: str | None = None,
    group_key: str | Sequence[str] | None = None,
    covariate_keys: Sequence[str] | None = None,
    cell_type_key: str | None = None,
    mask_var: str | None = "highly_variable",
    layer: str | None = None,
    split_key: str = "split",
    config: Any = None,
    rng: Rng = 0,
    key_added: str = "genotype",
    copy: bool = False,
) -> AnnData | None:
    """Fit a classifier of cells by the class (patient or control) of their library or donor.

    The fit sees the train partition, stopping sees val, and test is only predicted. The fit is stored inside the
    AnnData; see :func:`heldout.tl.predict` and :func:`heldout.tl.evaluate`.

    Parameters
    ----------
    adata
        Annotated data, (n_obs × n_vars), prepared with :mod:`heldout.pp`. Methods that read genes warn of raw counts.
    label_key
        Column of ``obs`` that is predicted, with two or more classes. If None, the label of the split is used, else the
        column ``genotype``. Of two classes the second (in the order of the
        categories, or by name) is the positive class.
    method
        If None, ``auto``: an average of simple methods, weighted by how well they predict left-out groups of train.
        With ``auxiliary_key``, or with the options of a network in ``config``, that network instead. By name: the
        networks ``mlp`` on cells and ``attention`` on whole groups, or ``majority``, ``qc_logistic``,
        ``covariate_logistic``, ``logistic``, ``nearest_centroid``, ``pseudobulk_logistic``, ``pseudobulk_ridge``,
        ``pseudobulk_shrunken``, ``pseudobulk_boosting``, ``pathway_logistic``, ``composition_logistic``,
        ``celltype_pseudobulk``, ``mean_embedding``, ``stacked``, ``auto`` and ``tabpfn`` (needs the package tabpfn).
        Methods that predict whole groups (``attention``, ``pseudobulk_shrunken``, ``pseudobulk_boosting``, and the last
        six) write the prediction of a group to all its cells. Or a classifier of scikit-learn (or another package with
        the same methods), or one in :class:`heldout.model.Estimator`, which fits on cells or on means of groups. Its
        predictions for all cells of ``adata`` are stored, because keeping the classifier itself needs a pickle. So it
        is evaluated like other fits, but predicts new cells only if it is linear, as ``LogisticRegression`` is.
    auxiliary_key
        Column of ``obs``, e.g. the day, that a network predicts with a second head (Model B). Values that train does
        not contain are not used in its loss.
    group_key
        Column(s) of ``obs`` with the independent unit. If None, the group of the split is used.
    covariate_keys
        Columns of ``obs`` that could reveal the label through the design (day, batch), for ``covariate_logistic``. With
        other methods they are stored, so that :func:`heldout.tl.evaluate` includes this baseline.
    cell_type_key
        Column of ``obs`` with the type of each cell, for ``composition_logistic`` and ``celltype_pseudobulk``, which
        uses clusters without it. It is stored in the same way.
    mask_var
        Bool column of ``var`` with the genes to use. The default column is used if it exists. If None, all genes are
        used.
    layer
        Layer to use instead of ``X``. If None, ``X`` is used.
    split_key
        Column of ``obs`` with the split.
    config
        Options of the method: :class:`heldout.model.MLPConfig`, :class:`heldout.model.AttentionConfig`,
        :class:`heldout.model.LogisticConfig` for all methods with ``logistic`` in their names,
        :class:`heldout.model.RidgeConfig` for ``pseudobulk_ridge``, :class:`heldout.model.ShrunkenConfig` for
        ``pseudobulk_shrunken``, :class:`heldout.model.BoostingConfig` for ``pseudobulk_boosting``,
        :class:`heldout.model.CellTypeConfig` for ``celltype_pseudobulk``,
        :class:`heldout.model.EmbeddingConfig` for ``mean_embedding``, :class:`heldout.model.PathwayConfig` with the
        gene sets for ``pathway_logistic``, :class:`heldout.model.StackedGroupsConfig` for ``stacked``,
        :class:`heldout.model.AutoGroupsConfig` for ``auto``, and :class:`heldout.model.TabPFNConfig` for ``tabpfn``.
        ``majority`` and ``nearest_centroid`` have no options, and a
        classifier has its own.
    rng
        Seed or Generator. The global state of torch does not change.
    key_added
        Name of the fit, and prefix of the written columns.
    copy
        Return a changed copy instead of changing ``adata``.

    Returns
    -------
    ``None``, or the AnnData if ``copy=True``. Sets the following fields:

    ``obs[key_added + "_prediction"]``
        Predicted class of each cell, categorical.
    ``obs[key_added + "_probability"]``
        Probability of the positive class. With more than two classes, that of the predicted class. float32.
    ``obsm[key_added + "_log_probability"]``
        Log-probabilities, (n_obs × n_classes) float32.
    ``uns["heldout"]["fits"][key_added]``, ``uns["heldout"]["assignments"]``
        The fit with weights, options, genes, history and versions, and its split.

    Raises
    ------
    TypeError
        If ``method`` is an object that is not a classifier, or has neither ``predict_proba`` nor ``decision_function``.
    ValueError
        If a column is missing, labels are missing, train lacks a class, the preparation was fitted on another split, or
        a classifier of scikit-learn fails.

    Examples
    --------
    >>> import heldout as ho, scanpy as sc
    >>> adata = ho.datasets.lmna_simulated(n_cells=50, n_genes=200)
    >>> ho.pp.split_matched(adata, "library", "day", label_key="genotype", test=19, val=0)
    >>> sc.pp.normalize_total(adata, target_sum=1e4)
    >>> sc.pp.log1p(adata)
    >>> ho.pp.scale(adata)
    >>> ho.tl.genotype(adata, "genotype", auxiliary_key="day", config=ho.model.MLPConfig(max_epochs=2))
    >>> adata.obsm["genotype_log_probability"].shape
    (600, 2)
    """
    check_key("key_added", key_added)
    method, config = resolved(default_method(config, auxiliary_key) if method is None else method, config)
    if auxiliary_key is not None and (METHODS[method].role != "model" or METHODS.is_adapter(method)):
        msg = (
            f"auxiliary_key={auxiliary_key!r} is only for method='mlp' and 'attention', not for {method!r}. Leave it "
            "out."
        )
        raise ValueError(msg)
    store.check_adata(adata)
    check_key_is_free(adata, key_added, f"genotype.{method}")
    partition = read_partition(adata, split_key)
    check_steps(adata, partition)
    task = Task.of(
        adata,
        partition,
        label_key=label_of(adata, partition, label_key),
        auxiliary_key=auxiliary_key,
        group_key=group_key,
        covariate_keys=covariate_keys,
        cell_type_key=cell_type_key,
        mask_var=mask_var,
        layer=layer,
    )
    if METHODS[method].load().features in OF_GENES:
        because = "the classifier can learn the sequencing depth instead of expression"
        warn_of_counts(adata, layer, partition.rows("train"), because=because)
    trained = Trained.of(task, method, config, seed=seed_of(rng))
    fit = trained.to_fit()
    slots = prediction_slots(fit, predict(fit, adata, key=key_added, layer=layer), key=key_added, index=adata.obs_names)
    adata = store.start(adata, copy=copy)
    write_fit(adata, key_added, fit, partition, **slots)
    if isinstance(config, Estimator):
        config.fitted_ = trained.implementation.live  # type: ignore[attr-defined]
    return store.finish(adata, copy=copy)
