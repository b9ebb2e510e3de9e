"""Score a classifier of groups and of their cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from heldout._core.threads import thread_policy
from heldout.tl._fit_to_evaluate import fit_to_evaluate

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from anndata import AnnData

    from heldout._core.rng import Rng


@thread_policy()
def evaluate_genotype(
    adata: AnnData,
    key: str | None = None,
    *,
    partition: Literal["test", "val", "train"] = "test",
    group_key: str | Sequence[str] | None = None,
    block_key: str | None = None,
    claim_keys: Sequence[str] | None = None,
    n_refits: int = 0,
    baselines: Sequence[Any] | None = None,
    n_bootstrap: int = 2000,
    rng: Rng = 0,
) -> pd.DataFrame:
    """Score a classifier of groups (libraries, donors) and of their cells, and compare it with baselines.

    The prediction for a group is the mean logit of its cells. At the level of groups, intervals are valid for few
    groups (:func:`heldout.metrics.auc_interval_unequal`, :func:`heldout.metrics.proportion_interval`,
    :func:`heldout.metrics.jackknife_interval`). If blocks are pairs (at most one group of each class), the interval of
    the AUC uses the correlation within pairs (:func:`heldout.metrics.auc_interval_paired`). At the cell level,
    intervals are percentiles of a bootstrap over groups, stratified by class, because cells of one group are not
    independent; with fewer than 10 groups in a class they are too narrow and decide nothing. The fit is compared with
    the best baseline on the same groups.
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
        column are known, and ``composition_logistic`` if cell types are known. A classifier of scikit-learn, or one in
        :class:`heldout.model.Estimator`, can stand for a name; it is named after its class.
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
        One-sided p of the AUC of groups, with labels exchanged within blocks; its mid-p; the smallest p that any result
        could have; whether it is conditional on the fit. For two classes the AUC is studentised
        (:func:`heldout.metrics.auc_permutation`), so the p holds if the classes differ in spread. For more classes it
        is that of :func:`heldout.metrics.class_auc_permutation`.
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
    TypeError
        If ``baselines`` is not a list, or an object in it is not a classifier.
    ValueError
        If the fit is of another task or was made on another split, no group is known, a group has two labels, the
        partition is empty, or a baseline is unknown or fails.

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
