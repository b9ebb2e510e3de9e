"""Score a forecast of cells."""

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
        baseline has an interval over groups. If groups are followed over time, so that train has them too, a note says
        that the result holds for these groups and not for new ones.
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
