"""Plot scores against the number of train groups."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Literal

import numpy as np

from heldout._core import keys
from heldout._core.checks import check_choice
from heldout._core.metric import metric_of
from heldout._core.report import unit_name
from heldout._core.settings import settings
from heldout._core.store import section
from heldout._core.words import plural
from heldout.get import learning_curve as stored_curve
from heldout.pl._layout import finish, new_axes
from heldout.pl._style import FAINT, despine, ink

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes

_NAMES = {"auc": "AUC", "loss": "log-loss (nats)"}


def learning_curve(
    adata: AnnData,
    key: str = "learning_curve",
    *,
    metric: Literal["auc", "loss"] = "auc",
    ax: Axes | None = None,
    figsize: tuple[float, float] | None = None,
) -> Axes:
    """Plot the scores of a learning curve against the number of train groups.

    Points are means over random subsets of the train groups. The band (for several methods, the bars) holds 80 % of the
    subsets: it shows how much the choice of the donors matters. It does not cover new groups.

    Parameters
    ----------
    adata
        AnnData with the learning curve, (n_obs × n_vars).
    key
        Name of the learning curve.
    metric
        ``auc`` or ``loss`` of the held-out groups.
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
        If there is no such learning curve, ``metric`` has another value, or there are more than seven methods.

    Examples
    --------
    >>> import heldout as ho, scanpy as sc
    >>> adata = ho.datasets.lmna_simulated(n_cells=20, n_genes=100)
    >>> sc.pp.normalize_total(adata, target_sum=1e4)
    >>> sc.pp.log1p(adata)
    >>> ho.pp.split_matched(adata, "library", "day", label_key="genotype", test=19, val=16)
    >>> _ = ho.tl.learning_curve(adata, methods=["nearest_centroid"], sizes=[2, 4], n_repeats=2)
    >>> ho.pl.learning_curve(adata).get_xlabel()
    'train libraries (both classes together)'
    """
    check_choice(metric, "metric", tuple(_NAMES))
    table = stored_curve(adata, key)
    table = table[table["metric"] == metric]
    methods = list(dict.fromkeys(table["method"]))
    if len(methods) > (most := len(settings.class_colors)):
        msg = f"The learning curve {key!r} has {len(methods)} methods, but a plot has room for {most}. Compute fewer."
        raise ValueError(msg)
    about = json.loads(str(section(adata, keys.LEARNING_CURVES)[key]["json"]))
    ax = new_axes(ax, figsize)
    colors = dict(zip(methods, settings.class_colors, strict=False))
    sizes = np.sort(table["n_train"].unique())
    step = 0.012 * (sizes[-1] - sizes[0])
    for number, method in enumerate(methods):
        rows = table[table["method"] == method].sort_values("n_train")
        x = rows["n_train"] + step * (number - (len(methods) - 1) / 2)
        if len(methods) == 1:
            ax.fill_between(x, rows["low"], rows["high"], color=colors[method], alpha=0.2, linewidth=0)
        else:
            ax.vlines(x, rows["low"], rows["high"], color=colors[method], linewidth=0.8, alpha=0.6)
        ax.plot(x, rows["estimate"], "o-", color=colors[method], linewidth=1.2, markersize=3)
    ends = table.sort_values("n_train").groupby("method", sort=False).tail(1).set_index("method")["estimate"]
    _labels(ax, ends, colors)
    _reference(ax, metric)
    ax.set_xticks(sizes)
    unit, level = unit_name(str(about["unit"])), unit_name(str(table["level"].iloc[0]))
    held = "test" if about["partition"] == "test" else "held-out"
    both = "both classes together" if about["n_classes"] == 2 else "all classes together"
    ax.set_xlabel(f"train {plural(unit)} ({both if about['pure'] else 'each with ' + both.split()[0] + ' classes'})")
    ax.set_ylabel(f"{_NAMES[metric]} of {about['n_scored']} {held} {plural(level)}")
    shown = "band" if len(methods) == 1 else "bars"
    despine(ax, "left", "bottom")
    finish(ax, f"mean of {int(table['n_repeats'].max())} random subsets; {shown}: 80 % of them")
    return ax


def _labels(ax: Axes, ends: pd.Series, colors: dict[str, str]) -> None:
    """Name each curve to the right of its last point, and keep the names apart."""
    low, high = ax.get_ylim()
    gap, ordered = 0.075 * (high - low), ends.sort_values()
    places = ordered.to_numpy(dtype=float)
    for _ in range(50):
        for i in range(1, len(places)):
            short = gap - (places[i] - places[i - 1])
            if short > 1e-9:
                places[i - 1 : i + 1] += np.array([-short / 2, short / 2])
    for method, place in zip(ordered.index, places, strict=True):
        ax.text(
            1.03,
            place,
            f"{method} {ends[method]:.2f}",
            color=colors[method],
            transform=ax.get_yaxis_transform(),
            fontsize="x-small",
            va="center",
        )


def _reference(ax: Axes, metric: str) -> None:
    """Line of the score of a prediction that knows nothing, if there is one."""
    chance = metric_of(metric).chance
    if chance is None:
        return
    ax.axhline(chance, color=FAINT, linewidth=0.8, linestyle=(0, (4, 3)), zorder=0)
    ax.annotate(
        "chance",
        (0.99, chance),
        xycoords=ax.get_yaxis_transform(),
        xytext=(0, -2),
        textcoords="offset points",
        ha="right",
        va="top",
        fontsize="x-small",
        color=ink(),
    )
