"""Score a stored fit beside its baselines."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

from heldout._core import store
from heldout._core.fits import read_fit

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from anndata import AnnData

    from heldout._core.rng import Rng

_WINGS = {
    "forecast": "heldout.tl._evaluate_forecast",
    "forecast_genes": "heldout.tl._evaluate_forecast_genes",
    "genotype": "heldout.tl._evaluate_genotype",
    "perturbation": "heldout.tl._evaluate_perturbation",
}
"""The module that scores the fits of a wing."""


def evaluate(
    adata: AnnData,
    key: str = "genotype",
    *,
    partition: Literal["test", "val", "train"] = "test",
    group_key: str | Sequence[str] | None = None,
    baselines: Sequence[str] | None = None,
    block_key: str | None = None,
    claim_keys: Sequence[str] | None = None,
    n_refits: int = 0,
    n_bootstrap: int = 2000,
    rng: Rng = 0,
) -> pd.DataFrame:
    """Score a fit at the level of groups (libraries, donors) and of cells, beside baselines fitted on the same cells.

    A group's prediction is the mean logit of its cells. At the level of groups intervals are those that hold with few groups
    (:func:`heldout.metrics.auc_interval`, :func:`heldout.metrics.proportion_interval`, :func:`heldout.metrics.jackknife_interval`).
    At the cell level they are percentiles of a bootstrap over groups, stratified by class: cells of one group are not
    independent; below 10 groups a class it is too narrow and decides nothing. The fit is compared with the best baseline on
    the same groups. Measured coverage and size of all of these stand in ``docs/inference.md``.

    Of a forecast of genes (:func:`heldout.tl.forecast_genes`) the units are genes, or modules where the split is by
    module, and ``partition`` is one of genes. Metrics are ``skill`` (1 - MSE / MSE of persistence), ``skill_corrected``
    (the same with the split-half floor of the target's cells taken off both), ``rmse``, ``mae``, ``r2`` over genes, and
    correlation and sign of the change over the genes that change by more than twice their bootstrap error. The ceiling is
    what half of the target's cells say of the other half, and ``n_genes`` stands in place of ``n_groups`` and ``p_value``.

    A forecast of cells (:func:`heldout.tl.forecast`) is scored at its target times, on predicted against observed cells: energy
    distance, MMD, variance error and W2 in the space of the fit, errors of the means of the genes, ``skill`` (1 - energy
    distance / that of persistence) and ``skill_corrected`` (the same above the split-half floor: 1 is the truth against itself, 0 is
    repeating the last time). Its unit is the target time;
    with one, the range over five seeds stands in place of an interval and the verdict is unidentifiable. A predictor of
    nothing but the mean, ``collapsed``, stands beside it, and loses by any score that sees the cells.

    Predicted perturbations (:func:`heldout.tl.perturbation`) are scored over perturbations, each the mean over its contexts. True
    changes are counted from the controls of the partition, predicted ones from the train controls, so that no noise of
    controls is in both; intervals draw perturbations and the controls of the partition. ``l2`` and ``rmse`` (of
    profiles), ``pearson_delta`` (change from control) and ``pearson_delta_perturbed`` (from the mean of the train perturbations) and
    ``rank`` are over the 1,000 genes most expressed in the train controls; ``cosine_logfc`` (predicted means below 0 count
    as 0), ``discrimination`` (2026 edition, without genes that are a target), ``weighted_mse``, ``deg_recall`` (50
    genes) and ``variance_ratio`` over all; ``energy_distance`` is in up to 50 components of train cells. See
    :mod:`heldout.metrics`. The ceiling is what the noise of the measured profiles leaves to be reached, from halves of the cells. A row counts the
    perturbations that are predicted, a difference is over those that both predict, and ``n_fallback`` of them rest on a
    stand-in; ``chance`` and ``n_fallback`` stand in place of ``n_groups`` and ``p_value``. A method with an embedding stands
    beside itself with the embedding shuffled and replaced by noise, and its note says whether it is better.

    Parameters
    ----------
    adata
        AnnData with the fit, (n_obs × n_vars).
    key
        Name of the fit; the wing that it is of decides how it is scored.
    partition
        Cells to score. Each look at ``test`` is written to the ledger, and from the second on a warning says so.
    group_key
        Column(s) of ``obs`` with the independent unit; taken from the fit if not given.
    baselines
        Baselines to fit on train and score on the same cells; for a genotype fit ``majority``, ``qc_logistic``,
        ``logistic`` and ``pseudobulk_logistic`` if not given, with ``covariate_logistic`` and ``composition_logistic`` where
        covariates (or an auxiliary or match column) and cell types are known; for a forecast of genes ``persistence``, ``mean``,
        ``linear`` and ``ridge``; for perturbations ``no_change``, ``mean``, ``additive``, ``linear`` and ``latent_additive`` (with
        several contexts also ``context_mean`` and ``transfer``).
    block_key
        Of a genotype fit: column of ``obs`` within whose values labels of groups could have been exchanged (day, batch,
        patient). If not given, the group of the split where that has both labels, else the column it was matched on.
    claim_keys
        Of a genotype fit: columns of ``obs`` with the levels above the group, finest first, e.g. ``["line", "donor"]``. What is
        claimed of each is limited by its number of units; see :func:`heldout.get.claims`.
    n_refits
        Of a genotype fit: most labellings of all groups for which the fit is made again, for a ``p_value`` of the whole
        procedure in place of the one that is conditional on the fit. For methods that take seconds.
    n_bootstrap
        Number of bootstrap draws.
    rng
        Seed or Generator of the bootstrap.

    Returns
    -------
    Table with one row for each method, level (the group, and ``cell``) and metric (``auc``; ``block_auc``, the mean of the AUCs
    within blocks, where there are any; ``accuracy`` at probability 0.5; ``accuracy_calibrated`` at the threshold that is best on
    val, where val has both classes; ``loss`` in nats; ``brier``; ``calibration_error``). Columns: ``method``, ``role``, ``level``,
    ``metric``, ``estimate``, ``ci_low``, ``ci_high`` (95 %), ``n`` (units of that level), ``n_groups``, ``n_eff`` (independent
    cells that the cells are worth), ``p_value`` (exact, one-sided, of the group-level AUC of two classes, labels exchanged
    within blocks), ``p_mid`` (the mid-p, nearer to the nominal level where p is discrete), ``p_smallest`` (that any result could have had), ``p_kind`` (conditional on the fit, or fit made again),
    ``baseline`` (the best), ``difference``, ``difference_low``, ``difference_high``, ``difference_p`` (exact, two-sided, methods
    swapped group by group), ``ceiling`` (logistic regression that has seen other cells of the same groups), ``verdict``
    (better, not better, undecided, or unidentifiable when no result on so few groups could decide), ``note``, ``look``.
    It is also stored, with what stands behind it:

    ``uns["heldout"]["evaluations"][key]``
        The table.
    ``uns["heldout"]["scores"][key]``
        The prediction for each group by each method.
    ``uns["heldout"]["claims"][key]``
        Of a genotype fit: what the design supports, see :func:`heldout.get.claims` and :func:`heldout.get.summary`.
    ``uns["heldout"]["ledger"]``
        One more row, if ``partition="test"``.

    Raises
    ------
    ValueError
        If the fit was made on another split, no group is known, a group has two labels, or the partition is empty.

    Examples
    --------
    >>> import heldout as ho, scanpy as sc
    >>> adata = ho.datasets.lmna_simulated(n_cells=50, n_genes=200)
    >>> ho.pp.split_matched(adata, "library", "day", label_key="genotype", test=19, val=0)
    >>> sc.pp.normalize_total(adata, target_sum=1e4)
    >>> sc.pp.log1p(adata)
    >>> ho.tl.genotype(adata, "genotype", method="logistic")
    >>> table = ho.tl.evaluate(adata, "genotype", baselines=["majority", "qc_logistic"])
    >>> table.query("level == 'library' and metric == 'auc'")["n"].tolist()
    [2, 2, 2]
    """
    store.check_adata(adata)
    fit = read_fit(adata, key)
    wing = fit.method.split(".")[0]
    if wing not in _WINGS:
        msg = f"The fit {key!r} is a {fit.method!r} step, which predicts nothing that could be scored."
        raise ValueError(msg)
    options: dict[str, Any] = {"partition": partition, "group_key": group_key, "baselines": baselines}
    own = {"block_key": block_key, "claim_keys": claim_keys, "n_refits": n_refits}
    if wing == "genotype":
        options |= own
    elif asked := [name for name, value in own.items() if value]:
        msg = f"{asked[0]} is only for genotype fits, {key!r} is a {fit.method!r}. Leave it out."
        raise ValueError(msg)
    table: pd.DataFrame = import_module(_WINGS[wing]).evaluate(
        adata, key, fit, **options, n_bootstrap=n_bootstrap, rng=rng
    )
    return table
