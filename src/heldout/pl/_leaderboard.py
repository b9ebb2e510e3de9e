"""All methods of an evaluation side by side, one panel for each metric."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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
from heldout.pl._layout import finish, new_panels, room_of, sizes_of, wrap_labels
from heldout.pl._style import FAINT, despine, ink, method_name, model_color, paper, titled

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

    from heldout.pl._layout import Sizes

LINES: dict[str, tuple[int, tuple[int, int]]] = {"chance": (0, (4, 3)), "ceiling": (0, (1, 2))}
"""Lines across a panel, and their dashes."""

MARKS = {"model": ("o", 1.0), "control": ("D", 0.8), "baseline": ("s", 0.75)}
"""Shape and relative size of the mark of each role."""


def leaderboard(
    adata: AnnData,
    key: str | None = None,
    *,
    metrics: Sequence[str] | None = None,
    sort_by: str | None = None,
    axes: Sequence[Axes] | None = None,
    figsize: tuple[float, float] | None = None,
) -> np.ndarray:
    """Draw the methods of an evaluation, the best on top, with one panel for each metric.

    Judged methods are blue circles and baselines are grey squares; open diamonds are the judged method with a part
    replaced. Whiskers are 95 % intervals. The dashed line is chance and the dotted line is the ceiling, the score that
    the noise of the data allows. An arrow points to the better side. The title of a panel is the verdict. "5 of 15" at
    a point says that the method predicts only 5 of 15 units. If a panel is too low for all methods, the judged and the
    best methods are drawn, and the axis says how many methods there are.

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
    figsize
        Width and height of a new figure in inches. If None, ``figure.figsize`` of the rcParams.

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
    drawn = new_panels(axes, figsize, len(chosen), what=f"one Axes for each of {counted(len(chosen), 'metric')}")
    every = ranked(table, first)
    order = _that_fit(every, set(table.loc[table["role"] == "model", "method"]), drawn[0])
    panel_sizes = []
    for number, (ax, metric) in enumerate(zip(drawn, chosen, strict=True)):
        rows = table[table["metric"] == metric].set_index("method").loc[order]
        sizes = sizes_of(ax, crowd=len(order))
        panel_sizes.append(sizes)
        _panel(ax, rows, metric, sizes)
        first_of_row = not any(_same_row(ax, other) for other in drawn[:number])
        ax.tick_params(axis="y", labelleft=first_of_row)
        if len(order) < len(every) and not number:
            ax.set_ylabel(f"{len(order)} of {len(every)} methods")
        lines = _lines(known_lines(table[table["metric"] == metric], metric), sizes) if not number else []
        finish(ax, titled(_title(rows), leak), key=lines, sizes=sizes, wide=first_of_row, wrap=False)
    wrap_labels(drawn.tolist(), panel_sizes)
    return drawn


def _that_fit(order: list[str], judged: set[str], ax: Axes) -> list[str]:
    """The methods from the last to the best; if there is no room for all, the judged and the best ones."""
    most = max(int(72 * 0.6 * room_of(ax).height / (1.2 * sizes_of(ax, crowd=len(order)).tick)), 3)
    rest = [name for name in order if name not in judged][: max(most - len(judged), 1)]
    return [name for name in order if len(order) <= most or name in judged or name in rest][::-1]


def _same_row(ax: Axes, other: Axes) -> bool:
    here, there = ax.get_subplotspec(), other.get_subplotspec()
    if here is None or there is None or here.get_gridspec() is not there.get_gridspec():
        return False
    return bool(here.rowspan == there.rowspan)


def _lines(known: dict[str, float], sizes: Sizes) -> list[Line2D]:
    """Legend entries of the lines across the panel."""
    from matplotlib.lines import Line2D

    look: dict[str, Any] = {"color": ink(), "linewidth": 0.7 * sizes.line}
    return [Line2D([], [], linestyle=LINES[name], label=name, **look) for name in LINES if name in known]


def _panel(ax: Axes, rows: pd.DataFrame, metric: str, sizes: Sizes) -> None:
    most = most_units(rows)
    for at, row in enumerate(rows.itertuples()):
        _draw(ax, at, row, most, sizes)
    for name, value in known_lines(rows, metric).items():
        ax.axvline(value, color=ink(), linewidth=0.7 * sizes.line, linestyle=LINES[name], zorder=1.5)
    ax.set_yticks(range(len(rows)), [method_name(str(name)) for name in rows.index])
    ax.set_ylim(-0.6, len(rows) - 0.3)
    ax.set_xlabel(metric_of(metric).arrow)
    ax.locator_params(axis="x", nbins=4)
    ax.grid(axis="x", color=FAINT, alpha=0.3, linewidth=0.4 * sizes.line)
    ax.set_axisbelow(True)
    despine(ax, "bottom")
    ax.tick_params(axis="y", length=0)


def _draw(ax: Axes, at: int, row: pd.Series, most: int, sizes: Sizes) -> None:
    if not np.isfinite(row.estimate):
        lost = str(row.note).startswith("predicts 0 of")
        place: dict[str, Any] = {
            "xycoords": ("axes fraction", "data"),
            "va": "center",
            "fontsize": sizes.small,
            "color": FAINT,
        }
        behind = {"facecolor": paper(ax), "edgecolor": "none", "pad": 1.0}
        ax.annotate("not predicted" if lost else "not defined", (0.02, at), bbox=behind, **place)
        return
    model = row.role == "model"
    colour = FAINT if row.role == "baseline" else model_color()
    if np.isfinite(row.ci_low) and np.isfinite(row.ci_high):
        ax.plot(
            [row.ci_low, row.ci_high], [at, at], color=colour, linewidth=(1 if model else 0.7) * sizes.line, zorder=1
        )
    mark, share = MARKS.get(row.role, ("s", 0.75))
    face = paper(ax) if row.role == "control" else colour
    ax.plot(row.estimate, at, mark, markersize=share * sizes.mark, color=colour, markerfacecolor=face, zorder=2)
    if row.n < most:
        ax.annotate(
            f"{int(row.n)} of {most}",
            (row.estimate, at),
            xytext=(0, 0.6 * sizes.mark),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=sizes.small,
            color=colour,
        )


def _title(rows: pd.DataFrame) -> str:
    judged = rows[(rows["role"] == "model") & (rows["verdict"] != "")]
    n, level = int(rows["n"].max()), str(rows["level"].iloc[0])
    shown = counted(n, level)
    return shown if len(judged) != 1 else f"{shown}: {method_name(verdict_words(judged.iloc[0]))}"
