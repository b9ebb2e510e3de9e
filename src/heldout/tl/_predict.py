"""Predict with a fit that is stored in an AnnData."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from heldout._core import keys, store
from heldout._core.fits import Fit, check_split, fit_sections, read_fit
from heldout._core.keys import PredictionKeys
from heldout._core.partition import PARTITIONS, load_assignment, read_partition
from heldout.tasks.genotype.task import check_prepared
from heldout.tasks.genotype.task import predict as predict_genotype
from heldout.tasks.perturbation.predict import predicted_profiles
from heldout.tl._forecast import predicted_cells

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

logger = logging.getLogger("heldout")


def predict(
    adata: AnnData,
    key: str = "genotype",
    *,
    reference: AnnData | None = None,
    at: float | Sequence[float] | None = None,
    perturbations: Sequence[str] | None = None,
    contexts: Sequence[Any] | None = None,
    level: float = 0.9,
    layer: str | None = None,
    copy: bool = False,
) -> AnnData | None:
    """Predict all cells with a stored fit, of this AnnData or of a reference; or cells at another time, or perturbations.

    Predicting the same cells again gives the same bits, in another process too (same machine and versions).

    Parameters
    ----------
    adata
        Cells to predict, (n_obs × n_vars). New cells must be prepared as those of the fit, see
        :func:`heldout.pp.replay`. Genes may stand in another order; more genes do no harm.
    key
        Name of the fit.
    reference
        AnnData that holds the fit, if it is another one; the fit is copied into ``adata``.
    at
        Time or times to forecast; only for a fit of :func:`heldout.tl.forecast`. The start cells are the train cells of the
        latest train time before it; with ``reference`` all cells of ``adata`` at that time.
    perturbations
        Names of perturbations, such as ``"A+B"``; only for a fit of :func:`heldout.tl.perturbation`. Those of the test cells,
        in their contexts, if not given.
    contexts
        Contexts to predict them in: values of the covariate, or tuples of several. All if not given.
    level
        Nominal coverage of the intervals of predicted perturbations: 0.5, 0.6, 0.7, 0.8, 0.9 or 0.95.
    layer
        Layer to use instead of the one that was fitted on.
    copy
        Return a changed copy instead of changing ``adata``.

    Returns
    -------
    ``None``, or the AnnData if ``copy=True``. Written are:

    ``obs[key + "_prediction"]``
        Predicted class of each cell, categorical.
    ``obs[key + "_probability"]``
        Probability of the positive class of two; of the predicted class for more. float32.
    ``obsm[key + "_log_probability"]``
        Log-probabilities, (n_obs × n_classes) float32.
    ``uns["heldout"]["fits"][key]``, ``uns["heldout"]["assignments"]``
        With ``reference``: the fit and the split it was made on.

    A forecast changes nothing. It returns a new AnnData of predicted cells: genes in ``X`` (float32), coordinates in
    ``obsm``, in ``obs`` the time, ``start_time`` and ``start_cell`` (empty where a method keeps no cell), in ``uns`` the hash of
    the fit. It warns when the time is further ahead than 1.5 times the longest step between train times.

    Predicted perturbations change nothing either. They are the rows of a new AnnData: mean log-normalised expression in ``X``
    (the train controls of the context, changed), ``layers["change"]``, with perturbations in val ``layers["lower"]`` and
    ``layers["upper"]`` (NaN where too few of a kind are in val), all float32. ``obs`` has the perturbation, the context,
    ``n_targets``, ``n_seen`` (targets that train has seen), ``predicted`` and ``fallback`` (rests on a stand-in, such as the
    mean effect of a target). What the method cannot predict is a row of NaN. With ``reference`` the changes are added to the
    controls of ``adata``, for a screen in other cells.

    Raises
    ------
    ValueError
        If the fit is not there, genes are missing, the cells were prepared otherwise, or ``adata`` has a split that
        differs from the one the fit was made on.

    Examples
    --------
    >>> import heldout as ho, scanpy as sc
    >>> adata = ho.datasets.lmna_simulated(n_cells=50, n_genes=200)
    >>> ho.pp.split_matched(adata, "library", "day", label_key="genotype", test=19, val=0)
    >>> sc.pp.normalize_total(adata, target_sum=1e4)
    >>> sc.pp.log1p(adata)
    >>> ho.tl.genotype(adata, "genotype", method="logistic", key_added="baseline")
    >>> ho.tl.predict(adata, "baseline")
    """
    store.check_adata(adata)
    source = adata if reference is None else reference
    fit = read_fit(source, key)
    if at is not None and not fit.method.startswith("forecast."):
        msg = f"at={at!r} is for a forecast of cells; the fit {key!r} is a {fit.method!r}. Leave it out."
        raise ValueError(msg)
    _check_wing(fit, key, perturbations=perturbations, contexts=contexts)
    if fit.method.startswith("perturbation."):
        return predicted_profiles(
            adata, fit, key=key, perturbations=perturbations, contexts=contexts, coverage=level, reference=reference
        )
    if fit.method.startswith("forecast_genes."):
        return _predict_genes(adata, key, reference=reference, layer=layer, copy=copy)
    if fit.method.startswith("forecast."):
        if reference is None:
            check_split(adata, fit, read_partition(adata, fit.split_key), key=key)
        return predicted_cells(adata, fit, key=key, at=at, reference=reference, layer=layer)
    layer = fit.info["layer"] if layer is None else layer
    if fit.split_key in adata.obs.columns and reference is None:
        check_split(adata, fit, read_partition(adata, fit.split_key), key=key)
    check_prepared(fit, adata, key=key, layer=layer)
    sections: dict[str, Any] = {}
    if reference is not None:
        _say_what_was_seen(fit, source, adata, key=key)
        sections = fit_sections(adata, {key: fit})
        sections[keys.ASSIGNMENTS][fit.split_hash] = load_assignment(source, fit.split_hash).stored()
    slots = prediction_slots(fit, predict_genotype(fit, adata, key=key, layer=layer), key=key, index=adata.obs_names)
    adata = store.start(adata, copy=copy)
    store.commit(adata, heldout=sections, **slots)
    return store.finish(adata, copy=copy)


def _check_wing(fit: Fit, key: str, **given: Any) -> None:
    """Refuse what is for predicted perturbations only."""
    if not fit.method.startswith("perturbation."):
        for name, value in given.items():
            if value is not None:
                msg = f"{name}={value!r} is for predicted perturbations; the fit {key!r} is a {fit.method!r}. Leave it out."
                raise ValueError(msg)


def _predict_genes(
    adata: AnnData, key: str, *, reference: AnnData | None, layer: str | None, copy: bool
) -> AnnData | None:
    """A forecast of genes is tied to its time course: it is computed again from the cells it was made on."""
    given = {name: value for name, value in (("reference", reference), ("layer", layer)) if value is not None}
    if given:
        msg = (
            f"{next(iter(given))} is not for the fit {key!r}, a forecast of genes: it belongs to its own time course. Call "
            "heldout.tl.forecast_genes on the other data."
        )
        raise ValueError(msg)
    from heldout.tl._forecast_genes import predict_again

    return predict_again(adata, key, copy=copy)


def prediction_slots(fit: Fit, log_probability: np.ndarray, *, key: str, index: pd.Index) -> dict[str, Any]:
    """What a prediction writes into obs and obsm."""
    names = PredictionKeys(key)
    best = log_probability.argmax(axis=1)
    probability = np.exp(log_probability)
    shown = probability[:, 1] if probability.shape[1] == 2 else probability.max(axis=1)
    labels = pd.Series(pd.Categorical.from_codes(best, categories=fit.info["classes"]), index=index)
    return {
        "obs": {names.label: labels, names.probability: shown},
        "obsm": {names.log_probability: log_probability},
    }


def _say_what_was_seen(fit: Fit, source: AnnData, adata: AnnData, *, key: str) -> None:
    before = load_assignment(source, fit.split_hash).lookup(adata.obs_names)
    seen = int(np.isin(before, [PARTITIONS.index("train"), PARTITIONS.index("val")]).sum())
    if seen:
        logger.warning(
            "%d of these %d cells are train or val cells of the fit %r; a score on them means nothing",
            seen,
            adata.n_obs,
            key,
        )
