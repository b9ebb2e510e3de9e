"""Plot predicted and observed cells on the components of the fit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from heldout._core import store
from heldout._core.fits import check_split, latest_fit, read_fit
from heldout._core.leaks import leak_of_stored
from heldout._core.ledger import was_evaluated
from heldout._core.partition import read_partition
from heldout.pl._layout import new_axes
from heldout.pl._style import CLASS_COLORS, FAINT, PARTITION_COLORS, despine, legend_beside, titled

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes

_MAX_CELLS = 3000


def forecast(
    adata: AnnData,
    key: str | None = None,
    *,
    at: float | None = None,
    components: tuple[int, int] = (1, 2),
    ax: Axes | None = None,
) -> Axes:
    """Plot predicted and observed cells of a target time on components that were fitted on train cells.

    Grey points are the cells of the last train time, from which the forecast starts. Crosses are mean positions.

    Parameters
    ----------
    adata
        AnnData with an evaluated fit of :func:`heldout.tl.forecast`, (n_obs × n_vars).
    key
        Name of the fit. If None, the forecast of cells that was stored last.
    at
        Target time. If None, the first test time is used.
    components
        The two components to plot, counted from 1.
    ax
        Axes to draw into. If None, a new figure is made.

    Returns
    -------
    The axes.

    Raises
    ------
    ValueError
        If the fit is not a forecast of cells, was not evaluated on test, or ``at`` has no held-out cells.

    Examples
    --------
    >>> import heldout as ho, scanpy as sc
    >>> adata = ho.datasets.branching_simulated(n_cells=40, n_genes=100)
    >>> ho.pp.split_time(adata, "time", test=96)
    >>> sc.pp.normalize_total(adata, target_sum=1e4)
    >>> sc.pp.log1p(adata)
    >>> ho.tl.forecast(adata, "time", method="damped_shift")
    >>> table = ho.tl.evaluate(adata, "forecast", baselines=["persistence"])
    >>> ax = ho.pl.forecast(adata)
    """
    from heldout._core.times import cell_times
    from heldout.tasks.forecast.predict import predicted_cells
    from heldout.tasks.forecast.task import coordinates, space_of, start_cells

    key = latest_fit(adata, ["forecast"], purpose="that forecasts cells") if key is None else key
    fit = read_fit(adata, key)
    if not fit.method.startswith("forecast."):
        msg = f"Fit {key!r} ({fit.method}) does not forecast cells. Pass the key of a fit of heldout.tl.forecast."
        raise ValueError(msg)
    split = read_partition(adata, fit.split_key)
    check_split(adata, fit, split, key=key)
    split.require("test", purpose="A plot of a forecast")
    if not was_evaluated(adata, fit.hash):
        msg = (
            f"Fit {key!r} was not evaluated on test yet. Plotting test results counts as a look. Run "
            f"heldout.tl.evaluate(adata, {key!r}) first, which records the look."
        )
        raise ValueError(msg)
    times = cell_times(adata, fit.info["time_key"])
    test_times = np.unique(times[split.mask("test")])
    at = float(test_times[0]) if at is None else float(at)
    if at not in test_times:
        msg = f"at={at:g} has no held-out cells. It must be one of {store.some(f'{time:g}' for time in test_times)}."
        raise ValueError(msg)
    space, columns, layer = space_of(fit), fit.columns(adata.var_names, key=key), fit.info["layer"]
    start, start_time = start_cells(adata, fit, at, train_only=True)
    truth = np.flatnonzero(split.mask("test") & (times == at))
    predicted = predicted_cells(adata, fit, key=key, at=at, reference=None, layer=layer)
    clouds = {
        f"observed, {start_time:g}": (coordinates(adata, start, columns, space, layer), FAINT),
        f"observed, {at:g} (held out)": (coordinates(adata, truth, columns, space, layer), PARTITION_COLORS["test"]),
        f"predicted, {at:g}": (np.asarray(predicted.obsm[fit.info["use_rep"] or "X_pca"]), CLASS_COLORS[0]),
    }
    ax = _draw(new_axes(ax, None if ax is not None else (5.2, 3.6)), clouds, components, fit.info["time_key"], fit.method)
    ax.set_title(titled("", leak_of_stored(adata, key)), loc="left", fontsize="medium")
    return ax


def _draw(ax: Axes, clouds: dict[str, Any], components: tuple[int, int], time_key: str, method: str) -> Axes:
    x, y = (number - 1 for number in components)
    k = next(iter(clouds.values()))[0].shape[1]
    if not 0 <= min(x, y) <= max(x, y) < k:
        msg = f"components={components!r} must be two integers in [1, {k}]."
        raise ValueError(msg)
    rng = np.random.default_rng(0)
    for label, (cells, colour) in clouds.items():
        drawn = cells[rng.permutation(len(cells))[:_MAX_CELLS]]
        ax.scatter(
            drawn[:, x],
            drawn[:, y],
            s=9,
            color=colour,
            alpha=0.55,
            linewidths=0,
            label=label,
            rasterized=len(drawn) > 500,
        )
        centre = cells.mean(axis=0)
        ax.plot(
            centre[x], centre[y], marker="P", markersize=9, color=colour, markeredgecolor="white", markeredgewidth=1
        )
    ax.set_xlabel(f"component {components[0]}")
    ax.set_ylabel(f"component {components[1]}")
    ax.set_xticks([])
    ax.set_yticks([])
    despine(ax, "left", "bottom")
    legend_beside(ax, title=f"{time_key}\n({method.removeprefix('forecast.').replace('_', ' ')})")
    return ax
