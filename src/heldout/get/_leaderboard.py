"""All methods of an evaluation side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from heldout._core import keys, store
from heldout._core.evaluations import latest_evaluation, read_versus
from heldout._core.leaks import LEAK, LEAKS, TITLE, leak_of_stored
from heldout._core.metric import PRIMARY, SHOWN, metric_of, task_of
from heldout._core.report import Board, first_level, number
from heldout.get._comparison import comparison
from heldout.get._evaluation import evaluation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

MOST = 3
"""Columns that are shown unless others are asked for."""


def leaderboard(
    adata: AnnData,
    key: str | None = None,
    *,
    metrics: Sequence[str] | None = None,
    baselines: Sequence[str] | None = None,
    sort_by: str | None = None,
) -> pd.DataFrame:
    """Return the methods of an evaluation as a table to read, the best method first.

    Each score has its 95 % interval and, for a judged method, the verdict with the baseline that it is about. The
    numbers are in :func:`evaluation`.

    Parameters
    ----------
    adata
        AnnData with an evaluation or a comparison, (n_obs × n_vars).
    key
        Name of the fit, of the evaluation by :func:`heldout.tl.score_predictions`, or of the comparison by
        :func:`heldout.tl.compare`. If None, the last evaluation is used.
    metrics
        Metrics to show, one column each. If None, at most three, fewer with ``baselines``; see the table of metrics
        in the documentation.
    baselines
        Baselines to compare the judged methods with, one more column each: the difference in the metric that methods
        are sorted by, its 95 % interval, and the verdict. They must be part of the evaluation. To add a baseline,
        evaluate the same fit again with ``baselines=``; this is no new look at the test set.
    sort_by
        Metric that methods are sorted by. If None, the metric that answers the question of the task is used, or the
        first of ``metrics``.

    Returns
    -------
    One row for each method, index its name, and rows ``chance`` and ``ceiling`` where they are known. One column for
    each metric and baseline. If a method predicts only some of the units, the text says how many: such a mean is over
    other, maybe easier, units than those of the other methods.

    Raises
    ------
    ValueError
        If there is no such evaluation, metric or baseline.

    Examples
    --------
    >>> import heldout as ho, scanpy as sc
    >>> adata = ho.datasets.perturbations_simulated(n_singles=12, n_doubles=8, n_genes=100, n_cells=20)
    >>> sc.pp.normalize_total(adata, target_sum=1e4)
    >>> sc.pp.log1p(adata)
    >>> ho.pp.split_perturbations(adata, "perturbation", hold_out="combination", val=0, test=0.5)
    >>> ho.tl.perturbation(adata, method="additive")
    >>> table = ho.tl.evaluate(adata, baselines=["no_change", "mean"])
    >>> ho.get.leaderboard(adata, metrics=["pearson_delta", "l2"], sort_by="pearson_delta").index.tolist()
    ['additive', 'mean', 'no_change', 'chance', 'ceiling']
    """
    key = latest_key(adata) if key is None else key
    table = judged_table(adata, key)
    baselines = [baselines] if isinstance(baselines, str) else list(baselines or ())
    chosen, first = choose_metrics(table, metrics, sort_by, most=max(MOST - len(baselines), 1))
    order = ranked(table, first)
    columns = {name: _column(table[table["metric"] == name].set_index("method"), name, order) for name in chosen}
    for baseline in baselines:
        columns[f"{first} against {baseline}"] = _against(adata, key, table, first, baseline, order)
    frame = pd.DataFrame(columns, index=pd.Index([*order, "chance", "ceiling"], name="method", dtype=object))
    board = Board(frame[(frame != "").any(axis=1)])
    if leak := leak_of_stored(adata, key):
        board.attrs[LEAK] = f"{TITLE}. {leak}"
    return board


def latest_key(adata: AnnData) -> str:
    """Name of the last evaluation; of the only comparison if nothing was evaluated."""
    compared = store.section(adata, keys.COMPARISONS)
    if len(compared) == 1 and not store.section(adata, keys.EVALUATIONS):
        return str(next(iter(compared)))
    return latest_evaluation(adata)


def judged_table(adata: AnnData, key: str) -> pd.DataFrame:
    """Rows of an evaluation or a comparison at the unit of inference, which is the first level of the table."""
    compared = key in store.section(adata, keys.COMPARISONS) and key not in store.section(adata, keys.EVALUATIONS)
    if not compared:
        return first_level(evaluation(adata, key))
    table = first_level(comparison(adata, key))  # its units are folds; scores of cells, if any, come last
    return table.assign(n=table["n_folds"], level="fold")


def choose_metrics(
    table: pd.DataFrame, metrics: Sequence[str] | None, sort_by: str | None, *, most: int = MOST
) -> tuple[list[str], str]:
    """Metrics to show, and the one to sort by."""
    there = list(dict.fromkeys(table["metric"]))
    task = task_of(there)
    if metrics is None:
        usual = [name for name in SHOWN.get(task, ()) if name in there]
        chosen = list(dict.fromkeys([*usual, *there]))[:most]
    else:
        chosen = [metrics] if isinstance(metrics, str) else list(metrics)
    for name in [*chosen, *([] if sort_by is None else [sort_by])]:
        if name not in there:
            msg = f"There is no metric {name!r} in this evaluation. It has {', '.join(there)}."
            raise ValueError(msg)
    return chosen, sort_by or next((name for name in PRIMARY.get(task, ()) if name in chosen), chosen[0])


def ranked(table: pd.DataFrame, metric: str) -> list[str]:
    """Methods, best first; those without an estimate last, in the order of the table."""
    rows = table[table["metric"] == metric]
    badness = metric_of(metric).badness(rows["estimate"].to_numpy())
    return rows.iloc[np.argsort(badness, kind="stable")]["method"].tolist()


def _column(rows: pd.DataFrame, metric: str, order: Sequence[str]) -> list[str]:
    most = most_units(rows)
    texts = [_cell(rows.loc[method], most) if method in rows.index else "" for method in order]
    known = known_lines(rows, metric)
    return [*texts, *(number(known[name]) if name in known else "" for name in ("chance", "ceiling"))]


def known_lines(rows: pd.DataFrame, metric: str) -> dict[str, float]:
    """Chance and ceiling of a metric where they are known: from the table, or chance from the record of the metric."""
    known = {name: rows[name].dropna() for name in ("chance", "ceiling") if name in rows}
    found = {name: float(values.iloc[0]) for name, values in known.items() if len(values)}
    chance = metric_of(metric).chance
    return found if chance is None else {"chance": chance, **found}


def most_units(rows: pd.DataFrame) -> int:
    """Number of units that a score of one metric should be over: that of the method with most."""
    return int(rows["n"].max()) if "n" in rows and rows["n"].notna().any() else 0


def _cell(row: pd.Series, most: int) -> str:
    if not np.isfinite(row["estimate"]):
        return "–"
    text = number(row["estimate"])
    if row["verdict"] == LEAKS:
        text = f"{LEAKS}: {text}"
    if np.isfinite(row["ci_low"]):
        text += f" ({number(row['ci_low'])} to {number(row['ci_high'])})"
    if row.get("n", most) < most:
        text += f" on {int(row['n'])} of {most}"
    return text if row["verdict"] == LEAKS else f"{text} {verdict_words(row)}".strip()


def verdict_words(row: pd.Series) -> str:
    """The verdict with the baseline that it is about, e.g. ``not better than ridge``; empty for a baseline."""
    verdict, baseline = row["verdict"], row["baseline"]
    if verdict == LEAKS:
        return LEAKS
    if not verdict or not baseline:
        return str(verdict)
    return f"{verdict} than {baseline}" if verdict in ("better", "not better") else f"{verdict} against {baseline}"


def _against(
    adata: AnnData, key: str, table: pd.DataFrame, metric: str, baseline: str, order: Sequence[str]
) -> list[str]:
    """The judged methods against one baseline."""
    there = table.loc[(table["role"] == "baseline"), "method"].unique().tolist()
    if baseline not in there:
        msg = (
            f"baselines has {baseline!r}, which was not evaluated. There are {', '.join(there) or 'none'}. "
            f"Evaluate the same fit again with baselines=[{baseline!r}]; this is no new look at the test set."
        )
        raise ValueError(msg)
    versus = read_versus(adata, key) if key in store.section(adata, keys.EVALUATIONS) else None
    if versus is None:
        msg = (
            f"The evaluation {key!r} has no differences against each baseline, because it is a comparison or an older "
            "version of heldout made it. Leave baselines out, or evaluate the fit again."
        )
        raise ValueError(msg)
    level = table["level"].iloc[0]
    rows = versus[(versus["baseline"] == baseline) & (versus["metric"] == metric) & (versus["level"] == level)]
    rows = rows.set_index("method")
    return [*(_difference(rows.loc[name]) if name in rows.index else "" for name in order), "", ""]


def _difference(row: pd.Series) -> str:
    if not np.isfinite(row["difference"]):
        return "–"
    text = f"{row['difference']:+.3g}"
    if row["verdict"] == LEAKS:
        return f"{LEAKS}: {text}"
    if np.isfinite(row["difference_low"]):
        text += f" ({row['difference_low']:+.3g} to {row['difference_high']:+.3g})"
    return f"{text} {row['verdict']}"
