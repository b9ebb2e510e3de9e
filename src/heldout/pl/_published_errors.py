"""The errors that published forecasts report, as bars, beside the corrected skill."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from heldout.get import published_errors as table_of
from heldout.get._published_errors import CELLS, GENES, MEAN, PERSISTENCE
from heldout.pl._layout import finish, new_panels, sizes_of, wrap_labels
from heldout.pl._style import FAINT, despine, ink, method_looks, method_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes

    from heldout.pl._layout import Sizes

PANELS = {
    "rmse": "RMSE (lower is better)",
    "mae": "MAE (lower is better)",
    "r2": "R² (higher is better)",
    "skill_corrected": "corrected skill (higher is better)",
}
_SHORT = {CELLS: "cells", GENES: "genes"}
_LOWEST = -1.0


def published_errors(
    adata: AnnData,
    keys: str | Sequence[str] | None = None,
    *,
    axes: Sequence[Axes] | None = None,
    figsize: tuple[float, float] | None = None,
) -> np.ndarray:
    """Draw RMSE, MAE and R² of forecasts as published studies report them, and their corrected skill.

    Bars of methods have a colour, and those of references are grey. Values below -1 are cut off. Each bar has its
    value. See :func:`heldout.get.published_errors` for the definitions, and for what these errors cannot tell.

    Parameters
    ----------
    adata
        AnnData with fits of :func:`heldout.tl.forecast` or :func:`heldout.tl.forecast_genes` that were evaluated on
        test, (n_obs × n_vars).
    keys
        Names of the fits. If None, all evaluated fits of these two functions.
    axes
        Four axes to draw into: RMSE, MAE, R² and corrected skill. If None, a new figure is made.
    figsize
        Width and height of a new figure in inches. If None, ``figure.figsize`` of the rcParams.

    Returns
    -------
    The four axes.

    Raises
    ------
    ValueError
        If there is no such fit, it is of another task, or it was not evaluated on test; or if ``axes`` are not four.

    Examples
    --------
    >>> import heldout as ho, scanpy as sc
    >>> adata = ho.datasets.branching_simulated(n_cells=40, n_genes=100)
    >>> ho.pp.split_time(adata, "time", test=96)
    >>> sc.pp.normalize_total(adata, target_sum=1e4)
    >>> sc.pp.log1p(adata)
    >>> ho.tl.forecast(adata, "time", method="reversion")
    >>> report = ho.tl.evaluate(adata, baselines=["persistence"])
    >>> axes = ho.pl.published_errors(adata)
    """
    bars = _bars(table_of(adata, keys))
    panels = new_panels(axes, figsize, len(PANELS), what="four Axes, for RMSE, MAE, R² and corrected skill")
    looks = method_looks([bar.method for bar in bars if bar.method and not bar.reference])
    colours = {name: colour for name, (colour, _) in looks.items()}
    every = [sizes_of(panel, crowd=1.4 * len(bars)) for panel in panels]
    for panel, metric, sizes in zip(panels, PANELS, every, strict=True):
        _draw(panel, bars, metric, colours, sizes)
        finish(panel, sizes=sizes, wrap=False)
    wrap_labels(panels.tolist(), every)
    return panels


@dataclass(frozen=True)
class Bar:
    """One line of a panel: a heading without method, or the values of a method."""

    label: str
    method: str = ""
    values: Mapping[str, float] = field(default_factory=dict)

    @property
    def reference(self) -> bool:
        """Whether it is shown for comparison only, and is not a fit."""
        return self.method in (PERSISTENCE, MEAN)


def _bars(table: pd.DataFrame) -> list[Bar]:
    """Lines from top to bottom: for each task and target a heading, the fits, and the references once."""
    found: list[Bar] = []
    for (task, target), rows in table.groupby(["task", "target"], sort=False):
        several = rows.loc[~rows["method"].isin([PERSISTENCE, MEAN]), "method"].duplicated(keep=False)
        found.append(Bar(f"{_SHORT[task]}, {target:g}"))
        here = [
            Bar(method_name(row.fit if several.get(row.Index, False) else row.method), row.method, row._asdict())
            for row in rows.itertuples()
        ]
        references = {bar.method: bar for bar in here if bar.reference}
        found += [bar for bar in here if not bar.reference] + list(references.values())
    return found


def _draw(ax: Axes, bars: list[Bar], metric: str, colours: Mapping[str, str], sizes: Sizes) -> None:
    shown = {
        at: float(bar.values[metric]) for at, bar in enumerate(bars) if np.isfinite(bar.values.get(metric, np.nan))
    }
    ends = {at: max(value, _LOWEST) for at, value in shown.items()}
    low, high = min([0.0, *ends.values()]), max([0.0, *ends.values()])
    for at, end in ends.items():
        bar = bars[at]
        ax.barh(at, end, height=0.7, color=FAINT if bar.reference else colours[bar.method])
        ax.annotate(
            f"{shown[at]:.2f}".replace("-", "−"),
            (max(end, 0.0), at),
            xytext=(0.3 * sizes.small, 0),
            textcoords="offset points",
            va="center",
            fontsize=sizes.small,
        )
    ax.axvline(0, color=ink(), linewidth=0.6 * sizes.line)
    ax.set_yticks(range(len(bars)), [bar.label for bar in bars])
    for bar, text in zip(bars, ax.get_yticklabels(), strict=True):
        text.set_fontweight("normal" if bar.method else "bold")
    ax.set_ylim(len(bars) - 0.4, -0.6)
    room = 0.28 * (high - low or 1.0)
    ax.set_xlim(low - (0.05 * (high - low) if low < 0 else 0.0), high + room)
    ax.set_xlabel(PANELS[metric])
    ax.locator_params(axis="x", nbins=4)
    despine(ax, "bottom")
    ax.tick_params(axis="y", length=0)
