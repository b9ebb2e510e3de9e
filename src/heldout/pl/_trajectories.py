"""Plot genes over time with their predicted values at the target time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from heldout._core import store
from heldout._core.arrays import get_matrix, loaded, take
from heldout._core.fits import latest_fit, read_header
from heldout._core.leaks import leak_of_stored
from heldout._core.partition import read_partition
from heldout._core.words import counted
from heldout.get import scores
from heldout.pl._layout import finish, new_panels, sizes_of, wrap_labels
from heldout.pl._style import FAINT, despine, ink, method_name, model_color, partition_color, titled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes

    from heldout._core.fits import FitHeader

_ALPHA = 0.1


def trajectories(
    adata: AnnData,
    key: str | None = None,
    *,
    genes: Sequence[str] | None = None,
    n_genes: int = 8,
    baseline: str | None = None,
    axes: Sequence[Axes] | None = None,
    figsize: tuple[float, float] | None = None,
) -> np.ndarray:
    """Plot the mean of held-out genes over time, with the observed and the predicted value at the target time.

    Bars of observed values are two standard errors. The prediction is a diamond, the baseline a cross and persistence a
    dotted line. If the split has val genes, the prediction has a split-conformal interval with a nominal coverage of
    90 %, from the errors on the val genes. With fewer than 9 val genes, the interval is their largest
    error, and its coverage is lower.

    Parameters
    ----------
    adata
        AnnData with an evaluated fit of :func:`heldout.tl.forecast_genes`, (n_obs × n_vars).
    key
        Name of the fit. If None, the forecast of genes that was stored last.
    genes
        Scored genes to plot. If None, the ``n_genes`` genes that change most are plotted.
    n_genes
        Number of genes if ``genes`` is None.
    baseline
        Baseline to plot. If None, the best baseline of the evaluation is used.
    axes
        One Axes per gene. If None, a new figure is made.
    figsize
        Width and height of a new figure in inches. If None, ``figure.figsize`` of the rcParams.

    Returns
    -------
    Array of axes, one per gene.

    Raises
    ------
    ValueError
        If the fit is not a gene forecast or was not evaluated, or a gene was not scored.

    Examples
    --------
    >>> import heldout as ho, scanpy as sc
    >>> adata = ho.datasets.branching_simulated(n_cells=40, n_genes=100)
    >>> sc.pp.normalize_total(adata, target_sum=1e4)
    >>> sc.pp.log1p(adata)
    >>> ho.pp.split_genes(adata, val=0, test=0.3)
    >>> ho.tl.forecast_genes(adata, "time", method="ridge")
    >>> table = ho.tl.evaluate(adata, "forecast_genes", n_bootstrap=100)
    >>> len(ho.pl.trajectories(adata, n_genes=4))
    4
    """
    key = latest_fit(adata, ["forecast_genes"], purpose="that forecasts genes") if key is None else key
    fit = read_header(adata, key)
    if not fit.method.startswith("forecast_genes."):
        msg = f"Fit {key!r} ({fit.method}) does not forecast genes. Pass the key of a fit of heldout.tl.forecast_genes."
        raise ValueError(msg)
    table = scores(adata, key)
    predicted = table[table["role"] == "model"].set_index("gene")
    others = [name for name in table["method"].unique() if name not in set(predicted["method"]) | {"persistence"}]
    if baseline is None and others:
        errors = {
            name: float(((g := table[table["method"] == name])["predicted"] - g["change"]).pow(2).mean())
            for name in others
        }
        baseline = min(errors, key=lambda name: errors[name])
    elif baseline is not None and baseline not in others:
        msg = f"baseline={baseline!r} was not scored. {store.suggest(baseline, others)}"
        raise ValueError(msg)
    chosen = _chosen(predicted, genes, n_genes)
    panels = new_panels(axes, figsize, len(chosen), what=f"one Axes for each of {counted(len(chosen), 'gene')}")
    baseline_rows = table[table["method"] == baseline].set_index("gene") if baseline else None
    last, at, layer = fit.info["history"][-1], fit.info["at"], fit.info["layer"]
    drawn = _observed(adata, fit.info["time_key"], layer, chosen)
    width = _interval(adata, fit, key, last=last, at=at, layer=layer)
    for panel, gene in zip(panels, chosen, strict=True):
        row = None if baseline_rows is None else baseline_rows.loc[gene]
        _draw(panel, drawn[gene], predicted.loc[gene], row, last=last, at=at, width=width)
    titles = [titled(chosen[0], leak_of_stored(adata, key)), *chosen[1:]]
    _finish(panels, titles, fit.info["time_key"], str(predicted["method"].iloc[0]), baseline)
    return panels


def _chosen(predicted: pd.DataFrame, genes: Sequence[str] | None, n_genes: int) -> list[str]:
    if genes is None:
        return predicted["change"].abs().sort_values(ascending=False).index[:n_genes].tolist()
    for gene in genes:
        if gene not in predicted.index:
            msg = (
                f"genes has {gene!r}, which was not scored. It must be a test gene. "
                f"{store.suggest(gene, predicted.index)}"
            )
            raise ValueError(msg)
    return list(genes)


def _observed(adata: AnnData, time_key: str, layer: str | None, genes: list[str]) -> dict[str, pd.DataFrame]:
    """Mean and standard error of each gene at each time."""
    times = adata.obs[time_key].astype(float).to_numpy()
    X = loaded(take(get_matrix(adata, layer, dask=True), None, adata.var_names.get_indexer(genes)))
    X = np.asarray(X.toarray() if hasattr(X, "toarray") else X, dtype=float)
    frames = {
        gene: pd.DataFrame({"time": times, "value": X[:, i]}).groupby("time")["value"] for i, gene in enumerate(genes)
    }
    return {gene: pd.DataFrame({"mean": g.mean(), "error": g.sem()}).reset_index() for gene, g in frames.items()}


def _interval(adata: AnnData, fit: FitHeader, key: str, *, last: float, at: float, layer: str | None) -> float:
    """Half-width of the interval of a prediction, from the errors on the val genes. NaN without val genes."""
    split = read_partition(adata, fit.split_key, axis="var")
    genes = adata.var_names[split.mask("val")].tolist()
    if not genes or f"{key}_change" not in adata.var.columns:
        return np.nan
    observed = _observed(adata, fit.info["time_key"], layer, genes)
    means = {gene: frame.set_index("time")["mean"] for gene, frame in observed.items()}
    change = np.array([means[gene][at] - means[gene][last] for gene in genes])
    errors = np.sort(np.abs(change - adata.var.loc[genes, f"{key}_change"].to_numpy(dtype=float)))
    rank = int(np.ceil((1 - _ALPHA) * (len(errors) + 1)))
    return float(errors[min(rank, len(errors)) - 1])


def _draw(
    panel: Axes,
    observed: pd.DataFrame,
    predicted: pd.Series,
    baseline: pd.Series | None,
    *,
    last: float,
    at: float,
    width: float,
) -> None:
    sizes = sizes_of(panel)
    past, target = observed[observed["time"] <= last], observed[observed["time"] == at]
    start = float(past["mean"].iloc[-1])
    line, mark = 0.8 * sizes.line, 0.6 * sizes.mark
    look: dict[str, Any] = {"marker": "o", "markersize": mark, "linewidth": line, "elinewidth": line}
    panel.errorbar(past["time"], past["mean"], 2 * past["error"], color=FAINT, label="observed", **look)
    panel.plot([last, at], [start, start], color=FAINT, linestyle=":", linewidth=line, label="persistence")
    look |= {"color": partition_color("test"), "markersize": 1.2 * mark, "linestyle": "none"}
    panel.errorbar(target["time"], target["mean"], 2 * target["error"], label="observed (held out)", **look)
    middle = start + predicted["predicted"]
    if np.isfinite(width):
        shifted = at - 0.03 * (at - float(observed["time"].min()))
        panel.plot([shifted] * 2, [middle - width, middle + width], color=model_color(), linewidth=line)
    edge: dict[str, Any] = {"markerfacecolor": "none", "markeredgecolor": model_color(), "markeredgewidth": line}
    panel.plot(at, middle, marker="D", markersize=1.4 * mark, linestyle="none", label="predicted", **edge)
    if baseline is not None:
        cross: dict[str, Any] = {"marker": "x", "markersize": 1.3 * mark, "color": ink(), "linestyle": "none"}
        panel.plot(at, start + baseline["predicted"], label="baseline", **cross)
    panel.margins(x=0.12)


def _finish(panels: np.ndarray, titles: list[str], time_key: str, method: str, baseline: str | None) -> None:
    handles, labels = panels[0].get_legend_handles_labels()
    names = {"predicted": method_name(method), "baseline": method_name(str(baseline))}
    for handle, label in zip(handles, labels, strict=True):
        handle.set_label(names.get(label, label))
    for number, (panel, title) in enumerate(zip(panels, titles, strict=True)):
        panel.set_xlabel(time_key)
        panel.set_ylabel("mean expression")
        panel.locator_params(nbins=4)
        despine(panel, "left", "bottom")
        finish(panel, title, key=[] if number else handles, wrap=False)
    wrap_labels(panels.tolist(), [sizes_of(panel) for panel in panels])
