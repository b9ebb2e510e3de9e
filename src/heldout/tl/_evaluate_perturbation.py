"""Score predicted perturbations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from heldout._core.evaluations import write_evaluation
from heldout._core.partition import read_partition
from heldout._core.threads import thread_policy
from heldout.tl._fit_to_evaluate import fit_to_evaluate

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from anndata import AnnData

    from heldout._core.rng import Rng


@thread_policy()
def evaluate_perturbation(
    adata: AnnData,
    key: str | None = None,
    *,
    partition: Literal["test", "val", "train"] = "test",
    baselines: Sequence[str] | None = None,
    unit_key: str | None = None,
    n_bootstrap: int = 2000,
    rng: Rng = 0,
) -> pd.DataFrame:
    """Score predicted perturbations: predicted against true profiles and changes from control.

    The unit of inference is the perturbation; its scores in several contexts are averaged first. If the partition has
    fewer than 3 perturbations in more contexts, the unit is the context, and a note says so. True changes are
    counted from the controls of the partition, predicted changes from the train controls, so that no noise of
    controls is in both. Intervals draw perturbations and the controls of the partition.

    Parameters
    ----------
    adata
        AnnData with the fit, (n_obs × n_vars).
    key
        Name of the fit. If None, the perturbation fit that was stored last is scored.
    partition
        Partition to score. The first evaluation of a fit on ``test`` is a look at the test set.
    baselines
        Baselines to fit on train and to score on the same perturbations. If None: ``no_change``, ``mean``,
        ``additive``, ``linear`` and ``latent_additive``; with several contexts also ``context_mean``,
        ``transfer`` and ``pooled_transfer``; for a generative method also ``moved_cells``.
    unit_key
        Column whose values are the units: the column of the perturbation, or a covariate such as the donor. Use it if
        contexts of a donor are not independent. If None, the perturbation, or the context as described above.
    n_bootstrap
        Number of bootstrap draws.
    rng
        Seed or Generator of the bootstrap.

    Returns
    -------
    The table of :func:`evaluate`, which prints as a report. Metrics over the 1,000 genes most expressed in the train
    controls are ``l2`` and ``rmse`` (of profiles), ``pearson_delta`` (of changes from control),
    ``pearson_delta_perturbed`` (of differences from the mean of the train perturbations) and ``rank``. Metrics over
    all genes are ``cosine_logfc`` (predicted means below 0 count as 0), ``discrimination`` (2026 edition, without
    genes that are a target), ``weighted_mse``, ``deg_recall`` (50 genes) and ``variance_ratio``. Seven metrics compare
    up to 200 measured cells with as many predicted cells: ``energy_distance`` and ``mmd`` in up to 50 components of the
    train cells, ``coexpression_error`` in the 100 most variable of the 1,000 genes, and ``variance_error``,
    ``log_variance_ratio``, ``gene_wasserstein`` and ``zero_share_error`` in the 1,000 genes. The cells of a method that
    predicts means are train controls, moved by the predicted change. ``variance_ratio`` and ``log_variance_ratio``
    describe a prediction and have no verdict. See :mod:`heldout.metrics`. Further
    columns:

    ``level``
        The unit: ``perturbation``, ``context``, or ``unit_key``.
    ``n``
        Units that the method predicts; a difference is over those that both methods predict.
    ``n_fallback``
        Units with a prediction that is a fallback, such as the mean change.
    ``share_harmed``
        In rows of ``l2``, if ``context_mean`` was scored: share of the units for which the error is larger than that
        of ``context_mean``.
    ``chance``
        Score of a prediction that knows nothing, where there is such a value.
    ``ceiling``
        Score that the noise of the measured profiles allows, from halves of the cells.

    A method with an embedding is scored again with the embedding shuffled and replaced by noise; the note says
    whether the embedding helps. A generative method is scored again with its mean on shifted controls, as
    ``<method> (shifted controls)``; the note says whether its cells add to its mean. The table is also stored:

    ``uns["heldout"]["evaluations"][key]``
        The table and the report.
    ``uns["heldout"]["scores"][key]``
        The scores of each perturbation and context by each method.
    ``uns["heldout"]["ledger"]``
        One more row, if ``partition="test"``.

    Raises
    ------
    ValueError
        If the fit is of another task or was made on another split, the partition has no perturbation, or ``unit_key``
        is neither the column of the perturbation nor a covariate.

    Examples
    --------
    >>> import heldout as ho, scanpy as sc
    >>> adata = ho.datasets.perturbations_simulated(n_singles=12, n_doubles=8, n_genes=100, n_cells=20)
    >>> sc.pp.normalize_total(adata, target_sum=1e4)
    >>> sc.pp.log1p(adata)
    >>> ho.pp.split_perturbations(adata, "perturbation", hold_out="combination", val=0, test=0.5)
    >>> ho.tl.perturbation(adata, method="additive")
    >>> report = ho.tl.evaluate_perturbation(adata, baselines=["no_change", "mean"])
    >>> report["method"].unique().tolist()
    ['additive', 'no_change', 'mean']
    """
    key, fit = fit_to_evaluate(adata, key, "perturbation")
    from heldout.tasks.perturbation.judging.judge import judge_fit
    from heldout.tasks.perturbation.judging.leaks import leak_of_screen
    from heldout.tasks.perturbation.task import task_of_fit

    split = read_partition(adata, fit.split_key)
    table, rows = judge_fit(
        adata,
        fit,
        split,
        key=key,
        partition=partition,
        baselines=baselines,
        n_bootstrap=n_bootstrap,
        rng=rng,
        unit_key=unit_key,
    )
    leak = leak_of_screen(adata, split, task_of_fit(adata, split, fit, key=key).screen, partition)
    return write_evaluation(adata, key, fit, split, table, rows, partition=partition, leak=leak)
