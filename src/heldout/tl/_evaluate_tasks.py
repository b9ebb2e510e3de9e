"""Score the fits of one task, with the options of this task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from heldout._core import store
from heldout._core.fits import Fit, latest_fit, read_fit

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from anndata import AnnData

    from heldout._core.rng import Rng


def fit_to_evaluate(adata: AnnData, key: str | None, wing: str) -> tuple[str, Fit]:
    """Read the fit ``key`` of a task, or the last one of this task; refuse a fit of another task."""
    store.check_adata(adata)
    key = latest_fit(adata, [wing], purpose="to evaluate") if key is None else key
    fit = read_fit(adata, key)
    other = fit.method.split(".")[0]
    if other == "pp":
        msg = f"Fit {key!r} is a preparation step; it has no predictions to evaluate."
        raise ValueError(msg)
    if other != wing:
        msg = (
            f"Fit {key!r} is a {fit.method!r}, which heldout.tl.evaluate_{wing} cannot score. Call "
            f"heldout.tl.evaluate_{other}(adata, {key!r})."
        )
        raise ValueError(msg)
    return key, fit


def evaluate_genotype(
    adata: AnnData,
    key: str | None = None,
    *,
    partition: Literal["test", "val", "train"] = "test",
    group_key: str | Sequence[str] | None = None,
    block_key: str | None = None,
    claim_keys: Sequence[str] | None = None,
    n_refits: int = 0,
    baselines: Sequence[str] | None = None,
    n_bootstrap: int = 2000,
    rng: Rng = 0,
) -> pd.DataFrame:
    """Score a classifier of groups (libraries, donors) and of their cells beside baselines.

    The prediction for a group is the mean logit of its cells. At the level of groups, intervals are valid for few
    groups (:func:`heldout.metrics.auc_interval`, :func:`heldout.metrics.proportion_interval`,
    :func:`heldout.metrics.jackknife_interval`). At the cell level, intervals are percentiles of a bootstrap over
    groups, stratified by class, because cells of one group are not independent; with fewer than 10 groups in a class
    they are too narrow and decide nothing. The fit is compared with the best baseline on the same groups.
    ``docs/inference.md`` reports the measured coverage and size of all intervals and tests.

    Parameters
    ----------
    adata
        AnnData with the fit, (n_obs × n_vars).
    key
        Name of the fit. If None, the genotype fit that was stored last is scored.
    partition
        Partition to score. The first evaluation of a fit on ``test`` is a look at the test set.
    group_key
        Column(s) of ``obs`` with the independent unit. If None, that of the fit.
    block_key
        Column of ``obs`` within whose values labels of groups could have been exchanged (day, batch, patient). If
        None, the group of the split if it has both labels, otherwise the column that the split was matched on.
    claim_keys
        Columns of ``obs`` with the levels above the group, the finest first, e.g. ``["line", "donor"]``. The number
        of units at each level limits what can be claimed about it; see :func:`heldout.get.claims`.
    n_refits
        Largest number of labellings of all groups for which the fit is made again. The ``p_value`` is then that of
        the whole procedure; with 0 it is conditional on the fit. Use it for methods that take seconds.
    baselines
        Baselines to fit on train and to score on the same groups. If None: ``majority``, ``qc_logistic``,
        ``logistic`` and ``pseudobulk_logistic``; also ``covariate_logistic`` if covariates, an auxiliary or a match
        column are known, and ``composition_logistic`` if cell types are known.
    n_bootstrap
        Number of bootstrap draws.
    rng
        Seed or Generator of the bootstrap.

    Returns
    -------
    The table of :func:`evaluate`, which prints as a report. Levels are the group and ``cell``. Metrics are ``auc``;
    ``block_auc``, the mean of the AUCs within blocks, if there are blocks; ``accuracy`` at probability 0.5;
    ``accuracy_calibrated`` at the threshold that is best on val, if val has both classes; ``loss`` in nats; ``brier``;
    ``calibration_error``. Further columns:

    ``n_groups``, ``n_eff``
        Number of groups; number of independent cells that the cells are worth.
    ``p_value``, ``p_mid``, ``p_smallest``, ``p_kind``
        Exact one-sided p of the AUC of groups of two classes, with labels exchanged within blocks; its mid-p; the
        smallest p that any result could have; whether it is conditional on the fit.
    ``difference_p``
        Exact two-sided p of the difference, with methods swapped group by group.
    ``ceiling``
        Score of a logistic regression that has seen other cells of the same groups.

    It is also stored:

    ``uns["heldout"]["evaluations"][key]``
        The table and the report.
    ``uns["heldout"]["scores"][key]``
        The prediction for each group by each method.
    ``uns["heldout"]["claims"][key]``
        What the design supports, see :func:`heldout.get.claims` and :func:`heldout.get.summary`.
    ``uns["heldout"]["ledger"]``
        One more row, if ``partition="test"``.

    Raises
    ------
    ValueError
        If the fit is of another task or was made on another split, no group is known, a group has two labels, or the
        partition is empty.

    Examples
    --------
    >>> import heldout as ho, scanpy as sc
    >>> adata = ho.datasets.lmna_simulated(n_cells=50, n_genes=200)
    >>> ho.pp.split_matched(adata, "library", "day", label_key="genotype", test=[16, 19], val=0)
    >>> sc.pp.normalize_total(adata, target_sum=1e4)
    >>> sc.pp.log1p(adata)
    >>> ho.tl.genotype(adata, "genotype", method="logistic")
    >>> report = ho.tl.evaluate_genotype(adata, block_key="day", baselines=["majority"])
    >>> print(report.answer)
    Cannot be decided: with 4 libraries even a perfect result has p = 0.25.
    """
    key, fit = fit_to_evaluate(adata, key, "genotype")
    from heldout.tasks.genotype.judge import evaluate

    return evaluate(
        adata,
        key,
        fit,
        partition=partition,
        group_key=group_key,
        baselines=baselines,
        n_bootstrap=n_bootstrap,
        rng=rng,
        block_key=block_key,
        claim_keys=claim_keys,
        n_refits=n_refits,
    )


def evaluate_forecast(
    adata: AnnData,
    key: str | None = None,
    *,
    partition: Literal["test", "val"] = "test",
    group_key: str | Sequence[str] | None = None,
    baselines: Sequence[str] | None = None,
    n_bootstrap: int = 2000,
    rng: Rng = 0,
) -> pd.DataFrame:
    """Score a forecast of cells: predicted cells against observed cells at each held-out time.

    The unit of inference is the target time. With fewer than 3 target times there is no interval over them, and the
    verdict is unidentifiable; ``ci_low`` and ``ci_high`` are then the range over fits with five seeds, for methods
    that are random. Besides the baselines, ``collapsed`` is scored: it predicts the mean of the forecast for every
    cell, and a metric that prefers it does not see single cells.

    Parameters
    ----------
    adata
        AnnData with the fit, (n_obs × n_vars).
    key
        Name of the fit. If None, the forecast that was stored last is scored.
    partition
        Partition to score; its times must not be train times. The first evaluation of a fit on ``test`` is a look at
        the test set.
    group_key
        Column(s) of ``obs`` with the library or donor of each cell. With 3 or more groups, the difference to the best
        baseline has an interval over groups.
    baselines
        Baselines to fit on train and to score at the same times. If None, all that can predict these times.
        ``persistence`` is always scored, because skill is relative to it.
    n_bootstrap
        Number of bootstrap draws.
    rng
        Seed or Generator of the bootstrap.

    Returns
    -------
    The table of :func:`evaluate`, which prints as a report. Levels are the time column (mean over target times) and,
    with several targets, each of them. Metrics are ``energy_distance``, ``mmd``, ``variance_error`` and
    ``wasserstein2`` of cells in the space of the fit; ``rmse``, ``mae`` and ``r2`` of mean expression;
    ``change_correlation`` and ``change_sign_accuracy`` of the genes that change; ``skill``, 1 - energy distance /
    energy distance of persistence; and ``skill_corrected``, the same above the noise floor: 0 is persistence, 1 is
    one half of the observed cells against the other. ``ceiling`` is the score of one half against the other. It is
    also stored:

    ``uns["heldout"]["evaluations"][key]``
        The table and the report.
    ``uns["heldout"]["scores"][key]``
        The scores at each target time by each method.
    ``uns["heldout"]["ledger"]``
        One more row, if ``partition="test"``.

    Raises
    ------
    ValueError
        If the fit is of another task or was made on another split, a time has too few cells, or a baseline cannot
        predict these times.

    Examples
    --------
    >>> import heldout as ho, scanpy as sc
    >>> adata = ho.datasets.branching_simulated(n_cells=40, n_genes=100)
    >>> ho.pp.split_time(adata, "time", test=96)
    >>> sc.pp.normalize_total(adata, target_sum=1e4)
    >>> sc.pp.log1p(adata)
    >>> ho.tl.forecast(adata, "time", method="damped_shift")
    >>> report = ho.tl.evaluate_forecast(adata, baselines=["persistence", "pooled_past"])
    >>> print(report.answer)
    Cannot be decided: with 1 target time no result holds beyond this experiment.
    """
    key, fit = fit_to_evaluate(adata, key, "forecast")
    from heldout.tasks.forecast.judge import evaluate

    return evaluate(
        adata,
        key,
        fit,
        partition=partition,
        group_key=group_key,
        baselines=baselines,
        n_bootstrap=n_bootstrap,
        rng=rng,
    )


def evaluate_forecast_genes(
    adata: AnnData,
    key: str | None = None,
    *,
    partition: Literal["test", "val", "train"] = "test",
    baselines: Sequence[str] | None = None,
    n_bootstrap: int = 2000,
    rng: Rng = 0,
) -> pd.DataFrame:
    """Score a forecast of held-out genes: predicted against true change until the target time.

    The unit of inference is the gene, or the module if the split is by module. Intervals are over these units.

    Parameters
    ----------
    adata
        AnnData with the fit, (n_obs × n_vars).
    key
        Name of the fit. If None, the gene forecast that was stored last is scored.
    partition
        Partition of genes to score. The first evaluation of a fit on ``test`` is a look at the test set.
    baselines
        Baselines to fit on train genes and to score on the same genes. If None: ``persistence``, ``mean``, ``linear``
        and ``ridge``.
    n_bootstrap
        Number of bootstrap draws.
    rng
        Seed or Generator of the bootstrap.

    Returns
    -------
    The table of :func:`evaluate`, which prints as a report. Metrics are ``skill``, 1 - MSE / MSE of persistence;
    ``skill_corrected``, the same above the noise floor of the target cells; ``rmse``, ``mae`` and ``r2`` over genes;
    ``change_correlation`` and ``change_sign_accuracy`` over the genes whose change exceeds twice its bootstrap error.
    ``n_genes`` is the number of genes behind a score. ``ceiling`` is the score of one half of the target cells
    against the other. It is also stored:

    ``uns["heldout"]["evaluations"][key]``
        The table and the report.
    ``uns["heldout"]["scores"][key]``
        The true and the predicted change of each gene by each method.
    ``uns["heldout"]["ledger"]``
        One more row, if ``partition="test"``.

    Raises
    ------
    ValueError
        If the fit is of another task or was made on another split, or no gene is in the partition.

    Examples
    --------
    >>> import heldout as ho, scanpy as sc
    >>> adata = ho.datasets.branching_simulated(n_cells=40, n_genes=100)
    >>> sc.pp.normalize_total(adata, target_sum=1e4)
    >>> sc.pp.log1p(adata)
    >>> ho.pp.split_genes(adata)
    >>> ho.tl.forecast_genes(adata, "time", method="ridge")
    >>> report = ho.tl.evaluate_forecast_genes(adata, baselines=["persistence", "mean"])
    >>> report["level"].unique().tolist()
    ['gene']
    """
    key, fit = fit_to_evaluate(adata, key, "forecast_genes")
    from heldout.tasks.forecast_genes.judge import evaluate

    return evaluate(
        adata, key, fit, partition=partition, group_key=None, baselines=baselines, n_bootstrap=n_bootstrap, rng=rng
    )
