"""Learn what perturbations do, and keep the fit in the AnnData."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from heldout._core import store
from heldout._core.fits import check_key_is_free, write_fit
from heldout._core.genes import DEFAULT
from heldout._core.keys import check_key
from heldout._core.partition import read_partition
from heldout._core.rng import Rng, seed_of
from heldout.tasks.perturbation import METHODS
from heldout.tasks.perturbation.pretraining import start_of
from heldout.tasks.perturbation.task import Task

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anndata import AnnData


def perturbation(
    adata: AnnData,
    perturbation_key: str | None = None,
    *,
    method: str = "informed_additive",
    control: str | Sequence[str] | None = None,
    targets: str | Mapping[str, str | Sequence[str]] | None = None,
    separator: str | None = "+",
    covariate_keys: str | Sequence[str] | None = None,
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
    """Learn from the perturbations of train what others do to the mean expression.

    What is learnt are changes of pseudobulks: the mean of the cells of a perturbation minus the mean of the train controls
    of the same context. With perturbations in val, their errors give intervals (split conformal prediction, by the number
    of targets that train has seen). :func:`heldout.tl.predict` gives profiles, :func:`heldout.tl.evaluate` scores them.

    Parameters
    ----------
    adata
        Annotated data, (n_obs × n_vars), log-normalised; dense, sparse or dask. With a split, as a rule by
        :func:`heldout.pp.split_perturbations`.
    perturbation_key
        Column of ``obs`` with the perturbation of each cell. A split of perturbations knows it, and the four that follow.
    method
        ``no_change``, ``mean`` (of the train perturbations), ``mean_of_cells`` (of their cells), ``context_mean`` (of those in
        the same context), ``transfer`` (the same perturbation in other contexts), ``additive`` (the sum of what the targets
        do alone), ``linear`` (Y = G W Pᵀ + b), ``latent_additive`` (effects of targets by ridge regression in few
        components), ``informed_additive`` (the same, drawn to what the vectors of the targets foretell) or ``nearest`` (the most
        similar train perturbation).
    control
        Name(s) of the controls; ``"control"`` if not given.
    targets
        What each name (guide) perturbs, see :func:`heldout.pp.split_perturbations`.
    separator
        Text between the targets of a combination; None if a name is one target.
    covariate_keys
        Column(s) of ``obs`` that make up the context (cell line, treatment).
    split_key
        The split.
    mask_var
        Bool column of ``var`` with the genes to use. The default is used if it is there; None uses all genes.
    layer
        Layer to use instead of ``X``.
    config
        Options of the method: :class:`heldout.model.LinearConfig`, :class:`heldout.model.LatentAdditiveConfig`,
        :class:`heldout.model.InformedAdditiveConfig` or :class:`heldout.model.NearestConfig`. All but the second may name an
        embedding that :func:`heldout.pp.embedding` has added.
    start
        Key of an earlier fit of the same method to start from (pretraining). ``latent_additive`` and ``informed_additive`` shrink
        the effects of targets towards those of the earlier fit, as far as the train cells support them; targets that
        only the earlier fit has seen keep its effects. An earlier fit that has seen test cells or test perturbations in
        train or val is refused.
    reference
        AnnData with the earlier fit; ``adata`` if None. It may be another screen, and must have all genes of this fit.
    rng
        Seed or Generator, for methods that draw.
    key_added
        Name of the fit.
    copy
        Return a changed copy instead of changing ``adata``.

    Returns
    -------
    ``None``, or the AnnData if ``copy=True``. Written are:

    ``uns["heldout"]["fits"][key_added]``, ``uns["heldout"]["assignments"]``
        The fit with numbers, options, genes, mean of the train controls of each context and versions; and the split it was
        made on. With ``start`` or an embedding of a published model, ``parents`` in the record of the fit lists the hash
        of each parent, its split, and the perturbations and contexts that it has seen, if they are known.

    Raises
    ------
    ValueError
        If a column is missing, the values are raw counts, not logged or centred, a context has no train controls, train has
        no perturbation that the method can learn from, or an argument contradicts the split; if ``start`` is not there, is a
        fit of another method, lacks genes, or has seen test cells or test perturbations.

    Notes
    -----
    Deep networks have not been found to beat these closed forms on combinations and on unseen genes
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
        mask_var=mask_var,
        layer=layer,
    )
    begin = None if start is None else start_of(adata if reference is None else reference, start, task, method)
    fit = task.calibrated(task.fit(method, config, seed=seed_of(rng), start=begin))
    adata = store.start(adata, copy=copy)
    write_fit(adata, key_added, fit, partition, parents=() if begin is None else begin.assignments)
    return store.finish(adata, copy=copy)
