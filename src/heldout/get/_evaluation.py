"""The stored evaluation: its table, and the scores behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from heldout._core.evaluations import read_evaluation, read_scores
from heldout._core.tables import prints_whole

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData


def evaluation(adata: AnnData, key: str | None = None) -> pd.DataFrame:
    """Return the last evaluation of a fit, which prints as a report.

    Parameters
    ----------
    adata
        AnnData with the evaluation, (n_obs × n_vars).
    key
        Name of the fit. If None, the last evaluation of any fit is returned.

    Returns
    -------
    The table that :func:`heldout.tl.evaluate` returned. Its attribute ``table`` is the same table as a plain
    DataFrame, and ``answer`` is the verdict in one sentence.

    Raises
    ------
    ValueError
        If the fit was not evaluated.

    Examples
    --------
    >>> import heldout as ho
    >>> adata = ho.datasets.lmna_simulated(n_cells=50, n_genes=200)
    >>> ho.pp.split_matched(adata, "library", "day", label_key="genotype", test=19, val=0)
    >>> ho.tl.genotype(adata, "genotype", method="qc_logistic")
    >>> _ = ho.tl.evaluate(adata, baselines=["majority"])
    >>> ho.get.evaluation(adata)["method"].unique().tolist()
    ['qc_logistic', 'majority']
    """
    return read_evaluation(adata, key)


@prints_whole
def scores(adata: AnnData, key: str | None = None) -> pd.DataFrame:
    """Return the score of each unit behind an evaluation.

    Parameters
    ----------
    adata
        AnnData with the evaluation, (n_obs × n_vars).
    key
        Name of the fit. If None, the scores behind the last evaluation are returned.

    Returns
    -------
    One row for each method and unit, with the columns ``method``, ``role`` and ``partition``. The other columns
    depend on the task:

    genotype
        One row for each group: ``group``, ``label``, ``n_cells``, ``predicted``, and ``log_odds`` of the last class
        against the others (for two classes, of the positive class).
    forecast
        One row for each target time: ``target``, ``start``, ``n_cells``, each metric, ``floor`` and ``noise`` (the mean
        and the 95 % quantile of energy distances between two halves of the observed cells), and ``no_gap`` (whether the
        distance of persistence is within the noise).
    forecast_genes
        One row for each gene: ``gene``, ``change`` (true), ``predicted``, ``error`` of the true change, ``floor``
        (squared difference of two halves of the target cells) and ``module`` (number, see
        :func:`heldout.get.modules`; NaN if the gene is in none).
    perturbation
        One row for each perturbation and context: their names, ``n_cells``, ``n_targets``, ``n_seen``, ``fallback``
        and each metric.

    Raises
    ------
    ValueError
        If the fit was not evaluated.

    Examples
    --------
    >>> import heldout as ho
    >>> adata = ho.datasets.lmna_simulated(n_cells=50, n_genes=200)
    >>> ho.pp.split_matched(adata, "library", "day", label_key="genotype", test=19, val=0)
    >>> ho.tl.genotype(adata, "genotype", method="qc_logistic")
    >>> _ = ho.tl.evaluate(adata, baselines=["majority"])
    >>> ho.get.scores(adata).query("role == 'model'")["group"].tolist()
    ['GSM8325052', 'GSM8325057']
    """
    return read_scores(adata, key)
