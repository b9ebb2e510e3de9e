"""Write the predictions of a stored fit into an AnnData."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from heldout._core import keys, store
from heldout._core.fits import Fit, check_split, fit_sections, latest_fit, read_fit, read_header
from heldout._core.keys import PredictionKeys
from heldout._core.partition import PARTITIONS, load_assignment, read_partition
from heldout._core.threads import thread_policy
from heldout.tasks.genotype.task import check_prepared
from heldout.tasks.genotype.task import predict as predict_genotype
from heldout.tl._moved import moved

if TYPE_CHECKING:
    from anndata import AnnData

logger = logging.getLogger("heldout")

VERBS = {
    "genotype": ("predict",),
    "forecast_genes": ("predict",),
    "forecast": ("predict_cells",),
    "perturbation": ("predict_profiles", "predict_cells"),
}
"""The functions that predict with the fits of a task, the usual one first."""


@moved(
    at="heldout.tl.predict_cells with at=",
    perturbations="heldout.tl.predict_profiles with perturbations=",
    contexts="heldout.tl.predict_profiles with contexts=",
    level="heldout.tl.predict_profiles with coverage=",
)
@thread_policy()
def predict(
    adata: AnnData,
    key: str | None = None,
    *,
    reference: AnnData | None = None,
    layer: str | None = None,
    copy: bool = False,
) -> AnnData | None:
    """Predict the class of all cells, or the change of all genes, with a stored fit, and write the predictions.

    Fits of :func:`genotype` and :func:`forecast_genes` have predictions for the cells or genes at hand. Fits of
    :func:`forecast` predict other cells, see :func:`predict_cells`; fits of :func:`perturbation` predict profiles,
    see :func:`predict_profiles`. Predicting the same cells again gives the same bits, also in another process (on the
    same machine with the same package versions).

    Parameters
    ----------
    adata
        Cells to predict, (n_obs × n_vars). Prepare new cells as those of the fit, see :func:`heldout.pp.replay`.
        Genes may be in another order, and further genes are ignored.
    key
        Name of the fit. If None, the last stored fit of :func:`genotype` or :func:`forecast_genes` is used.
    reference
        AnnData that holds the fit. If None, it is ``adata``; otherwise the fit is copied into ``adata``. Not for gene
        forecasts.
    layer
        Layer to use instead of the one that the fit was made on. Not for gene forecasts.
    copy
        Return a changed copy instead of changing ``adata``.

    Returns
    -------
    ``None``, or the AnnData if ``copy=True``. Writes for a genotype fit:

    ``obs[key + "_prediction"]``
        Predicted class of each cell, categorical.
    ``obs[key + "_probability"]``
        Probability of the positive class for two classes; of the predicted class for more. float32.
    ``obsm[key + "_log_probability"]``
        Log-probabilities, (n_obs × n_classes) float32.
    ``uns["heldout"]["fits"][key]``, ``uns["heldout"]["assignments"]``
        With ``reference``: the fit and the split it was made on.

    For a gene forecast, ``var`` has the columns ``<key>_prediction`` (mean at the target time) and ``<key>_change``,
    NaN for genes that the fit does not read.

    Raises
    ------
    TypeError
        If an option of :func:`predict_cells` or :func:`predict_profiles` is passed.
    ValueError
        If there is no such fit or another function predicts with it, genes are missing, the cells were prepared in
        another way, or ``adata`` has another split than that of the fit.

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
    key, fit = fit_to_predict(adata, key, "predict", reference=reference)
    if fit.method.startswith("forecast_genes."):
        return _predict_genes(adata, key, reference=reference, layer=layer, copy=copy)
    source = adata if reference is None else reference
    layer = fit.info["layer"] if layer is None else layer
    if fit.split_key in adata.obs.columns and reference is None:
        check_split(adata, fit, read_partition(adata, fit.split_key), key=key)
    check_prepared(fit, adata, key=key, layer=layer)
    sections: dict[str, Any] = {}
    if reference is not None:
        _warn_of_seen_cells(fit, source, adata, key=key)
        sections = fit_sections(adata, {key: fit})
        sections[keys.ASSIGNMENTS][fit.split_hash] = load_assignment(source, fit.split_hash).stored()
    slots = prediction_slots(fit, predict_genotype(fit, adata, key=key, layer=layer), key=key, index=adata.obs_names)
    adata = store.start(adata, copy=copy)
    store.commit(adata, heldout=sections, **slots)
    return store.finish(adata, copy=copy)


def fit_to_predict(adata: AnnData, key: str | None, verb: str, *, reference: AnnData | None) -> tuple[str, Fit]:
    """Read the fit ``key``, or the last fit that ``verb`` predicts with; refuse a fit of another function."""
    store.check_adata(adata)
    source = adata if reference is None else reference
    able = [wing for wing, names in VERBS.items() if verb in names]
    key = _latest(source, able, verb) if key is None else key
    method = read_header(source, key).method
    verbs = VERBS.get(method.split(".")[0])
    if verbs is None:
        msg = f"Fit {key!r} is a preparation step; it has no predictions."
        raise ValueError(msg)
    if verb not in verbs:
        other = verbs[0]
        options = ", at=..." if other == "predict_cells" else ""
        msg = (
            f"heldout.tl.{verb} does not predict with fit {key!r}, a {method!r}. Call "
            f"heldout.tl.{other}(adata, {key!r}{options})."
        )
        raise ValueError(msg)
    return key, read_fit(source, key)


def _latest(source: AnnData, able: list[str], verb: str) -> str:
    """Key of the last fit that ``verb`` predicts with; the error names the function for the fit that is there."""
    try:
        return latest_fit(source, able, purpose=f"for heldout.tl.{verb}")
    except ValueError as problem:
        try:
            other = latest_fit(source, purpose="")
        except ValueError:
            raise problem from None
        wing = read_header(source, other).method.split(".")[0]
        if wing in able:
            raise
        msg = f"{problem} Fit {other!r} is for heldout.tl.{VERBS[wing][0]}."
        raise ValueError(msg) from None


def _predict_genes(
    adata: AnnData, key: str, *, reference: AnnData | None, layer: str | None, copy: bool
) -> AnnData | None:
    """Compute a gene forecast again from the cells that it was made on; it is tied to its time course."""
    given = {name: value for name, value in (("reference", reference), ("layer", layer)) if value is not None}
    if given:
        msg = (
            f"{next(iter(given))} cannot be used with fit {key!r}: a forecast of genes belongs to its own time course. "
            "Call heldout.tl.forecast_genes on the other data."
        )
        raise ValueError(msg)
    from heldout.tl._forecast_genes import predict_again

    return predict_again(adata, key, copy=copy)


def prediction_slots(fit: Fit, log_probability: np.ndarray, *, key: str, index: pd.Index) -> dict[str, Any]:
    """Entries of obs and obsm that hold a prediction."""
    names = PredictionKeys(key)
    best = log_probability.argmax(axis=1)
    probability = np.exp(log_probability)
    shown = probability[:, 1] if probability.shape[1] == 2 else probability.max(axis=1)
    labels = pd.Series(pd.Categorical.from_codes(best, categories=fit.info["classes"]), index=index)
    return {
        "obs": {names.label: labels, names.probability: shown},
        "obsm": {names.log_probability: log_probability},
    }


def _warn_of_seen_cells(fit: Fit, source: AnnData, adata: AnnData, *, key: str) -> None:
    before = load_assignment(source, fit.split_hash).lookup(adata.obs_names)
    seen = int(np.isin(before, [PARTITIONS.index("train"), PARTITIONS.index("val")]).sum())
    if seen:
        logger.warning(
            "%d of these %d cells are train or val cells of fit %r; scores on these cells are not valid, because the "
            "fit was trained on them",
            seen,
            adata.n_obs,
            key,
        )
