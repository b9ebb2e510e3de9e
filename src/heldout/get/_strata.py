"""Results of an evaluation of perturbations, split by how far baselines already solve them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from heldout._core.evaluations import read_evaluation, read_scores
from heldout._core.leaks import leak_of, without_inference
from heldout._core.tables import prints_whole
from heldout.tasks.perturbation.judging.strata import stratified
from heldout.tasks.perturbation.judging.units import CONTEXT

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData


@prints_whole
def strata(adata: AnnData, key: str | None = None, *, metric: str = "l2") -> pd.DataFrame:
    """Split an evaluation of perturbations by how far baselines already solve them.

    A method that beats the baselines on average may do so where a simple method was already good, or where no simple
    method helps. The saturation of a perturbation is the share of the way from "no change" to the ceiling that the best
    baseline covers: (no change − baseline) / (no change − ceiling). Perturbations with a saturation of at least 2/3 are
    *solved by baselines*, those with at most 1/3 are *resistant*, and the others are *between*.

    Parameters
    ----------
    adata
        AnnData with the evaluation, (n_obs × n_vars).
    key
        Name of the fit. If None, the last evaluation is used.
    metric
        Metric by which perturbations are split and methods are compared, for example ``l2`` or ``energy_distance``.

    Returns
    -------
    One row for each stratum and evaluated method, with the columns ``stratum``, ``method``, ``baseline`` (the best
    baseline over all perturbations, without ``no_change``), ``n`` (units), ``saturation`` (mean), ``estimate``,
    ``of_baseline``, ``difference``, its 95 % bootstrap interval ``difference_low`` to ``difference_high`` over units,
    and ``verdict``. A stratum without perturbations has no row.

    Raises
    ------
    ValueError
        If the fit was not evaluated, or without ``no_change`` and another baseline, or if the metric is not judged.

    Notes
    -----
    This table is descriptive. The strata come from scores of the baseline on the judged perturbations, so they cannot
    be known before the truth is measured. A baseline has a large error in a resistant perturbation partly because of
    the noise of this perturbation, and another method then looks better by chance. The verdict over all perturbations
    is that of :func:`heldout.get.evaluation`.

    Examples
    --------
    >>> import heldout as ho, scanpy as sc
    >>> adata = ho.datasets.perturbations_simulated(n_singles=12, n_doubles=12, n_genes=100, n_cells=20)
    >>> sc.pp.normalize_total(adata, target_sum=1e4)
    >>> sc.pp.log1p(adata)
    >>> ho.pp.split_perturbations(adata, "perturbation", hold_out="combination", val=0, test=0.5)
    >>> ho.tl.perturbation(adata)
    >>> _ = ho.tl.evaluate(adata, baselines=["no_change", "additive"], n_bootstrap=50)
    >>> int(ho.get.strata(adata)["n"].sum())
    6
    """
    table, scores = read_evaluation(adata, key), read_scores(adata, key)
    rows = table[table["metric"] == metric]
    if not len(rows) or "n_targets" not in scores:
        known = ", ".join(map(repr, dict.fromkeys(table["metric"])))
        msg = f"metric={metric!r} must be a metric of an evaluation of perturbations; this evaluation has {known}."
        raise ValueError(msg)
    unit = _columns_of_unit(scores, str(rows["level"].iloc[0]))
    found = stratified(scores, float(rows["ceiling"].iloc[0]), metric=metric, unit=unit)
    return without_inference(found) if leak_of(table.attrs["about"]) else found


def _columns_of_unit(scores: pd.DataFrame, level: str) -> list[str]:
    """Columns that name a unit: the perturbation comes first, then the covariates."""
    names = list(scores.columns[scores.columns.get_loc("role") + 1 : scores.columns.get_loc("n_cells")])
    if level in names:
        return [level]
    return names[1:] if level == CONTEXT else names[:1]
