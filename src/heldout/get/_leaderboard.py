"""Every method of an evaluation beside every other, for reading."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from heldout._core import keys, store
from heldout._core.metric import metric_of
from heldout.get._comparison import comparison
from heldout.get._tables import evaluation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

FIRST = ("pearson_delta", "skill_corrected", "auc")
"""What methods are sorted by, unless asked otherwise: the first of these that the evaluation has."""


def leaderboard(
    adata: AnnData,
    key: str = "perturbation",
    *,
    metrics: Sequence[str] | None = None,
    sort_by: str | None = None,
) -> pd.DataFrame:
    """Table of the methods of an evaluation, best first, to be read: estimates with intervals, verdicts, chance and ceiling.

    The numbers themselves are in :func:`evaluation`.

    Parameters
    ----------
    adata
        AnnData with an evaluation or a comparison, (n_obs × n_vars).
    key
        Name of the fit, of the evaluation by :func:`heldout.tl.score_predictions`, or of the comparison by
        :func:`heldout.tl.compare`.
    metrics
        Columns of the table; all metrics if not given.
    sort_by
        Metric that methods are sorted by; by default ``pearson_delta``, ``skill_corrected`` or ``auc``, or else the first
        metric.

    Returns
    -------
    One row a method, index its name, and rows ``chance`` and ``ceiling`` where they are known; one column of text a metric.
    A judged method has its verdict behind each estimate. Where a method has a score for only some of the units, as it has not
    predicted the others, the text says for how many: such a mean is over other, maybe easier, units than those beside it.

    Raises
    ------
    ValueError
        If there is no such evaluation or metric.

    Examples
    --------
    >>> import heldout as ho, scanpy as sc
    >>> adata = ho.datasets.perturbations_simulated(n_singles=12, n_doubles=8, n_genes=100, n_cells=20)
    >>> sc.pp.normalize_total(adata, target_sum=1e4)
    >>> sc.pp.log1p(adata)
    >>> ho.pp.split_perturbations(adata, "perturbation", hold_out="combination", val=0, test=0.5)
    >>> ho.tl.perturbation(adata, method="additive")
    >>> table = ho.tl.evaluate(adata, "perturbation", baselines=["no_change", "mean"])
    >>> ho.get.leaderboard(adata, metrics=["pearson_delta", "l2"]).index.tolist()
    ['additive', 'mean', 'no_change', 'chance', 'ceiling']
    """
    table = judged_table(adata, key)
    chosen, first = choose_metrics(table, metrics, sort_by)
    order = ranked(table, first)
    columns = {name: _column(table[table["metric"] == name].set_index("method"), order) for name in chosen}
    frame = pd.DataFrame(columns, index=pd.Index([*order, "chance", "ceiling"], name="method", dtype=object))
    return frame[(frame != "").any(axis=1)]


def judged_table(adata: AnnData, key: str) -> pd.DataFrame:
    """Rows of an evaluation, or of a comparison of this name, at the unit of inference: the first level of the table."""
    compared = key in store.section(adata, keys.COMPARISONS) and key not in store.section(adata, keys.EVALUATIONS)
    table = comparison(adata, key) if compared else evaluation(adata, key)
    if compared:  # its units are folds; scores of cells, if any, come last
        table = table[table["level"] == table["level"].iloc[0]]
        table = table.assign(n=table["n_folds"], level="fold")
    return table[table["level"] == table["level"].iloc[0]]


def choose_metrics(table: pd.DataFrame, metrics: Sequence[str] | None, sort_by: str | None) -> tuple[list[str], str]:
    """Metrics to show, and the one to sort by."""
    there = list(dict.fromkeys(table["metric"]))
    chosen = there if metrics is None else [metrics] if isinstance(metrics, str) else list(metrics)
    for name in [*chosen, *([] if sort_by is None else [sort_by])]:
        if name not in there:
            msg = f"There is no metric {name!r} in this evaluation. It has {', '.join(there)}."
            raise ValueError(msg)
    return chosen, sort_by or next((name for name in FIRST if name in chosen), chosen[0])


def ranked(table: pd.DataFrame, metric: str) -> list[str]:
    """Methods, best first; those without an estimate last, in the order of the table."""
    rows = table[table["metric"] == metric]
    badness = metric_of(metric).badness(rows["estimate"].to_numpy())
    return rows.iloc[np.argsort(badness, kind="stable")]["method"].tolist()


def _column(rows: pd.DataFrame, order: Sequence[str]) -> list[str]:
    most = most_units(rows)
    texts = [_cell(rows.loc[method], most) if method in rows.index else "" for method in order]
    ends = [rows[name].dropna() if name in rows else rows.iloc[:0] for name in ("chance", "ceiling")]
    return [*texts, *(f"{end.iloc[0]:.3g}" if len(end) else "" for end in ends)]


def most_units(rows: pd.DataFrame) -> int:
    """Number of units that a score of one metric should be over: that of the method with most."""
    return int(rows["n"].max()) if "n" in rows and rows["n"].notna().any() else 0


def _cell(row: pd.Series, most: int) -> str:
    if not np.isfinite(row["estimate"]):
        return "–"
    text = f"{row['estimate']:.3g}"
    if np.isfinite(row["ci_low"]):
        text += f" ({row['ci_low']:.3g} to {row['ci_high']:.3g})"
    if row.get("n", most) < most:
        text += f" on {int(row['n'])} of {most}"
    return f"{text} {row['verdict']}".strip()
