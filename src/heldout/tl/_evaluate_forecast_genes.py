"""Score a forecast of held-out genes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from heldout._core.threads import thread_policy
from heldout.tl._fit_to_evaluate import fit_to_evaluate

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from anndata import AnnData

    from heldout._core.rng import Rng


@thread_policy()
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
    against the other. The report also says in which modules of genes the forecast is good and in which it is not;
    :func:`heldout.get.modules` has their scores. It is also stored:

    ``uns["heldout"]["evaluations"][key]``
        The table and the report.
    ``uns["heldout"]["scores"][key]``
        The true and the predicted change of each gene by each method, its noise and its module.
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

    return evaluate(adata, key, fit, partition=partition, baselines=baselines, n_bootstrap=n_bootstrap, rng=rng)
