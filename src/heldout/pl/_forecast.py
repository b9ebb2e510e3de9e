"""Plot predicted and observed cells on the components of the fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from heldout._core import store
from heldout._core.fits import check_split, latest_fit, read_fit
from heldout._core.leaks import leak_of_stored
from heldout._core.ledger import was_evaluated
from heldout._core.partition import read_partition
from heldout.pl._layout import finish, new_axes, sizes_of
from heldout.pl._style import FAINT, PARTITION_MARKS, despine, method_name, model_color, paper, partition_color, titled

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes

_MAX_CELLS = 3000

_FEWEST, _GRID = 20, 60
"""Least number of cells with a line around them, and the number of grid points of the density on each axis."""


def forecast(
    adata: AnnData,
    key: str | None = None,
    *,
    at: float | None = None,
    components: tuple[int, int] = (1, 2),
    ax: Axes | None = None,
    figsize: tuple[float, float] | None = None,
) -> Axes:
    """Plot predicted and observed cells of a target time on components that were fitted on train cells.

    Grey points are the cells of the last train time, from which the forecast starts. They are placed as cells that had
    no part in the components. Large marks are mean positions. Lines enclose the half of the observed and of the
    predicted cells where the cells are densest.

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
    figsize
        Width and height of a new figure in inches. If None, ``figure.figsize`` of the rcParams.

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
    from heldout.tasks.forecast.encoding import coordinates
    from heldout.tasks.forecast.predict import predicted_cells
    from heldout.tasks.forecast.start import cells_at, space_of

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
    _, start_time, start = cells_at(adata, fit, at, key=key, layer=layer)
    truth = np.flatnonzero(split.mask("test") & (times == at))
    predicted = predicted_cells(adata, fit, key=key, at=at, reference=None, layer=layer)
    clouds = [
        _Cloud(f"observed, {start_time:g}", start, FAINT, "."),
        _Cloud(
            f"observed, {at:g} (held out)",
            coordinates(adata, truth, columns, space, layer),
            partition_color("test"),
            PARTITION_MARKS["test"],
        ),
        _Cloud(f"predicted, {at:g}", np.asarray(predicted.obsm[fit.info["use_rep"] or "X_pca"]), model_color(), "o"),
    ]
    ax = new_axes(ax, figsize)
    title = f"{fit.info['time_key']} {at:g}: {method_name(fit.method.removeprefix('forecast.'))}"
    _draw(ax, clouds, components, titled(title, leak_of_stored(adata, key)))
    return ax


@dataclass(frozen=True)
class _Cloud:
    """Cells with the same look: label, coordinates (n × n_comps), colour and shape."""

    label: str
    cells: np.ndarray
    colour: str
    mark: str


def _draw(ax: Axes, clouds: list[_Cloud], components: tuple[int, int], title: str) -> None:
    from matplotlib.lines import Line2D

    x, y = (number - 1 for number in components)
    k = clouds[0].cells.shape[1]
    if not 0 <= min(x, y) <= max(x, y) < k:
        msg = f"components={components!r} must be two integers in [1, {k}]."
        raise ValueError(msg)
    rng, sizes, key = np.random.default_rng(0), sizes_of(ax), []
    for number, cloud in enumerate(clouds):
        drawn = cloud.cells[rng.permutation(len(cloud.cells))[:_MAX_CELLS]]
        small, crowded = 0.35 * sizes.mark, len(drawn) > 500
        ax.scatter(
            drawn[:, x], drawn[:, y], s=small**2, marker=cloud.mark, color=cloud.colour, alpha=0.5, linewidths=0,
            rasterized=crowded,
        )  # fmt: skip
        centre = cloud.cells.mean(axis=0)
        big: dict[str, Any] = {"marker": "o" if cloud.mark == "." else cloud.mark, "markeredgecolor": paper(ax)}
        ax.plot(centre[x], centre[y], markersize=1.3 * sizes.mark, color=cloud.colour, zorder=4, **big)
        label = f"{cloud.label}, n = {len(cloud.cells):,}"
        small_mark: dict[str, Any] = {"marker": big["marker"], "markersize": 0.7 * sizes.mark, "linestyle": "none"}
        key.append(Line2D([], [], color=cloud.colour, label=label, **small_mark))
        if number:
            _outline(ax, drawn[:, [x, y]], cloud.colour, 0.8 * sizes.line)
    ax.set_xlabel(f"component {components[0]}")
    ax.set_ylabel(f"component {components[1]}")
    ax.set_xticks([])
    ax.set_yticks([])
    despine(ax, "left", "bottom")
    finish(ax, title, key=key, sizes=sizes)


def _outline(ax: Axes, cells: np.ndarray, colour: str, width: float) -> None:
    """Draw the line around the half of the cells where they are densest."""
    from scipy.stats import gaussian_kde

    if len(cells) < _FEWEST or np.linalg.matrix_rank(cells - cells.mean(axis=0)) < 2:
        return
    density = gaussian_kde(cells.T)
    low, high = cells.min(axis=0), cells.max(axis=0)
    margin = 0.3 * (high - low)
    grid = np.meshgrid(*(np.linspace(a, b, _GRID) for a, b in zip(low - margin, high + margin, strict=True)))
    heights = density(np.stack([axis.ravel() for axis in grid])).reshape(_GRID, _GRID)
    ax.contour(*grid, heights, levels=[float(np.median(density(cells.T)))], colors=[colour], linewidths=width, zorder=3)
