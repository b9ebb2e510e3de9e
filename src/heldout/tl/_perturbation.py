"""Learn the effects of perturbations, and store the fit in the AnnData."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from heldout._core import store
from heldout._core.fits import check_key_is_free, write_fit
from heldout._core.genes import DEFAULT
from heldout._core.keys import check_key
from heldout._core.partition import read_partition
from heldout._core.rng import Rng, seed_of
from heldout._core.threads import thread_policy
from heldout.tasks.perturbation import METHODS
from heldout.tasks.perturbation.pretraining import start_of
from heldout.tasks.perturbation.task import Task

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anndata import AnnData


@thread_policy()
def perturbation(
    adata: AnnData,
    perturbation_key: str | None = None,
    *,
    method: str = "informed_additive",
    control: str | Sequence[str] | None = None,
    targets: str | Mapping[str, str | Sequence[str]] | None = None,
    separator: str | None = "+",
    covariate_keys: str | Sequence[str] | None = None,
    dose_key: str | None = None,
    split_key: str = "split",
    mask_var: str | None = DEFAULT,
    layer: str | None = None,
    config: Any = None,
    start: str | None = None,
    reference: AnnData | None = None,
    rng: Rng = 0,
    key_added: str = "perturbation",
    copy: bool = False,
) -> AnnData | None:
    """Learn the effects of perturbations from train, to predict profiles or cells of other perturbations.

    Most methods learn from pseudobulks: the mean of the cells of a perturbation minus the mean of the train controls of
    the same context. If val has perturbations, their errors give intervals (split conformal prediction, by the number
    of targets that train has seen). :func:`predict_profiles` and :func:`predict_cells` predict, and
    :func:`evaluate_perturbation` scores.

    Parameters
    ----------
    adata
        Annotated data, (n_obs × n_vars), log-normalised; dense, sparse or dask. It needs a split, usually from
        :func:`heldout.pp.split_perturbations`.
    perturbation_key
        Column of ``obs`` with the perturbation of each cell. A split of perturbations knows it, and the next four
        arguments, and ``dose_key`` if it was made with one.
    method
        One of:

        - ``no_change``: the controls of the context;
        - ``mean``: the mean change of the train perturbations;
        - ``mean_of_cells``: the mean change of their cells;
        - ``context_mean``: the mean change of the train perturbations in the same context;
        - ``transfer``: the change of the same perturbation in other contexts;
        - ``additive``: the sum of the changes of the single targets;
        - ``linear``: Y = G W Pᵀ + b, with vectors of genes and targets;
        - ``latent_additive``: effects of targets by ridge regression, in components of the train changes;
        - ``informed_additive``: the same, shrunk towards what the vectors of the targets predict;
        - ``pooled_transfer``: the change of the same perturbation in other contexts, weighted by reliability and shrunk
          towards the mean of the context;
        - ``vector_knn``, ``vector_lasso``: effects of unseen targets from the most similar vectors, or by a lasso;
        - ``stacked``: a weighted sum of simple methods, with weights from held-out perturbations of train;
        - ``nearest``: the change of the most similar train perturbation;
        - ``dose_linear``: changes that grow with the logarithm of the dose, with a shrunk slope for each perturbation;
        - ``dose_isotonic``: changes that only rise or only fall with the dose in each gene, interpolated;
        - ``moved_cells``: measured cells of the nearest perturbation, moved by the missing mean change. It predicts how
          cells vary, and its fit stores train cells;
        - ``composed_cells``: measured cells, moved by the response of each cell to the missing targets, with exactly
          the mean of a closed form. Zeros have a realistic share, and no value is negative. Its fit stores train cells;
        - ``residual_flow``: ``composed_cells``, corrected by a flow as far as held-out train perturbations support it;
        - ``latent_additive_network``: a network that decodes the sum of an encoded control cell and vectors of targets;
        - ``compositional``: an autoencoder of cells with vectors of targets and contexts, trained with an adversary;
        - ``graph``: ``latent_additive_network`` with vectors of unseen targets from a graph of genes;
        - ``set_transport``: attention over sets of control cells, trained on the distance to sets of perturbed cells;
        - ``flow``: conditional flow matching, which generates cells from noise, controls or composed cells.
    control
        Name(s) of the controls. If None, ``"control"``.
    targets
        Targets of each name (guide), see :func:`heldout.pp.split_perturbations`.
    separator
        Text between the targets of a combination. None if each name is one target.
    covariate_keys
        Column(s) of ``obs`` that make up the context (cell line, treatment).
    dose_key
        Numeric column of ``obs`` with the dose, see :func:`heldout.pp.split_perturbations`. ``dose_linear`` and
        ``dose_isotonic`` need it. ``additive``, ``transfer`` and ``moved_cells`` use the nearest measured dose, by the
        logarithm. Other closed forms predict the same change at each dose.
    split_key
        The split.
    mask_var
        Bool column of ``var`` with the genes to use. The default is used if it exists; None uses all genes.
    layer
        Layer to use instead of ``X``. If None, ``X`` is used.
    config
        Options of the method: :class:`heldout.model.LinearConfig`, :class:`heldout.model.LatentAdditiveConfig`,
        :class:`heldout.model.InformedAdditiveConfig`, :class:`heldout.model.NearestConfig`,
        :class:`heldout.model.PooledTransferConfig`, :class:`heldout.model.VectorKnnConfig`,
        :class:`heldout.model.VectorLassoConfig`, :class:`heldout.model.StackedConfig`,
        :class:`heldout.model.MovedCellsConfig`, :class:`heldout.model.ComposedCellsConfig`,
        :class:`heldout.model.ResidualFlowConfig`, :class:`heldout.model.LatentAdditiveNetworkConfig`,
        :class:`heldout.model.CompositionalConfig`, :class:`heldout.model.GraphConfig`,
        :class:`heldout.model.SetTransportConfig`, :class:`heldout.model.PerturbationFlowConfig`,
        :class:`heldout.model.DoseLinearConfig` or :class:`heldout.model.DoseIsotonicConfig`. Options with a field
        ``perturbation_embedding`` may name an embedding of :func:`heldout.pp.embedding`.
    start
        Key of an earlier fit of the same method to start from (pretraining). ``latent_additive`` and
        ``informed_additive`` shrink the effects of targets towards those of the earlier fit, as far as the train cells
        support it. Targets that only the earlier fit has seen keep its effects. Networks continue from the weights of
        the earlier fit. An earlier fit is refused if its train or val had test cells or test perturbations of this
        split.
    reference
        AnnData with the earlier fit. If None, it is ``adata``. It may be another screen, and must have all genes of
        this fit.
    rng
        Seed or Generator, for methods with random draws.
    key_added
        Name of the fit.
    copy
        Return a changed copy instead of changing ``adata``.

    Returns
    -------
    ``None``, or the AnnData if ``copy=True``. Writes:

    ``uns["heldout"]["fits"][key_added]``, ``uns["heldout"]["assignments"]``
        The fit with arrays, options, genes, means of the train controls of each context and package versions; and the
        split on which it was made. With ``start`` or an embedding of a published model, ``parents`` in the record of
        the fit has the hash of each parent, its split, and the perturbations and contexts that it has seen, if known.

    Raises
    ------
    ValueError
        If a column is missing, the values are raw counts, not logged or centred, a context has no train controls, train
        has no perturbation from which the method can learn, or an argument contradicts the split; or if ``start`` does
        not exist, is a fit of another method, lacks genes, or has seen test cells or test perturbations.

    Notes
    -----
    Published networks have not been found to beat the closed forms on combinations and on unseen genes
    :cite:p:`ahlmanneltze2025`.

    Examples
    --------
    >>> import heldout as ho, scanpy as sc
    >>> adata = ho.datasets.perturbations_simulated(n_singles=12, n_doubles=8, n_genes=100, n_cells=20)
    >>> sc.pp.normalize_total(adata, target_sum=1e4)
    >>> sc.pp.log1p(adata)
    >>> ho.pp.split_perturbations(adata, "perturbation", hold_out="combination", val=0, test=0.5)
    >>> ho.tl.perturbation(adata, method="additive")
    >>> predicted = ho.tl.predict_profiles(adata, "perturbation")
    >>> predicted.shape
    (4, 100)
    """
    check_key("key_added", key_added)
    METHODS[method].check_config(config)
    if reference is not None and start is None:
        msg = "reference is given without start. Pass start, the key of the fit in reference to start from."
        raise ValueError(msg)
    store.check_adata(adata)
    check_key_is_free(adata, key_added, f"perturbation.{method}")
    partition = read_partition(adata, split_key)
    task = Task.of(
        adata,
        partition,
        perturbation_key,
        control=control,
        targets=targets,
        separator=separator,
        covariate_keys=covariate_keys,
        dose_key=dose_key,
        mask_var=mask_var,
        layer=layer,
    )
    begin = None if start is None else start_of(adata if reference is None else reference, start, task, method)
    fit = task.calibrated(task.fit(method, config, seed=seed_of(rng), start=begin))
    adata = store.start(adata, copy=copy)
    write_fit(adata, key_added, fit, partition, parents=() if begin is None else begin.assignments)
    return store.finish(adata, copy=copy)
