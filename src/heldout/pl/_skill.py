"""The skill of each method of a forecast over persistence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from heldout._core.leaks import leak_of_stored
from heldout._core.words import counted
from heldout.get import evaluation, scores
from heldout.get._leaderboard import latest_key, verdict_words
from heldout.pl._layout import finish, new_axes, sizes_of
from heldout.pl._style import FAINT, despine, ink, method_name, model_color, titled

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes

    from heldout.pl._layout import Sizes

METRIC = "skill_corrected"
_LOWEST = -1.0


def skill(
    adata: AnnData, key: str | None = None, *, ax: Axes | None = None, figsize: tuple[float, float] | None = None
) -> Axes:
    """Draw the skill of each method of an evaluated forecast over persistence, the best on top.

    Skill is the share of the error of persistence above the noise floor that a method removes: 0 is as good as
    repeating the last time, 1 is as good as other cells of the target time. Values below -1 are cut off and written
    as numbers. The judged method is blue with a circle, and baselines are grey with a square; thin lines are the
    intervals of the evaluation. If the last cells are as close to the observed cells as halves of these, the title says
    that there is no gap to forecast, and the values mean nothing.

    Parameters
    ----------
    adata
        AnnData with an evaluated fit of :func:`heldout.tl.forecast` or :func:`heldout.tl.forecast_genes`, (n_obs ×
        n_vars).
    key
        Name of the fit. If None, the last evaluation is drawn.
    ax
        Axes to draw into. If None, a new figure is made.
    figsize
        Width and height of a new figure in inches. If None, ``figure.figsize`` of the rcParams.

    Returns
    -------
    The axes.

    Raises
    ------
    ValueError
        If the fit was not evaluated, or its evaluation has no skill.

    Examples
    --------
    >>> import heldout as ho, scanpy as sc
    >>> adata = ho.datasets.branching_simulated(n_cells=40, n_genes=100)
    >>> ho.pp.split_time(adata, "time", test=96)
    >>> sc.pp.normalize_total(adata, target_sum=1e4)
    >>> sc.pp.log1p(adata)
    >>> ho.tl.forecast(adata, "time", method="damped_shift")
    >>> table = ho.tl.evaluate(adata, "forecast", baselines=["persistence", "pooled_past"])
    >>> ax = ho.pl.skill(adata)
    """
    key = latest_key(adata) if key is None else key
    table = evaluation(adata, key)
    rows = table[(table["metric"] == METRIC) & table["estimate"].notna()]
    if rows.empty:
        msg = f"The evaluation {key!r} has no {METRIC!r}: it is of another task, or persistence is at the noise floor."
        raise ValueError(msg)
    rows = rows[rows["level"] == rows["level"].iloc[0]].sort_values("estimate", kind="stable")
    ax = new_axes(ax, figsize)
    sizes = sizes_of(ax, crowd=1.5 * len(rows))
    for at, row in enumerate(rows.itertuples()):
        _draw(ax, at, row, sizes)
    ax.axvline(0, color=ink(), linewidth=0.6 * sizes.line, zorder=0)
    ax.set_yticks(range(len(rows)), [method_name(name) for name in rows["method"]])
    ax.set_ylim(-0.6, len(rows) - 0.4)
    ax.set_xlim(max(_LOWEST, float(rows["estimate"].min())) - 0.12, max(1.0, float(rows["estimate"].max())) + 0.08)
    ax.locator_params(axis="x", nbins=5)
    ax.set_xlabel("corrected skill (0: persistence, 1: noise floor)")
    despine(ax, "bottom")
    ax.tick_params(axis="y", length=0)
    title = f"{key}: no gap to forecast" if _no_gap(scores(adata, key)) else _title(rows, key)
    finish(ax, titled(title, leak_of_stored(adata, key)), sizes=sizes)
    return ax


def _draw(ax: Axes, at: int, row: pd.Series, sizes: Sizes) -> None:
    judged = row.role == "model"
    colour, width = (model_color(), 1.4) if judged else (FAINT, 0.8)
    value = max(row.estimate, _LOWEST)
    ax.plot([0, value], [at, at], color=colour, linewidth=width * sizes.line, solid_capstyle="butt", zorder=1)
    if np.isfinite(row.ci_low) and np.isfinite(row.ci_high):
        low, high = np.clip([row.ci_low, row.ci_high], _LOWEST, None)
        ax.plot([low, high], [at - 0.22, at - 0.22], color=colour, linewidth=0.6 * sizes.line)
    mark = "<" if row.estimate < _LOWEST else "o" if judged else "s"
    ax.plot(value, at, marker=mark, markersize=(1.1 if judged else 0.8) * sizes.mark, color=colour, zorder=2)
    if row.estimate < _LOWEST:
        above = (sizes.mark, 0.35 * sizes.mark)
        ax.annotate(f"{row.estimate:.1f}", (value, at), xytext=above, textcoords="offset points", fontsize=sizes.small)


def _no_gap(by_target: pd.DataFrame) -> bool:
    """Whether persistence is within the noise floor at all targets. Of genes this is not known."""
    return "no_gap" in by_target and bool(by_target["no_gap"].all())


def _title(rows: pd.DataFrame, key: str) -> str:
    judged = rows[rows["role"] == "model"]
    n, level = int(rows["n"].iloc[0]), str(rows["level"].iloc[0])
    verdict = method_name(verdict_words(judged.iloc[0])) if len(judged) else ""
    return f"{key}: {counted(n, level)}" + (f", {verdict}" if verdict else "")
