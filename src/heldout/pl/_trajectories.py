"""Plot genes over time with their predicted values at the target time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from heldout._core import store
from heldout._core.arrays import get_matrix, loaded, take
from heldout._core.fits import latest_fit, read_header
from heldout._core.leaks import leak_of_stored
from heldout._core.partition import read_partition
from heldout.get import scores
from heldout.pl._style import CLASS_COLORS, FAINT, INK, PARTITION_COLORS, despine, titled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes

    from heldout._core.fits import FitHeader

_COLUMNS = 4
_ALPHA = 0.1


def trajectories(
    adata: AnnData,
    key: str | None = None,
    *,
    genes: Sequence[str] | None = None,
    n_genes: int = 8,
    baseline: str | None = None,
    axes: Sequence[Axes] | None = None,
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
    panels = _panels(axes, len(chosen))
    baseline_rows = table[table["method"] == baseline].set_index("gene") if baseline else None
    last, at, layer = fit.info["history"][-1], fit.info["at"], fit.info["layer"]
    drawn = _observed(adata, fit.info["time_key"], layer, chosen)
    width = _interval(adata, fit, key, last=last, at=at, layer=layer)
    for panel, gene in zip(panels, chosen, strict=True):
        row = None if baseline_rows is None else baseline_rows.loc[gene]
        _draw(panel, drawn[gene], predicted.loc[gene], row, last=last, at=at, width=width)
        panel.set_title(gene, fontsize="small", loc="left", style="italic")
    if leak := leak_of_stored(adata, key):
        panels[0].set_title(titled(panels[0].get_title(loc="left"), leak), fontsize="small", loc="left")
    _finish(panels, fit.info["time_key"], str(predicted["method"].iloc[0]), baseline)
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


def _panels(axes: Sequence[Axes] | None, n: int) -> np.ndarray:
    if axes is not None:
        panels = np.asarray(axes, dtype=object).ravel()
        if len(panels) < n:
            msg = f"axes has {len(panels)} Axes for {n} genes. Pass one Axes for each gene."
            raise ValueError(msg)
        return panels[:n]
    import matplotlib.pyplot as plt

    columns = min(_COLUMNS, n)
    rows = -(-n // columns)
    figure, grid = plt.subplots(
        rows, columns, figsize=(2.1 * columns + 1.2, 1.8 * rows + 0.3), layout="constrained", sharex=True, squeeze=False
    )
    for panel in grid.ravel()[n:]:
        figure.delaxes(panel)
    return grid.ravel()[:n]


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
    past, target = observed[observed["time"] <= last], observed[observed["time"] == at]
    start = float(past["mean"].iloc[-1])
    panel.errorbar(
        past["time"],
        past["mean"],
        2 * past["error"],
        color=FAINT,
        marker="o",
        markersize=3.5,
        linewidth=1.2,
        label="observed",
    )
    panel.plot([last, at], [start, start], color=FAINT, linestyle=":", linewidth=1, label="persistence")
    colour = PARTITION_COLORS["test"]
    panel.errorbar(
        target["time"],
        target["mean"],
        2 * target["error"],
        color=colour,
        marker="o",
        markersize=4.5,
        linestyle="none",
        label="observed (held out)",
    )
    if np.isfinite(width):
        middle, shifted = start + predicted["predicted"], at - 0.03 * (at - float(observed["time"].min()))
        panel.plot([shifted] * 2, [middle - width, middle + width], color=CLASS_COLORS[0], linewidth=1)
    panel.plot(
        at,
        start + predicted["predicted"],
        marker="D",
        markersize=5.5,
        markerfacecolor="none",
        markeredgecolor=CLASS_COLORS[0],
        markeredgewidth=1.5,
        linestyle="none",
        label="predicted",
    )
    if baseline is not None:
        panel.plot(
            at, start + baseline["predicted"], marker="x", markersize=5, color=INK, linestyle="none", label="baseline"
        )
    panel.margins(x=0.12)


def _finish(panels: np.ndarray, time_key: str, method: str, baseline: str | None) -> None:
    for panel in panels:
        despine(panel, "left", "bottom")
        panel.tick_params(labelsize="small")
    handles, labels = panels[0].get_legend_handles_labels()
    names = {"predicted": method.replace("_", " "), "baseline": str(baseline).replace("_", " ")}
    figure = panels[0].figure
    figure.legend(
        handles,
        [names.get(label, label) for label in labels],
        loc="outside right upper",
        frameon=False,
        fontsize="small",
    )
    figure.supxlabel(time_key, fontsize="small")
    figure.supylabel("mean expression", fontsize="small")
