"""Plot measured interactions, and how well predictions find them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from heldout._core.words import counted
from heldout.get._interactions import interaction_curve, read_interactions
from heldout.metrics.interactions import CLASSES
from heldout.pl._layout import finish, new_panels, sizes_of
from heldout.pl._style import FAINT, class_color, despine, ink, method_looks, method_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes

    from heldout.pl._layout import Sizes
    from heldout.tasks.interactions.measured import Interactions

MARKS = {"additive": "o", "buffering": "s", "synergistic": "^", "opposite": "D", "other": "v"}
"""One shape per class of interaction."""


def colors() -> dict[str, str]:
    """One colour per class of interaction."""
    classes = ("buffering", "synergistic", "opposite", "other")
    return {"additive": "#B9B9B9"} | {name: class_color(number) for number, name in enumerate(classes)}


def interactions(
    adata: AnnData,
    key: str = "interactions",
    *,
    predictions: Mapping[str, AnnData] | None = None,
    perturbation_key: str = "perturbation",
    axes: Sequence[Axes] | None = None,
    figsize: tuple[float, float] | None = None,
) -> np.ndarray:
    """Plot the measured change of each combination and gene against the sum of the single changes.

    Points on the diagonal are additive. Dotted lines are the cut-offs of the calls. Points beyond them have the colour
    and the shape of their class. There are no cut-offs if deviations were scaled. With predictions, a second panel
    shows the share of interactions that a method finds (true positive rate) against the share of false interactions
    among its top calls (false discovery proportion).

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
    figsize
        Width and height of a new figure in inches. If None, ``figure.figsize`` of the rcParams.

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
    what = "one Axes, for the scatter" if curve is None else "two Axes, for the scatter and the curve"
    panels = new_panels(axes, figsize, 1 if curve is None else 2, what=what)
    _scatter(panels[0], found)
    if curve is not None:
        _curve(panels[1], curve, found)
    return panels


def _scatter(ax: Axes, found: Interactions) -> None:
    sizes = sizes_of(ax)
    expected, observed = found.additive - found.control, found.observed - found.control
    low, high = _limits(expected, observed)
    crowded = expected.size > 20_000
    classes = np.where(found.called, found.classes, 0).ravel()
    for number, (name, colour) in enumerate(colors().items()):
        points = np.flatnonzero(classes == number) if number else np.flatnonzero(~found.called)
        size = (0.18 if crowded else 0.35) if not number else (0.35 if crowded else 0.55)
        x, y = expected.ravel()[points], observed.ravel()[points]
        ax.scatter(x, y, s=(size * sizes.mark) ** 2, c=colour, marker=MARKS[name], linewidths=0, rasterized=True)
    ax.axline((0, 0), slope=1, color=ink(), linewidth=0.6 * sizes.line, zorder=3)
    for cutoff in found.cutoffs:
        if np.isfinite(cutoff) and found.scale == "none":
            ax.axline((0, cutoff), slope=1, color=ink(), linewidth=0.5 * sizes.line, linestyle=":", zorder=3)
    for line in (ax.axhline, ax.axvline):
        line(0, color=FAINT, linewidth=0.4 * sizes.line, zorder=0)
    ax.set(xlim=(low, high), ylim=(low, high))
    ax.set_xlabel("sum of single changes (log expression)")
    ax.set_ylabel("observed change")
    despine(ax, "left", "bottom")
    n_pairs, n_genes = observed.shape
    title = f"{counted(n_pairs, 'combination')} × {counted(n_genes, 'gene')}, local fdr ≤ {found.fdr:g}"
    finish(ax, title, key=_handles(found, sizes), sizes=sizes)


def _handles(found: Interactions, sizes: Sizes) -> list[Any]:
    """Legend entry with the number of values of each class that has any."""
    from matplotlib.lines import Line2D

    counts = np.bincount(found.classes.ravel(), minlength=len(CLASSES))
    return [
        Line2D(
            [],
            [],
            linestyle="none",
            marker=MARKS[name],
            markersize=0.7 * sizes.mark,
            color=colors()[name],
            label=_label(name, n, counts.sum()),
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
    sizes = sizes_of(ax)
    looks = method_looks([str(name) for name in curve["method"].unique() if name != "no_change"])
    key = []
    for method, rows in curve.groupby("method", sort=False):
        reference = method == "no_change"
        colour, dash = (ink(), (0, (4, 3))) if reference else looks[str(method)]
        key += ax.plot(
            rows["fdp"],
            rows["tpr"],
            color=colour,
            linestyle=dash,
            linewidth=(0.8 if reference else 1.1) * sizes.line,
            label=method_name(str(method)),
            zorder=3 if reference else 2,
        )
    n_pairs, n_found = int(curve["n_pairs"].iloc[0]), int(curve["n_interactions"].iloc[0])
    chance = 1 - n_found / (n_pairs * found.deviation.shape[1])
    look: dict[str, Any] = {"color": FAINT, "linewidth": 0.6 * sizes.line, "linestyle": ":", "zorder": 1}
    key.append(ax.axvline(chance, label="random order", **look))
    ax.set(xlim=(0, 1.01), ylim=(0, 1.01))
    ax.set_xlabel("false discovery proportion")
    ax.set_ylabel("true positive rate")
    despine(ax, "left", "bottom")
    title = f"{counted(n_found, 'interaction')} in {counted(n_pairs, 'combination')}"
    finish(ax, title, key=key, sizes=sizes)
