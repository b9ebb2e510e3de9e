"""Plot the prediction of each group as a strip with its cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from heldout._core.leaks import leak_of_stored
from heldout._core.words import plural
from heldout.metrics.classification import one_vs_rest
from heldout.pl._layout import finish, new_axes, room_of, sizes_of
from heldout.pl._predicted import class_number, read_predicted
from heldout.pl._split_draw import name_ticks
from heldout.pl._style import CLASS_MARKS, FAINT, class_color, despine, ink, method_name, shorten, titled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes

    from heldout.pl._layout import Sizes
    from heldout.pl._predicted import Predicted

_TICKS = (0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999)
"""Probabilities with a tick. The axis is the log-odds, so that the mark of a group is the mean of its cells."""

_FURTHEST = 9.0
"""Largest log-odds of the axis. Cells beyond it are drawn at its end."""

_STRIP = 0.05
"""Least width of a group in inches for single cells; narrower groups have a line over 80 % of their cells."""

_MOST = 200
"""Cells of a group that are drawn."""

_SAME = 1e-5
"""Log-odds of cells of a group that differ by less are one prediction for the whole group."""


def groups(
    adata: AnnData,
    key: str | None = None,
    *,
    partition: Literal["test", "val", "train"] = "test",
    group_key: str | Sequence[str] | None = None,
    label: str | None = None,
    ax: Axes | None = None,
    figsize: tuple[float, float] | None = None,
) -> Axes:
    """Plot the predicted probability of each group (library, donor) as a strip with its cells.

    Groups are sorted by their true class, and by their prediction. A point is a cell; at most 200 cells of a group are
    drawn. The large mark is the group: the mean logit of its cells, which :func:`heldout.tl.evaluate` scores. The
    dashed line is a probability of 0.5. If there are too many groups for single cells, a line covers 80 % of the cells.

    Parameters
    ----------
    adata
        AnnData with predictions, (n_obs × n_vars).
    key
        Name of the fit. If None, the genotype fit that was stored last.
    partition
        Partition to plot.
    group_key
        Column(s) of ``obs`` with the independent unit. If None, the record of the fit is used.
    label
        Class whose probability is plotted. If None, the second of two classes. It is needed for more classes.
    ax
        Axes to draw into. If None, a new figure is made.
    figsize
        Width and height of a new figure in inches. If None, ``figure.figsize`` of the rcParams.

    Returns
    -------
    The axes. The y axis is the log-odds, with probabilities as ticks. Cells are drawn if the method predicts cells; a
    method that predicts whole groups, such as ``auto``, has only the marks of the groups.

    Raises
    ------
    ValueError
        If the fit, its predictions, the partition or the class do not exist, or no group is known.

    See Also
    --------
    heldout.pl.confusion : The same as counts.

    Examples
    --------
    >>> import heldout as ho
    >>> adata = ho.datasets.lmna_simulated(n_cells=30, n_genes=150)
    >>> ho.pp.split_matched(adata, "library", "day", label_key="genotype", test=19, val=0)
    >>> ho.tl.genotype(adata, "genotype", method="qc_logistic")
    >>> _ = ho.tl.evaluate(adata)
    >>> ho.pl.groups(adata).get_ylabel()
    'predicted probability of patient'
    """
    predicted = read_predicted(adata, key, partition, group_key)
    if predicted.groups is None:
        msg = (
            "group_key=None: the split was not made by group, so no group is known. Pass group_key, the obs column of "
            "the independent unit."
        )
        raise ValueError(msg)
    number = class_number(predicted, label)
    ax = new_axes(ax, figsize)
    _draw(ax, predicted, number, titled(_title(predicted, number), leak_of_stored(adata, predicted.key)))
    return ax


def _title(predicted: Predicted, number: int) -> str:
    """How many groups are on the side of their true class."""
    units: Any = predicted.groups
    odds = one_vs_rest(units.log_probability)[:, number]
    right = int(((odds > 0) == (units.labels == number)).sum())
    method = method_name(predicted.method.rpartition(".")[2])
    return f"{method} on {predicted.partition}: {right} of {units.n} {plural(units.unit)} on the right side of 0.5"


def _draw(ax: Axes, predicted: Predicted, number: int, title: str) -> None:
    from matplotlib.lines import Line2D

    units: Any = predicted.groups
    sizes = sizes_of(ax)
    odds = np.clip(one_vs_rest(units.log_probability)[:, number], -_FURTHEST, _FURTHEST)
    of_cells = np.clip(one_vs_rest(predicted.cells.log_probability)[:, number], -_FURTHEST, _FURTHEST)
    order = np.lexsort((odds, units.labels))
    places = np.arange(units.n) + 0.8 * units.labels[order]
    strip = 0.82 * room_of(ax).width / (places[-1] + 1)
    key = []
    for label, name in enumerate(predicted.classes):
        inside = units.labels[order] == label
        if not inside.any():
            continue
        colour, mark = class_color(label), CLASS_MARKS[label % len(CLASS_MARKS)]
        for place, group in zip(places[inside], order[inside], strict=True):
            _cells(ax, place, of_cells[predicted.group_numbers == group], colour, sizes, narrow=strip < _STRIP)
        size = min(0.9 * sizes.mark, max(72 * strip, 0.35 * sizes.mark))
        edge: dict[str, Any] = {"markeredgecolor": ink(), "markeredgewidth": 0.4 * sizes.line if strip >= _STRIP else 0}
        look: dict[str, Any] = {"marker": mark, "color": colour, "linestyle": "none", **edge}
        ax.plot(places[inside], odds[order][inside], markersize=size, zorder=4, **look)
        words = f"{name} (n = {int(inside.sum()):,})"
        key.append(Line2D([], [], markersize=0.8 * sizes.mark, label=words, **look))
    ax.axhline(0, color=FAINT, linewidth=0.6 * sizes.line, linestyle=(0, (4, 3)), zorder=1)
    _finish(ax, predicted, number, [predicted.group_names[group] for group in order], places, strip, sizes)
    finish(ax, title, key=key, sizes=sizes)


def _cells(ax: Axes, place: float, odds: np.ndarray, colour: str, sizes: Sizes, *, narrow: bool) -> None:
    """Draw the cells of a group. A method that predicts whole groups repeats one value, which the mark shows."""
    if np.ptp(odds) < _SAME:
        return
    if narrow:
        ax.plot(
            [place] * 2, np.quantile(odds, [0.1, 0.9]), color=colour, linewidth=0.4 * sizes.line, alpha=0.6, zorder=2
        )
        return
    rng = np.random.default_rng(0)
    drawn = odds if len(odds) <= _MOST else rng.choice(odds, _MOST, replace=False)
    x = place + rng.uniform(-0.3, 0.3, len(drawn))
    look: dict[str, Any] = {"color": colour, "alpha": 0.45, "linewidths": 0, "rasterized": True, "zorder": 2}
    ax.scatter(x, drawn, s=(0.3 * sizes.mark) ** 2, **look)


def _finish(
    ax: Axes, predicted: Predicted, number: int, names: list[str], places: np.ndarray, strip: float, sizes: Sizes
) -> None:
    units: Any = predicted.groups
    prefix, short = shorten([str(name) for name in names])
    if name_ticks(ax, places.tolist(), short, strip, sizes):
        ax.set_xlabel(f"{units.unit} (names begin with {prefix})" if prefix else units.unit)
    else:
        ax.set_xlabel(f"{units.n:,} {plural(units.unit)}")
    ax.set_xlim(-0.8, places[-1] + 0.8)
    ax.tick_params(axis="x", length=0, pad=2)
    low, high = ax.get_ylim()
    shown = [share for share in _TICKS if low <= np.log(share / (1 - share)) <= high or share == 0.5]
    if len(shown) < 3:
        shown = [share for share in np.arange(0.1, 1.0, 0.1).round(1) if low <= np.log(share / (1 - share)) <= high]
    ax.set_yticks([np.log(share / (1 - share)) for share in shown], [f"{share:g}" for share in shown])
    ax.set_ylabel(f"predicted probability of {predicted.classes[number]}")
    despine(ax, "left", "bottom")
