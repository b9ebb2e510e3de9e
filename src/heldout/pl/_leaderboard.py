"""All methods of an evaluation side by side, one panel for each metric."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from heldout._core.leaks import leak_of_stored
from heldout._core.metric import DRAWN, metric_of, task_of
from heldout._core.words import counted
from heldout.get._leaderboard import (
    choose_metrics,
    judged_table,
    known_lines,
    latest_key,
    most_units,
    ranked,
    verdict_words,
)
from heldout.pl._style import CLASS_COLORS, FAINT, INK, despine, legend_beside, titled

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes

LINES: dict[str, tuple[int, tuple[int, int]]] = {"chance": (0, (4, 3)), "ceiling": (0, (1, 2))}
"""Lines across a panel, and their dashes."""


def leaderboard(
    adata: AnnData,
    key: str | None = None,
    *,
    metrics: Sequence[str] | None = None,
    sort_by: str | None = None,
    axes: Sequence[Axes] | None = None,
) -> np.ndarray:
    """Draw the methods of an evaluation, the best on top, with one panel for each metric.

    Judged methods are dark and baselines are light; open points are the judged method with a part replaced. Whiskers
    are 95 % intervals. The dashed line is chance and the dotted line is the ceiling, the score that the noise of the
    data allows. An arrow points to the better side. The title of a panel is the verdict. "5 of 15" at a point says
    that the method predicts only 5 of 15 units.

    Parameters
    ----------
    adata
        AnnData with an evaluation or a comparison, (n_obs × n_vars).
    key
        Name of the fit, of the evaluation by :func:`heldout.tl.score_predictions`, or of the comparison by
        :func:`heldout.tl.compare`. If None, the last evaluation is drawn.
    metrics
        Metrics to draw. If None, up to four of the usual ones.
    sort_by
        Metric that methods are sorted by, see :func:`heldout.get.leaderboard`.
    axes
        Axes to draw into, one for each metric. If None, a new figure is made.

    Returns
    -------
    Array of axes, one for each metric.

    Raises
    ------
    ValueError
        If there is no such evaluation or metric, or the number of ``axes`` is wrong.

    Examples
    --------
    >>> import heldout as ho, scanpy as sc
    >>> adata = ho.datasets.perturbations_simulated(n_singles=12, n_doubles=8, n_genes=100, n_cells=20)
    >>> sc.pp.normalize_total(adata, target_sum=1e4)
    >>> sc.pp.log1p(adata)
    >>> ho.pp.split_perturbations(adata, "perturbation", hold_out="combination", val=0, test=0.5)
    >>> ho.tl.perturbation(adata, method="additive")
    >>> table = ho.tl.evaluate(adata, "perturbation", baselines=["no_change", "mean"])
    >>> axes = ho.pl.leaderboard(adata, metrics=["pearson_delta", "l2"])
    """
    key = latest_key(adata) if key is None else key
    table, leak = judged_table(adata, key), leak_of_stored(adata, key)
    if metrics is None:
        there = set(table["metric"])
        metrics = [name for name in DRAWN.get(task_of(there), ()) if name in there] or None
    chosen, first = choose_metrics(table, metrics, sort_by)
    order = ranked(table, first)[::-1]
    drawn = _axes(axes, len(chosen), len(order))
    for number, (ax, metric) in enumerate(zip(drawn, chosen, strict=True)):
        rows = table[table["metric"] == metric].set_index("method").loc[order]
        _panel(ax, rows, metric, leak)
        if number:
            ax.tick_params(axis="y", labelleft=False)
    lines = [known_lines(table[table["metric"] == metric], metric) for metric in chosen]
    drawn_lines = [name for name in LINES if any(name in known for known in lines)]
    if axes is None and drawn_lines:
        from matplotlib.lines import Line2D

        legend_beside(
            drawn[-1], [Line2D([], [], color=INK, linewidth=1.0, linestyle=LINES[n], label=n) for n in drawn_lines]
        )
    return drawn


def _axes(axes: Sequence[Axes] | None, n: int, n_methods: int) -> np.ndarray:
    if axes is None:
        import matplotlib.pyplot as plt

        size = (2.6 + 2.4 * n, 1.3 + 0.3 * n_methods)
        return np.atleast_1d(plt.subplots(1, n, figsize=size, sharey=True, layout="constrained")[1])
    drawn = np.atleast_1d(np.asarray(axes, dtype=object))
    if len(drawn) != n:
        msg = f"axes has {len(drawn)} axes for {n} metrics. Pass one for each, or name as many metrics."
        raise ValueError(msg)
    return drawn


def _panel(ax: Axes, rows: pd.DataFrame, metric: str, leak: str) -> None:
    most = most_units(rows)
    for at, row in enumerate(rows.itertuples()):
        _draw(ax, at, row, most)
    for name, value in known_lines(rows, metric).items():
        ax.axvline(value, color=INK, linewidth=1.0, linestyle=LINES[name], zorder=1.5)
    ax.set_yticks(range(len(rows)), [str(name).replace("_", " ") for name in rows.index])
    ax.set_ylim(-0.6, len(rows) - 0.4)
    ax.set_xlabel(metric_of(metric).arrow)
    ax.set_title(titled(_title(rows), leak), loc="left", fontsize="small")
    ax.grid(axis="x", color="#E6E6E6", linewidth=0.6)
    ax.set_axisbelow(True)
    despine(ax, "bottom")
    ax.tick_params(axis="y", length=0)


def _draw(ax: Axes, at: int, row: pd.Series, most: int) -> None:
    if not np.isfinite(row.estimate):
        lost = str(row.note).startswith("predicts 0 of")
        ax.annotate(
            "not predicted" if lost else "not defined",
            (0.02, at),
            xycoords=("axes fraction", "data"),
            va="center",
            fontsize="x-small",
            color=FAINT,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5},
        )
        return
    colour = CLASS_COLORS[0] if row.role == "model" else FAINT
    if np.isfinite(row.ci_low) and np.isfinite(row.ci_high):
        ax.plot(
            [row.ci_low, row.ci_high], [at, at], color=colour, linewidth=1.6 if row.role == "model" else 1.1, zorder=1
        )
    face = "white" if row.role == "control" else colour
    ax.plot(
        row.estimate,
        at,
        "o",
        markersize=6.5 if row.role == "model" else 5,
        color=colour,
        markerfacecolor=face,
        zorder=2,
    )
    if row.n < most:
        ax.annotate(
            f"{int(row.n)} of {most}",
            (row.estimate, at),
            xytext=(0, 7),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize="x-small",
            color=colour,
        )


def _title(rows: pd.DataFrame) -> str:
    judged = rows[(rows["role"] == "model") & (rows["verdict"] != "")]
    n, level = int(rows["n"].max()), str(rows["level"].iloc[0])
    shown = counted(n, level)
    return shown if len(judged) != 1 else f"{shown}: {verdict_words(judged.iloc[0])}"
