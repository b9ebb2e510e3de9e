"""Plot measured interactions, and how well predictions find them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from heldout._core.words import counted
from heldout.get._interactions import interaction_curve, read_interactions
from heldout.metrics.interactions import CLASSES
from heldout.pl._style import CLASS_COLORS, FAINT, INK, despine, legend_beside

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes

    from heldout.tasks.interactions.measured import Interactions

COLORS = {
    "additive": "#C9C9C9",
    "buffering": CLASS_COLORS[0],
    "synergistic": CLASS_COLORS[1],
    "opposite": CLASS_COLORS[2],
    "other": CLASS_COLORS[3],
}
"""One colour per class of interaction."""


def interactions(
    adata: AnnData,
    key: str = "interactions",
    *,
    predictions: Mapping[str, AnnData] | None = None,
    perturbation_key: str = "perturbation",
    axes: Sequence[Axes] | None = None,
) -> np.ndarray:
    """Plot the measured change of each combination and gene against the sum of the single changes.

    Points on the diagonal are additive. Dotted lines are the cut-offs of the calls. Points beyond them have the colour
    of their class. There are no cut-offs if deviations were scaled. With predictions, a second panel shows the share of
    interactions that a method finds (true positive rate) against the share of false interactions among its top calls
    (false discovery proportion).

    Parameters
    ----------
    adata
        AnnData with measured interactions, (n_obs × n_vars).
    key
        Name of the result of :func:`heldout.tl.interactions`.
    predictions, perturbation_key
        Predicted profiles of each method, as in :func:`heldout.get.interaction_curve`.
    axes
        Axes to draw into: one, or two with predictions. If None, a new figure is made.

    Returns
    -------
    Array of axes: the scatter plot, and with predictions also the curve.

    Raises
    ------
    ValueError
        If the result does not exist, the number of ``axes`` is wrong, or a prediction lacks genes or columns.

    Examples
    --------
    >>> import numpy as np, anndata as ad, heldout as ho
    >>> names = np.repeat(["control", "A", "B", "A+B"], 40)
    >>> X = np.random.default_rng(0).normal(2, 0.3, (160, 200)).clip(0)
    >>> X[names != "control", :9] += 1.5
    >>> adata = ad.AnnData(X, obs={"guide": names})
    >>> ho.tl.interactions(adata, "guide")
    >>> axes = ho.pl.interactions(adata)
    """
    found = read_interactions(adata, key)
    curve = None
    if predictions is not None:
        curve = interaction_curve(adata, key, predictions=predictions, perturbation_key=perturbation_key)
    panels = _panels(axes, 1 if curve is None else 2)
    _scatter(panels[0], found)
    if curve is not None:
        _curve(panels[1], curve, found)
    return panels


def _panels(axes: Sequence[Axes] | None, n: int) -> np.ndarray:
    if axes is None:
        import matplotlib.pyplot as plt

        size = (6.0, 3.8) if n == 1 else (11.4, 3.8)
        return plt.subplots(1, n, figsize=size, layout="constrained", squeeze=False)[1][0]
    panels = np.asarray(axes, dtype=object).ravel()
    if len(panels) != n:
        what = "one Axes, for the scatter" if n == 1 else "two Axes, for the scatter and the curve"
        msg = f"axes must be {what}, got {len(panels)}."
        raise ValueError(msg)
    return panels


def _scatter(ax: Axes, found: Interactions) -> None:
    expected, observed = found.additive - found.control, found.observed - found.control
    low, high = _limits(expected, observed)
    called = np.flatnonzero(found.called)
    called = np.random.default_rng(0).permutation(called)  # so that no class covers another
    colours = np.array(list(COLORS.values()))[found.classes.ravel()[called]]
    crowded = expected.size > 20_000
    for points, size, colour in (
        (np.flatnonzero(~found.called), 1.2 if crowded else 5, COLORS["additive"]),
        (called, 5 if crowded else 12, colours),
    ):
        x, y = expected.ravel()[points], observed.ravel()[points]
        ax.scatter(x, y, s=size, c=colour, linewidths=0, rasterized=True)
    ax.axline((0, 0), slope=1, color=INK, linewidth=0.9, zorder=3)
    for cutoff in found.cutoffs:
        if np.isfinite(cutoff) and found.scale == "none":
            ax.axline((0, cutoff), slope=1, color=INK, linewidth=0.8, linestyle=":", zorder=3)
    for line in (ax.axhline, ax.axvline):
        line(0, color=FAINT, linewidth=0.6, zorder=0)
    ax.set(xlim=(low, high), ylim=(low, high))
    ax.set_xlabel("sum of single changes (log expression)")
    ax.set_ylabel("observed change")
    n_pairs, n_genes = observed.shape
    ax.set_title(f"{counted(n_pairs, 'combination')} × {counted(n_genes, 'gene')}", loc="left", fontsize="medium")
    despine(ax, "left", "bottom")
    legend_beside(ax, _handles(found), title=f"local fdr ≤ {found.fdr:g}")


def _handles(found: Interactions) -> list[Any]:
    """Legend entry with the number of values of each class that has any."""
    from matplotlib.lines import Line2D

    counts = np.bincount(found.classes.ravel(), minlength=len(CLASSES))
    return [
        Line2D(
            [], [], linestyle="none", marker="o", markersize=5, color=COLORS[name], label=_label(name, n, counts.sum())
        )
        for name, n in zip(CLASSES, counts, strict=True)
        if n
    ]


def _label(name: str, n: int, of: int) -> str:
    return f"{name}: {n:,} ({_percent(n / of)})"


def _limits(expected: np.ndarray, observed: np.ndarray) -> tuple[float, float]:
    low, high = min(expected.min(), observed.min()), max(expected.max(), observed.max())
    margin = 0.04 * (high - low)
    return float(low - margin), float(high + margin)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if share >= 0.001 or not share else "< 0.1 %"


def _curve(ax: Axes, curve: pd.DataFrame, found: Interactions) -> None:
    colours = dict(zip((m for m in curve["method"].unique() if m != "no_change"), CLASS_COLORS * 9, strict=False))
    for method, rows in curve.groupby("method", sort=False):
        reference = method == "no_change"
        ax.plot(
            rows["fdp"],
            rows["tpr"],
            color=INK if reference else colours[method],
            linestyle="--" if reference else "-",
            linewidth=1.3 if reference else 1.7,
            label=str(method).replace("_", " "),
            zorder=3 if reference else 2,
        )
    n_pairs, n_found = int(curve["n_pairs"].iloc[0]), int(curve["n_interactions"].iloc[0])
    chance = 1 - n_found / (n_pairs * found.deviation.shape[1])
    ax.axvline(chance, color=FAINT, linewidth=0.9, linestyle=":", zorder=1, label="random order")
    ax.set(xlim=(0, 1.01), ylim=(0, 1.01))
    ax.set_xlabel("false discovery proportion")
    ax.set_ylabel("true positive rate")
    ax.set_title(
        f"{counted(n_found, 'interaction')} in {counted(n_pairs, 'combination')}", loc="left", fontsize="medium"
    )
    despine(ax, "left", "bottom")
    legend_beside(ax)
