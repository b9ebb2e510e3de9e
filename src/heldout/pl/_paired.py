"""Plot two methods on the same folds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from heldout._core.leaks import leak_of_stored
from heldout._core.metric import metric_of
from heldout._core.words import plural
from heldout.get import comparison
from heldout.pl._layout import finish, new_axes, sizes_of
from heldout.pl._style import FAINT, despine, ink, method_name, model_color, titled

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes


def paired(
    adata: AnnData,
    key: str = "comparison",
    *,
    method: str | None = None,
    baseline: str | None = None,
    metric: str = "auc",
    ax: Axes | None = None,
    figsize: tuple[float, float] | None = None,
) -> Axes:
    """Plot the scores of a method and of a baseline as one line per fold. Scores are averaged over seeds.

    Solid blue lines are folds in which the method is better; dashed grey lines are the other folds. The black line with
    diamonds is the mean. The title has the mean difference and its interval. The interval
    accounts for training groups that folds share.

    Parameters
    ----------
    adata
        AnnData with a comparison of :func:`heldout.tl.compare`, (n_obs × n_vars).
    key
        Name of the comparison.
    method
        The method. If None, the best model by ``metric`` is used.
    baseline
        The baseline. If None, the best baseline by ``metric`` is used.
    metric
        ``auc``, ``accuracy``, ``accuracy_calibrated``, ``loss``, ``brier`` or ``cell_auc``.
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
        If the comparison, the metric or the method does not exist, or there is no model or baseline to choose.

    Examples
    --------
    >>> import heldout as ho, scanpy as sc
    >>> adata = ho.datasets.lmna_simulated(n_cells=20, n_genes=100)
    >>> sc.pp.normalize_total(adata, target_sum=1e4)
    >>> sc.pp.log1p(adata)
    >>> ho.pp.folds(adata, "library", "genotype", n_folds=4)
    >>> _ = ho.tl.compare(adata, "genotype", methods=["majority", "nearest_centroid"])
    >>> ax = ho.pl.paired(adata, method="nearest_centroid", baseline="majority")
    """
    table = comparison(adata, key)
    rows = table[table["metric"] == metric].set_index("method")
    if rows.empty:
        msg = f"metric={metric!r} must be a metric of the comparison {key!r}: {', '.join(table['metric'].unique())}."
        raise ValueError(msg)
    method = _chosen(rows, method, "model", metric, "method")
    baseline = _chosen(rows, baseline, "baseline", metric, "baseline")
    by_fold = comparison(adata, key, by="fold").groupby(["fold", "method"], sort=False)[metric].mean().unstack("method")
    values = by_fold[[baseline, method]].dropna().to_numpy()
    sign = metric_of(metric).sign
    ax = new_axes(ax, figsize)
    sizes = sizes_of(ax)
    for left, right in values:
        up = sign * (right - left) > 0
        look: dict[str, Any] = {"color": model_color()} if up else {"color": FAINT, "linestyle": (0, (3, 1.5))}
        ax.plot([0, 1], [left, right], linewidth=0.7 * sizes.line, marker="o", markersize=0.6 * sizes.mark, **look)
    ax.plot(
        [0, 1],
        values.mean(axis=0),
        color=ink(),
        linewidth=1.3 * sizes.line,
        marker="D",
        markersize=sizes.mark,
        zorder=3,
    )
    ax.set_xticks([0, 1], [method_name(baseline), method_name(method)])
    ax.set_xlim(-0.25, 1.25)
    ax.set_ylabel(f"{metric.replace('_', ' ').replace('auc', 'AUC')} per fold (over {plural(rows['level'].iloc[0])})")
    despine(ax, "left", "bottom")
    finish(ax, titled(_title(rows, method, baseline, values), leak_of_stored(adata, key)), sizes=sizes)
    return ax


def _chosen(rows: pd.DataFrame, name: str | None, role: str, metric: str, argument: str) -> str:
    if name is not None:
        if name not in rows.index:
            msg = f"{argument}={name!r} was not compared. It must be one of {', '.join(rows.index)}."
            raise ValueError(msg)
        return name
    scored = rows.loc[rows["role"] == role, "estimate"].dropna()
    if scored.empty:
        msg = f"{argument}=None: the comparison has no {role} with this metric. Pass {argument}."
        raise ValueError(msg)
    return str(scored.idxmin() if metric_of(metric).lower_is_better else scored.idxmax())


def _title(rows: pd.DataFrame, method: str, baseline: str, values: np.ndarray) -> str:
    row = rows.loc[method]
    difference = float((values[:, 1] - values[:, 0]).mean())
    if row["baseline"] != baseline or not np.isfinite(row["difference_low"]):
        return f"difference {difference:+.3f}, {len(values)} folds"
    span = f"{row['difference_low']:+.3f} to {row['difference_high']:+.3f}"
    return f"difference {difference:+.3f} ({span})\n{len(values)} folds: {row['verdict']}"
