"""Plot the nominal and the actual coverage of intervals of predicted perturbations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from heldout._core.fits import latest_fit
from heldout._core.leaks import leak_of_stored
from heldout.get import scores
from heldout.pl._layout import finish, new_axes, sizes_of
from heldout.pl._style import CLASS_MARKS, class_color, despine, ink, titled

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

    from heldout.pl._layout import Sizes

_PREFIX = "coverage_"


def coverage(
    adata: AnnData,
    key: str | None = None,
    *,
    ax: Axes | None = None,
    figsize: tuple[float, float] | None = None,
) -> Axes:
    """Plot the actual coverage of the intervals of held-out perturbations against their nominal coverage.

    The actual coverage is the share of genes inside the interval. There is one line for each number of targets and of
    targets that train has. Above the diagonal, intervals are wider than necessary. Below it, they are too narrow. Thin
    lines are single perturbations.

    Parameters
    ----------
    adata
        AnnData with an evaluated fit of :func:`heldout.tl.perturbation`, (n_obs × n_vars). The split must have
        perturbations in val.
    key
        Name of the fit. If None, the perturbation fit that was stored last.
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
        If the fit was not evaluated, or has no intervals.

    Examples
    --------
    >>> import heldout as ho, scanpy as sc
    >>> adata = ho.datasets.perturbations_simulated(n_singles=12, n_doubles=30, n_genes=100, n_cells=20)
    >>> sc.pp.normalize_total(adata, target_sum=1e4)
    >>> sc.pp.log1p(adata)
    >>> ho.pp.split_perturbations(adata, "perturbation", hold_out="combination", val=0.4, test=0.4)
    >>> ho.tl.perturbation(adata, method="additive")
    >>> table = ho.tl.evaluate(adata, "perturbation", baselines=["no_change"])
    >>> ax = ho.pl.coverage(adata)
    """
    key = latest_fit(adata, ["perturbation"], purpose="that predicts perturbations") if key is None else key
    table = scores(adata, key)
    columns = [name for name in table.columns if name.startswith(_PREFIX)]
    scored = table[table["role"] == "model"]
    if not columns or scored[columns].isna().all(axis=None):
        msg = (
            f"Fit {key!r} has no intervals. Intervals are calibrated on perturbations in val, and a coverage c needs "
            "at least c / (1 - c) val perturbations of a kind (9 for 90 %). Make a split with more perturbations in "
            "val, then fit and evaluate again."
        )
        raise ValueError(msg)
    ax = new_axes(ax, figsize)
    sizes, lines = sizes_of(ax), []
    nominal = np.array([float(name.removeprefix(_PREFIX)) for name in columns])
    for number, ((n_targets, n_seen), rows) in enumerate(scored.groupby(["n_targets", "n_seen"])):
        if not rows[columns].isna().all(axis=None):
            label = _label(n_targets, n_seen, len(rows))
            lines.append(_draw(ax, nominal, rows[columns], number % len(CLASS_MARKS), label, sizes))
    ends = [nominal.min() - 0.05, 1.0]
    ax.plot(ends, ends, color=ink(), linewidth=0.6 * sizes.line, linestyle=(0, (4, 3)), zorder=0)
    ax.set_xlim(ends[0], 1.0)
    ax.set_ylim(min(ends[0], float(np.nanmin(scored[columns].to_numpy())) - 0.03), 1.01)
    ax.set_xlabel("nominal coverage")
    ax.set_ylabel("actual coverage (share of genes)")
    despine(ax, "left", "bottom")
    finish(ax, titled("held-out perturbations", leak_of_stored(adata, key)), key=lines, sizes=sizes)
    return ax


def _draw(ax: Axes, nominal: np.ndarray, shares: pd.DataFrame, number: int, label: str, sizes: Sizes) -> Line2D:
    values, colour = shares.to_numpy(dtype=float), class_color(number)
    for row in values:
        ax.plot(nominal, row, color=colour, linewidth=0.3 * sizes.line, alpha=0.35)
    known = np.isfinite(values).any(axis=0)
    look: dict[str, Any] = {"color": colour, "linewidth": 1.2 * sizes.line, "marker": CLASS_MARKS[number]}
    means = np.nanmean(values[:, known], axis=0)
    return ax.plot(nominal[known], means, markersize=0.8 * sizes.mark, label=label, **look)[0]


def _label(n_targets: int, n_seen: int, n: int) -> str:
    what = "single" if n_targets == 1 else "pair" if n_targets == 2 else f"combination of {n_targets}"
    return f"{what}, {n_seen} of {n_targets} targets in train (n = {n})"
