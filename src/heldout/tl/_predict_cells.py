"""Predicted cells as a new AnnData."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from heldout._core.fits import check_split
from heldout._core.partition import read_partition
from heldout._core.threads import thread_policy
from heldout.tasks.forecast.predict import predicted_cells as cells_in_time
from heldout.tasks.perturbation.predict import predicted_cells as perturbed_cells
from heldout.tl._predict import fit_to_predict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

    from heldout._core.rng import Rng

_N_CELLS = 200
"""Cells of each perturbation and context, if the user does not say how many."""


@thread_policy()
def predict_cells(
    adata: AnnData,
    key: str | None = None,
    *,
    at: float | Sequence[float] | None = None,
    perturbations: Sequence[str] | None = None,
    contexts: Sequence[Any] | None = None,
    doses: float | Sequence[float] | None = None,
    n_cells: int | None = None,
    reference: AnnData | None = None,
    layer: str | None = None,
    rng: Rng = 0,
) -> AnnData:
    """Predict the cells of another time or of perturbations, and return them as a new AnnData.

    ``adata`` is not changed. With a fit of :func:`forecast`, a warning says if the time is further ahead than 1.5
    times the longest step between train times, or if the predicted cells are copies of the last cells (persistence).
    With a fit of :func:`perturbation`, a generative method (``moved_cells``) draws cells; any other method moves random
    control cells by the predicted change, so values can be below zero.

    Parameters
    ----------
    adata
        AnnData with the start cells or the control cells, (n_obs × n_vars). Prepare new cells as those of the fit, see
        :func:`heldout.pp.replay`.
    key
        Name of the fit. If None, the last stored fit of a forecast or of a perturbation is used.
    at
        Time or times to predict; a forecast needs it. The start cells are the train cells of the latest train time
        before it. With ``reference``, they are all cells of ``adata`` at that time.
    perturbations
        Names of perturbations, such as ``"A+B"``, for a perturbation fit. If None, those of the test cells, in their
        contexts.
    contexts
        Contexts to predict in, for a perturbation fit: values of the covariate, or tuples of several values. If None,
        all.
    doses
        Dose or doses at which to predict each perturbation, for a perturbation fit with a ``dose_key``, see
        :func:`predict_profiles`.
    n_cells
        Number of cells of each perturbation and context, for a perturbation fit. If None, 200. A forecast predicts as
        many cells as it starts from.
    reference
        AnnData that holds the fit. If None, it is ``adata``. For a perturbation fit, cells start from the controls of
        ``adata``.
    layer
        Layer to use instead of the one that the fit was made on, for a forecast.
    rng
        Seed or Generator of the draws. The cells of a perturbation depend on the seed, not on which other perturbations
        are predicted, and not on the order of the cells of ``adata``.

    Returns
    -------
    A new AnnData of predicted cells with expression in ``X`` (float32) and the hash of the fit in ``uns``. For a
    forecast, ``obsm`` has the coordinates, and ``obs`` the time, ``start_time`` and ``start_cell`` (empty for a method
    that keeps no cell). For a perturbation fit, ``obs`` has the perturbation, the context, the dose if
    the fit has doses, ``n_targets``, ``n_seen`` (targets that are in train) and ``fallback``; perturbations that cannot
    be predicted have no cells.

    Raises
    ------
    ValueError
        If there is no such fit or another function predicts with it, an option is for fits of the other task, a time
        cannot be predicted, genes are missing, the cells were prepared in another way, or ``adata`` has another split
        than that of the fit.

    See Also
    --------
    heldout.get.past_skill : What past times say about the skill of a forecast at a new time.

    Examples
    --------
    >>> import heldout as ho, scanpy as sc
    >>> adata = ho.datasets.branching_simulated(n_cells=40, n_genes=100)
    >>> ho.pp.split_time(adata, "time", test=96)
    >>> sc.pp.normalize_total(adata, target_sum=1e4)
    >>> sc.pp.log1p(adata)
    >>> ho.tl.forecast(adata, "time", method="reversion")
    >>> cells = ho.tl.predict_cells(adata, at=96)
    >>> cells.obs["time"].unique().tolist()
    [96.0]
    """
    key, fit = fit_to_predict(adata, key, "predict_cells", reference=reference)
    is_forecast = fit.method.startswith("forecast.")
    of_perturbations = {"perturbations": perturbations, "contexts": contexts, "doses": doses, "n_cells": n_cells}
    for name, value in (of_perturbations if is_forecast else {"at": at, "layer": layer}).items():
        if value is not None:
            msg = f"{name}={value!r} is not an option for fit {key!r}, a {fit.method!r}. Leave it out."
            raise ValueError(msg)
    if not is_forecast:
        n_cells = _N_CELLS if n_cells is None else n_cells
        return perturbed_cells(
            adata,
            fit,
            key=key,
            perturbations=perturbations,
            contexts=contexts,
            doses=doses,
            n_cells=n_cells,
            reference=reference,
            rng=rng,
        )
    if at is None:
        msg = (
            f"Fit {key!r} predicts cells at other times. Pass at=, for example "
            f"heldout.tl.predict_cells(adata, {key!r}, at=96)."
        )
        raise ValueError(msg)
    if reference is None:
        check_split(adata, fit, read_partition(adata, fit.split_key), key=key)
    return cells_in_time(adata, fit, key=key, at=at, reference=reference, layer=layer, rng=rng)
